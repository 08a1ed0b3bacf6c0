"""Tables of whole calls alone: what the fit makes of networks whose cost is known, and of those that were measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_profiles import SIZE, SPACE, Formula, late_step, use

from compress.costs import LatencyTable
from compress.measure import TableConfig, build_table, merge_tables, prediction_error
from compress.measure.designs import allowed_widths, sample_designs
from compress.measure.profiling import Timing
from compress.measure.totals import fit_totals, held_out_totals, most_telling
from compress.plan import UserError
from compress.spaces import Operator, make_space, sizes

GRIDS = {name: list(range(8, 129, 8)) for name in "abcd"}
FULL = dict.fromkeys(GRIDS, 128)
SIDES = [(3, "a", 196), ("a", "b", 49), ("b", 64, 49), (1, "c", 49), ("c", "d", 16), ("d", 128, 16), (64, 64, 49)]
OPERATORS = tuple(
    Operator(f"op{i}", "conv", n_in, n_out, macs=9 * places, weights=9) for i, (n_in, n_out, places) in enumerate(SIDES)
)
EFFICIENCY = (1.3, 0.7, 1.0, 1.6, 1.2, 0.8, 1.0)


def cost(op, n_in, n_out):
    """In blocks of 16, faster for some operators than for others, and with a part that no width changes."""
    i = OPERATORS.index(op)
    reads, writes = (-(-n // 16) * 16 for n in (n_in, n_out))
    return EFFICIENCY[i] * (op.macs * reads * writes + 500 * SIDES[i][2] * writes) + 1e5


def true_ratio(widths):
    def total(at):
        return sum(cost(op, at.get(op.n_in, op.n_in), at.get(op.n_out, op.n_out)) for op in OPERATORS)

    return total(widths) / total(FULL)


def timings(n, *, seed, noise=0.0):
    rng = np.random.default_rng(seed)
    designs = sample_designs(GRIDS, n, seed=seed)
    return [Timing(d, FULL, true_ratio(d) * (1 + noise * rng.standard_normal()), 10.0, 0.2) for d in designs]


def test_unseen_networks_with_products_of_two_widths_are_predicted():
    table = fit_totals({}, OPERATORS, GRIDS, timings(24, seed=0, noise=0.01))
    unseen = sample_designs(GRIDS, 60, seed=1)
    found = prediction_error([table.predict(OPERATORS, d).ratio for d in unseen], [true_ratio(d) for d in unseen])
    assert found["median"] < 0.012
    assert found["p90"] < 0.03
    assert table.predict(OPERATORS, FULL).ratio == pytest.approx(1, abs=0.01)
    assert all((costs.shares >= 0).all() for costs in table.operators.values())
    assert table.unpruned_ms == 10


def test_steps_are_found():
    """No network tells of one group alone, but all steps are alike."""
    table = fit_totals({}, OPERATORS, GRIDS, timings(24, seed=0))
    flat, step = (table.price("op0", 3, n) - table.price("op0", 3, 72) for n in (80, 88))
    assert flat < 0.2 * step


def test_what_depends_on_no_width_is_the_rest_and_what_is_removed_costs_nothing():
    widths = {**GRIDS, "b": [0, *GRIDS["b"]]}
    table = fit_totals({}, OPERATORS, widths, timings(24, seed=3))
    fixed = sum(cost(op, 64, 64) for op in OPERATORS[-1:]) + 6 * 1e5
    total = sum(cost(op, FULL.get(op.n_in, op.n_in), FULL.get(op.n_out, op.n_out)) for op in OPERATORS)
    assert table.rest == pytest.approx(fixed / total, abs=0.05)
    assert table.price("op6", 64, 64) == 0
    assert table.price("op1", 128, 0) == table.price("op2", 0, 64) == 0
    assert table.price("op1", 128, 8) > 0


def test_held_out_networks_have_no_part_in_their_prediction():
    found = timings(16, seed=2)
    wrong = replace(found[5], ratio=3 * found[5].ratio)
    before = held_out_totals(OPERATORS, GRIDS, found)
    after = held_out_totals(OPERATORS, GRIDS, [*found[:5], wrong, *found[6:]])
    assert after[5] == pytest.approx(before[5])
    assert np.abs(after - before).max() > 0.01


def test_a_gather_costs_all_but_the_full_width():
    reader = Operator("reader", "conv", "a", 64, macs=64, weights=1)
    at = {n: 0.2 + 0.5 * n / 128 + (0.2 * n / 128 if n < 128 else 0) for n in GRIDS["a"]}
    designs = [{"a": n} for n in GRIDS["a"][:-1]]
    found = [Timing(d, {"a": 128}, at[d["a"]] / at[128], 1.0, 0.2) for d in designs]
    table = fit_totals({}, [reader], {"a": GRIDS["a"]}, found, gathered={"a"})
    for design in [*designs, {"a": 128}]:
        assert table.predict([reader], design).ratio == pytest.approx(at[design["a"]] / at[128], rel=0.03)


def test_the_next_network_tells_most():
    """After networks that all had `c` and `d` full, those two are varied, and the error falls below that of a draw."""
    first = timings(12, seed=4)
    found = most_telling(OPERATORS, GRIDS, first, seed=0)
    assert found == most_telling(OPERATORS, GRIDS, first, seed=0)
    assert all(width in GRIDS[group] for group, width in found.items())
    same = [replace(t, widths={**t.widths, "d": 128}) for t in first]
    same = [replace(t, ratio=true_ratio(t.widths)) for t in same]
    assert most_telling(OPERATORS, GRIDS, same, seed=0)["d"] < 96


NETWORKS = {
    "mobilenetv2": ("mobilenetv2", {"num_classes": 1000}, 224),
    "swin_t": ("swin", {"num_classes": 1000, "model": "swin_tiny_patch4_window7_224"}, 224),
    "preresnet164": ("preresnet", {"depth": 164, "num_classes": 10}, 32),
}


@pytest.fixture(scope="module", params=NETWORKS)
def measured(request):
    """A network's operators, grids, the ratios of its table's networks, and of plans beside them, measured and as a
    table of profiles predicts them: ONNX Runtime, one thread, 2026-11-24."""
    kind, arch, side = NETWORKS[request.param]
    space = make_space(kind, arch)
    widths, full = allowed_widths(space.groups, 8), sizes(space.groups)
    known = json.loads(Path(__file__).with_name("measured_networks.json").read_text())[request.param]
    plans = known["plans"]
    at = sample_designs(widths, len(plans), seed=1_000_003)  # as benchmarks/latency_prediction.py draws them
    designs = [(dict(zip(known["groups"], row, strict=True)), ratio) for row, ratio in known["designs"]]
    if not designs:  # the others are the last ten plans
        designs = [(w, ratio) for w, (ratio, _) in zip(at[:20], plans[:20], strict=True)]
        at, plans = at[20:], plans[20:]
    found = [Timing(w, full, ratio, 1.0, 0.2) for w, ratio in designs]
    return space.operators((3, side, side)), widths, found, at, plans


def test_measured_networks_are_predicted_nearly_as_well_as_by_profiles(measured):
    operators, widths, found, at, plans = measured
    table = fit_totals({}, operators, widths, found)
    ratios = [ratio for ratio, _ in plans]
    error = prediction_error([table.predict(operators, w).ratio for w in at], ratios)
    profiles = prediction_error([predicted for _, predicted in plans], ratios)
    assert error["median"] <= min(0.025, profiles["median"] + 0.005)
    assert error["p90"] <= min(0.05, profiles["p90"] + 0.01)
    held = prediction_error(held_out_totals(operators, widths, found).tolist(), [t.ratio for t in found])
    assert held["median"] <= 0.02
    assert held["p90"] <= 0.04


class Whole(Formula):
    """Tells the time of whole calls alone."""

    def profile(self, widths):
        found = super().profile(widths)
        return Timing(found.widths, found.sizes, found.ratio, found.unpruned_ms, found.reference_ms)


TOTALS = TableConfig(way="totals", designs=8, multiple=4)


def build(folder, name="table.json", **config):
    options = {key: config.pop(key) for key in [*config] if key == "resume"}
    return build_table(SPACE, folder / name, input_size=SIZE, config=replace(TOTALS, **config), **options)


def test_a_table_says_how_it_was_made_and_goes_on(monkeypatch, tmp_path):
    whole = use(monkeypatch, Whole(late_step))
    table = build(tmp_path)
    assert table.record["way"] == "totals"
    assert table.record["residual"]["n"] == len(whole.asked) == 8
    assert "profiles" not in table.record
    more = use(monkeypatch, Whole(late_step))
    again = build(tmp_path, resume=True, max_designs=10, target=1e-6)
    assert (len(more.asked), again.record["residual"]["n"]) == (2, 10)
    assert LatencyTable.load(tmp_path / "table.json").predict(SPACE.operators(SIZE), sizes(SPACE.groups)).ratio > 0.95
    with pytest.raises(UserError, match=r"profiles of other settings \(way\)"):
        build(tmp_path, resume=True, way="profiles", max_designs=12)


def test_tables_of_both_ways_do_not_merge(monkeypatch, tmp_path):
    use(monkeypatch, Whole(late_step))
    build(tmp_path, "a.json")
    build(tmp_path, "b.json", seed=1)
    merged = merge_tables(SPACE, tmp_path / "c.json", [tmp_path / "a.json", tmp_path / "b.json"], input_size=SIZE)
    assert (merged.record["way"], merged.record["residual"]["n"]) == ("totals", 16)
    use(monkeypatch, Formula(late_step))
    build(tmp_path, "d.json", way="profiles", seed=2)
    with pytest.raises(UserError, match=r"d\.json: way = 'profiles', but .*a\.json has 'totals'"):
        merge_tables(SPACE, tmp_path / "e.json", [tmp_path / "a.json", tmp_path / "d.json"], input_size=SIZE)


def test_tables_of_before_there_were_ways_are_of_profiles(monkeypatch, tmp_path):
    use(monkeypatch, Formula(late_step))
    build(tmp_path, way="profiles")
    value = json.loads((tmp_path / "table.json").read_text())
    del value["way"]
    (tmp_path / "table.json").write_text(json.dumps(value))
    assert build(tmp_path, way="profiles", resume=True, max_designs=9, target=1e-9).record["residual"]["n"] == 9
    del value["profiles"]
    (tmp_path / "table.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match=r"table\.json: profiles is missing"):
        build(tmp_path, way="profiles", resume=True, max_designs=9)


def test_a_backend_that_tells_no_layers_has_tables_of_totals():
    assert TableConfig().way == "profiles"
    assert TableConfig("torch-compile").way == "totals"
    assert TableConfig("tensorrt").way == "totals"
    with pytest.raises(UserError, match=r"backend = 'torch-compile': tells no times of layers, .*give way='totals'"):
        TableConfig("torch-compile", way="profiles")
    with pytest.raises(UserError, match="way = 'other': must be one of 'profiles', 'totals'"):
        TableConfig(way="other")
