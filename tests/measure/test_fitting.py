"""What a table's fit makes of profiles whose cost is known."""

import numpy as np
import pytest

from compress.costs import LatencyTable
from compress.measure import describe_table, prediction_error
from compress.measure.designs import sample_designs
from compress.measure.fitting import fit_table, held_out, profiler_overhead
from compress.measure.owners import REST
from compress.measure.profiling import Profile
from compress.spaces import Operator


def staircase(op, n_in, n_out):
    """What an operator costs in the synthetic profiles: channels in blocks of 16, and a fixed part."""
    return 0.01 + 0.2 * (np.ceil(n_in / 16) / 6) * (np.ceil(n_out / 16) / 6) + (0.004 if n_out % 16 else 0)


OPERATORS = tuple(
    Operator(f"op{i}", "conv", n_in, n_out, macs=1, weights=1)
    for i, (n_in, n_out) in enumerate([(96, "a"), ("a", "b"), ("b", "c"), ("c", 96), (96, 96)])
)

GRIDS = {name: list(range(8, 97, 8)) for name in "abc"}

MS = 0.1
"""The unpruned network's time: its five nodes are so short that what a profiler takes is seen."""


def profiles(n, *, overhead, seed, noise=0.0):
    """Profiles of networks with a known cost, in which every node also pays for the profiler."""
    rng = np.random.default_rng(seed)
    full = dict.fromkeys("abc", 96)

    def true(widths):
        return {op.name: staircase(op, widths.get(op.n_in, 96), widths.get(op.n_out, 96)) for op in OPERATORS}

    found = []
    for i, widths in enumerate(sample_designs(GRIDS, n, seed=seed)):
        total = sum(true(full).values())
        nodes = {op.name: 1 + (i + k) % 3 for k, op in enumerate(OPERATORS)}
        full_nodes = dict.fromkeys(nodes, 1)

        def profiled(costs, nodes, total=total):
            return {
                name: (1 - overhead) * cost / total * (1 + noise * rng.standard_normal()) + overhead * nodes[name] / 5
                for name, cost in costs.items()
            }

        ratio = sum(true(widths).values()) / total * (1 + noise * rng.standard_normal())
        parts = profiled(true(widths), nodes), profiled(true(full), full_nodes)
        found.append(Profile(widths, full, *parts, nodes, full_nodes, ratio, MS, 0.2))
    return found, sum(true(full).values())


def test_fit_finds_staircases_and_the_profilers_overhead():
    found, total = profiles(24, overhead=0.15, seed=0)
    assert profiler_overhead(found) == pytest.approx(0.15)
    table = fit_table({}, OPERATORS, GRIDS, found)
    for op in OPERATORS:
        for n_in in GRIDS.get(op.n_in, [96]):
            for n_out in GRIDS.get(op.n_out, [96]):
                wanted = staircase(op, n_in, n_out) / total
                assert table.price(op, n_in, n_out) == pytest.approx(wanted, abs=0.002)
    assert table.predict(OPERATORS, dict.fromkeys("abc", 96)).ratio == pytest.approx(1, abs=1e-3)
    assert table.unpruned_ms == MS


def test_time_that_no_timed_operator_owns_is_the_rest():
    """What is left of removed blocks, when a network is pruned again, and what comes before the first layer."""
    found, _ = profiles(16, overhead=0.1, seed=6)
    untimed = {"left": 0.08, REST: 0.03}

    def with_more(p, shares, nodes):
        """Each an untimed node, paid for like all others; shares are of a total that is 1.11 times as large."""
        n, all_nodes = len(untimed), sum(p.unpruned_nodes.values())
        whole = 1 + sum(untimed.values())
        costs = {name: 0.9 * share / whole + 0.1 / (all_nodes + n) for name, share in untimed.items()}
        own = {
            k: (s - 0.1 * nodes[k] / all_nodes) / whole + 0.1 * nodes[k] / (all_nodes + n) for k, s in shares.items()
        }
        return {**own, **costs}, {**nodes, **dict.fromkeys(untimed, 1)}

    more = []
    for p in found:
        (own, nodes), (full, full_nodes) = (
            with_more(p, p.operators, p.nodes),
            with_more(p, p.unpruned, p.unpruned_nodes),
        )
        more.append(Profile(p.widths, p.sizes, own, full, nodes, full_nodes, (p.ratio + 0.11) / 1.11, MS, 0.2))
    left = Operator("left", "shift", 1, 96, macs=0, weights=0, biases=1)
    table = fit_table({}, (*OPERATORS, left), GRIDS, more)
    assert table.record["profiler_overhead"] == pytest.approx(0.1)
    assert table.rest == pytest.approx(0.11 / 1.11)
    assert "left" not in table.operators
    assert table.predict((*OPERATORS, left), dict.fromkeys("abc", 96)).ratio == pytest.approx(1, abs=1e-3)


def test_a_disturbed_network_does_not_change_the_overhead():
    found, _ = profiles(16, overhead=0.1, seed=4)
    found[3] = Profile(**{**vars(found[3]), "ratio": 2 * found[3].ratio})
    assert profiler_overhead(found) == pytest.approx(0.1)


def test_noise_of_long_calls_is_no_overhead():
    """Where pruning changes little of a call, differences of a percent would say anything of the profiler."""
    found, _ = profiles(16, overhead=0.0, seed=4)
    alike = [
        Profile(**{**vars(p), "operators": p.unpruned, "nodes": p.unpruned_nodes, "ratio": ratio, "unpruned_ms": 200.0})
        for p, ratio in zip(found, np.random.default_rng(0).normal(1, 0.01, 16), strict=True)
    ]
    assert abs(profiler_overhead([Profile(**{**vars(p), "operators": {"op0": 0.99}}) for p in alike])) <= 5 * 0.01 / 200


def test_profiles_of_the_unpruned_network_alone_know_no_overhead():
    (profile, *_), _ = profiles(8, overhead=0.1, seed=4)
    same = {"operators": profile.unpruned, "nodes": profile.unpruned_nodes, "widths": profile.sizes, "ratio": 1.0}
    assert profiler_overhead([Profile(**{**vars(profile), **same})] * 8) == 0


def test_a_gather_costs_all_but_the_full_width():
    """Without being told, the fit would flatten the slope to meet the cheap full width."""
    reader = Operator("reader", "norm", 1, "a", macs=0, weights=0)
    found, _ = profiles(24, overhead=0.0, seed=5)
    costs = {n: 0.05 + 0.3 * n / 96 if n < 96 else 0.1 for n in GRIDS["a"]}
    nodes = {"reader": 1}
    made_up = [
        Profile(p.widths, p.sizes, {"reader": cost}, {"reader": costs[96]}, nodes, nodes, cost, 1.0, 0.2)
        for p in found
        for cost in [costs[p.widths["a"]]]
    ]
    table = fit_table({}, [reader], GRIDS, made_up, gathered={"a"})
    for n, cost in costs.items():
        assert table.price("reader", 1, n) == pytest.approx(cost, abs=0.005)


def test_held_out_networks_are_predicted():
    found, _ = profiles(32, overhead=0.1, seed=1, noise=0.01)
    error = prediction_error(held_out(OPERATORS, GRIDS, found).tolist(), [p.ratio for p in found])
    assert error["n"] == 32
    assert error["median"] < 0.015
    assert error["p90"] < 0.035
    assert error["rank_correlation"] > 0.98


def test_held_out_networks_are_really_held_out():
    """A network that is measured wrongly is not predicted by itself."""
    found, _ = profiles(16, overhead=0.0, seed=2)
    wrong = Profile(**{**vars(found[5]), "operators": {k: 3 * v for k, v in found[5].operators.items()}})
    before = held_out(OPERATORS, GRIDS, found)[5]
    after = held_out(OPERATORS, GRIDS, [*found[:5], wrong, *found[6:]])
    assert after[5] == pytest.approx(before)
    assert np.abs(after[[i for i in range(16) if i % 4 != 1]] - before).max() > 0.01


def test_removed_operators_cost_nothing():
    found, _ = profiles(16, overhead=0.0, seed=3)
    table = fit_table({}, OPERATORS, {**GRIDS, "b": [0, *GRIDS["b"]]}, found)
    assert table.price("op1", 96, 0) == table.price("op2", 0, 96) == 0
    assert table.price("op1", 96, 8) > 0


def test_prediction_error_and_its_words():
    error = prediction_error([0.5, 0.8, 1.1], [0.5, 1.0, 1.0])
    assert error["median"] == pytest.approx(0.1)
    assert error["rank_correlation"] == pytest.approx(0.5, abs=0.51)
    residual = {"median": 0.0123, "p90": 0.031, "rank_correlation": 0.991, "n": 20}
    quiet = LatencyTable({}, 1.0, {}, {}, 0.0, {"residual": residual, "reference_ms": [0.2, 0.21]})
    assert "1.2% (90 % of 20 within 3.1%)" in describe_table(quiet)
    assert "0.991" in describe_table(quiet)
    assert "speed" not in describe_table(quiet)
    busy = LatencyTable({}, 1.0, {}, {}, 0.0, {"residual": residual, "reference_ms": [0.2, 0.3]})
    assert "speed changed by 50 %" in describe_table(busy)
