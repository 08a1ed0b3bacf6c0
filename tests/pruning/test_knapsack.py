"""Widths under limits: as good as brute force, limits kept to the last bit, refusals that name what can be reached.

About ten seconds.
"""

import math
import re
from itertools import pairwise, product

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from latency_tables import made_up_table
from scipy.optimize import OptimizeResult

from compress.plan import UserError
from compress.pruning import Budget, Priced, SelectConfig, highs, knapsack, one_limit, select
from compress.pruning.knapsack import SLACK, Limit, best_widths
from compress.spaces import MobileNetV2Space, Operator, PreResNetSpace, SwinSpace, sizes

WIDEST = 6
GAP = 1e-4
"""As promised."""


def cost_of(limit, operators, widths):
    """What a network costs at `widths` {group: channels} of what `limit` limits; the sum is rounded once."""
    sides = [[[widths[n] if isinstance(n, str) else n] for n in (op.n_in, op.n_out)] for op in operators]
    return math.fsum([limit.rest, *(limit.prices(op, *side).item() for op, side in zip(operators, sides, strict=True))])


class Problem:
    """Random blocks of groups, operators within them and around them, and what each operator costs at all widths."""

    def __init__(self, seed, blocks, n_limits, shape):
        self.rng = rng = np.random.default_rng(seed)
        names = [[f"g{i}{'abc'[k]}" for k in range(size)] for i, size in enumerate(blocks)]
        self.groups = [name for block in names for name in block]
        self.values, self.allowed = {}, {}
        for name in self.groups:
            channels = int(rng.integers(2, WIDEST + 1))
            self.values[name] = sorted(rng.exponential(size=channels).tolist(), reverse=True)
            few = rng.choice(channels, min(channels - 1, 3), replace=False) + 1
            self.allowed[name] = sorted({*few.tolist(), channels})
        sides = [(3, 5), *[(4, name) for name in self.groups if rng.random() < 0.7]]
        sides += [(name, name) for name in self.groups if rng.random() < 0.2]
        for block in names:  # a chain, and sometimes the two ends
            sides += [pair[:: rng.choice([1, -1])] for pair in pairwise(block)]
            sides += [(block[0], block[-1])] if len(block) == 3 and rng.random() < 0.5 else []
        self.operators = [Operator(f"op{i}", "conv", *side, macs=1, weights=1) for i, side in enumerate(sides)]
        self.tables = {op.name: self.prices(shape, n_limits) for op in self.operators}
        self.rest = rng.random(n_limits)
        self.choices = np.array(list(product(*self.allowed.values())))
        self.costs = np.array([self.cost(dict(zip(self.groups, choice, strict=True))) for choice in self.choices])
        self.scores = np.array([self.score(dict(zip(self.groups, choice, strict=True))) for choice in self.choices])

    def prices(self, shape, n_limits):
        """[n_in, n_out, limits] for 0 to WIDEST channels: products, stairs of two channels, or anything at all."""
        n = np.arange(WIDEST + 1)
        n = 2 * -(-n // 2) if shape == "stairs" else n
        slopes = self.rng.random((1, 1, n_limits))
        grown = slopes * np.multiply.outer(n, n)[..., None] + self.rng.random() * n[None, :, None]
        return self.rng.random((WIDEST + 1, WIDEST + 1, n_limits)) if shape == "any" else grown

    def cost(self, widths):
        sides = [[widths.get(n, n) for n in (op.n_in, op.n_out)] for op in self.operators]
        parts = [self.tables[op.name][*side] for op, side in zip(self.operators, sides, strict=True)]
        return self.rest + np.sum(parts, axis=0)

    def score(self, widths):
        return sum(sum(self.values[name][:width]) for name, width in widths.items())

    def limits(self, most):
        return [
            Limit(
                f"--limit-{j} {value:g}",
                lambda op, i, o, j=j: self.tables[op.name][np.ix_(i, o)][..., j],
                value,
                rest=self.rest[j],
            )
            for j, value in enumerate(most)
        ]

    def solve(self, most, limits=None):
        return best_widths(self.values, self.operators, limits or self.limits(most), self.allowed)

    def best(self, most):
        """The largest score under limits of which the knapsack may leave SLACK unused; None when nothing fits."""
        fixed = self.rest + self.tables["op0"][3, 5]
        fits = (self.costs - fixed <= (np.array(most) - fixed) * (1 - 2 * SLACK)).all(axis=1)
        return self.scores[fits].max() if fits.any() else None


problems = st.builds(
    Problem,
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 3), min_size=1, max_size=3).filter(lambda blocks: sum(blocks) <= 6),
    st.integers(1, 3),
    st.sampled_from(["products", "stairs", "any"]),
)


@pytest.mark.parametrize("most_combinations", [knapsack.MOST_COMBINATIONS, 5], ids=["blocks", "pairs"])
@settings(max_examples=60, deadline=None)
@given(problem=problems, share=st.floats(0, 1))
def test_no_choice_within_the_limits_holds_more(problem, share, most_combinations):
    """`share` moves the limits from what the cheapest choice costs to what some choice costs in all limits at once."""
    least = problem.costs.min(axis=0)
    most = least + share * (problem.costs[problem.rng.integers(len(problem.costs))] - least) + 1e-3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knapsack, "MOST_COMBINATIONS", most_combinations)
        expected = problem.best(most)
        if expected is None:
            with pytest.raises(UserError, match=r"no widths found|out of reach"):
                problem.solve(most)
            return
        found = problem.solve(most)
    assert all(found[name] in problem.allowed[name] for name in problem.groups)
    assert problem.score(found) >= (1 - GAP) * expected - 1e-12
    for limit in problem.limits(most):
        assert cost_of(limit, problem.operators, found) <= limit.most


def test_the_best_choice_of_pairs_is_not_lost_by_presolve(monkeypatch):
    """HiGHS called a choice optimal here that holds 2 % less."""
    monkeypatch.setattr(knapsack, "MOST_COMBINATIONS", 5)
    problem, share = Problem(615217, [2, 3, 1], 3, "any"), 0.859375
    least = problem.costs.min(axis=0)
    most = least + share * (problem.costs[problem.rng.integers(len(problem.costs))] - least) + 1e-3
    assert problem.score(problem.solve(most)) >= (1 - GAP) * problem.best(most)


@pytest.mark.parametrize("most_combinations", [knapsack.MOST_COMBINATIONS, 5], ids=["blocks", "pairs"])
@settings(max_examples=25, deadline=None)
@given(problem=problems, share=st.floats(0.5, 0.999))
def test_a_limit_out_of_reach_says_what_can_be_reached(problem, share, most_combinations):
    """The value named keeps the floor; it is the least there is, to its four digits and HiGHS's gap."""
    least = problem.costs.min(axis=0)
    hopeless = [*least[:-1] + 10.0, share * least[-1]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knapsack, "MOST_COMBINATIONS", most_combinations)
        with pytest.raises(UserError, match="out of reach") as refusal:
            problem.solve(hopeless)
        message = str(refusal.value)
        assert message.startswith(f"--limit-{len(least) - 1} {hopeless[-1]:g}: out of reach; allowed are ")
        named = float(re.search(r"no widths take less than (\S+); raise it to that", message).group(1))
        assert least[-1] <= named <= (1 + 1e-3 + 2 * GAP) * least[-1]
        found = problem.solve([*hopeless[:-1], named])
    assert problem.cost(found)[-1] <= named


def toy(values):
    """Groups without operators in common, all of whose widths are allowed."""
    operators = [Operator(name, "conv", 1, name, macs=1, weights=1) for name in values]
    return values, operators, {name: range(1, len(value) + 1) for name, value in values.items()}


def toy_limit(name, costs, most, **options):
    """`costs` {group: of width 1, of width 2, ...}."""
    return Limit(name, lambda op, i, o: np.array([[costs[op.name][w - 1] for w in o]]), most, **options)


def test_limits_that_cannot_be_kept_together_are_named_together():
    """Each channel of `a` is dear in one cost, each of `b` in the other; wider layers are cheaper here."""
    values, operators, allowed = toy({"a": [1.0, 1.0]})
    one = toy_limit("--macs-ratio 0.5", {"a": [1.0, 3.0]}, 2.0)
    other = toy_limit("--latency-ms 2", {"a": [3.0, 1.0]}, 2.0)
    assert best_widths(values, operators, [one], allowed) == {"a": 1}
    assert best_widths(values, operators, [other], allowed) == {"a": 2}
    with pytest.raises(
        UserError, match=r"^--macs-ratio 0\.5 and --latency-ms 2: no widths found that keep them together"
    ):
        best_widths(values, operators, [one, other], allowed)


def test_a_wider_layer_that_is_cheaper_is_taken():
    values, operators, allowed = toy({"a": [3.0, 0.0, 0.0], "b": [1.0, 0.5, 0.0]})
    costs = {"a": [4.0, 2.0, 5.0], "b": [1.0, 2.0, 9.0]}
    assert best_widths(values, operators, [toy_limit("t", costs, 4.1)], allowed) == {"a": 2, "b": 2}
    assert best_widths(values, operators, [toy_limit("t", costs, 3.1)], allowed) == {"a": 2, "b": 1}


@pytest.mark.parametrize(("least", "named"), [(18.0, "18.01"), (0.103699997, "0.1038"), (1234.5, "1235")])
def test_the_value_named_works_though_a_part_of_each_limit_stays_unused(least, named):
    values, operators, allowed = toy({"a": [1.0, 1.0], "b": [1.0, 1.0]})
    costs = {"a": [0.25 * least, least], "b": [0.75 * least, least]}
    for most in (0.9 * least, (1 - 1e-9) * least, least):
        with pytest.raises(UserError, match=rf"^t: out of reach; .* take less than {re.escape(named)} ms; raise it to"):
            best_widths(values, operators, [toy_limit("t", costs, most, unit=" ms")], allowed)
    for most in (float(named), least * (1 + 3 * SLACK)):
        assert best_widths(values, operators, [toy_limit("t", costs, most)], allowed) == {"a": 1, "b": 1}


def test_a_minimum_that_no_budget_takes_is_not_advised():
    """The floor is at the full width: all that is left is to lower it."""
    values, operators, allowed = toy({"a": [1.0, 1.0]})
    for whole, advice in ((2.0, "; lower select.floor or select.round_to"), (2.1, "; raise it to that, or lower")):
        with pytest.raises(UserError, match=rf"^t: out of reach; .* no widths take less than 2\.001{advice}"):
            best_widths(values, operators, [toy_limit("t", {"a": [2.0, 2.0]}, 1.8, whole=whole)], allowed)


def test_what_the_solver_did_not_find_out_is_not_said_to_be_impossible(monkeypatch):
    """Some choice keeps all limits here, but HiGHS may not look for it."""
    rng = np.random.default_rng(0)
    values, operators, allowed = toy({f"g{i}": sorted(rng.random(3), reverse=True) for i in range(20)})
    costs = rng.integers(1, 1000, size=(8, 20, 3)).astype(float)
    some = costs[:, range(20), rng.integers(3, size=20)].sum(axis=1)
    limits = [
        toy_limit(f"t{j}", dict(zip(values, cost, strict=True)), most)
        for j, (cost, most) in enumerate(zip(costs, some + 1, strict=True))
    ]
    assert best_widths(values, operators, limits, allowed)
    monkeypatch.setattr(highs, "MOST_NODES", 0)
    with pytest.raises(UserError, match=r"^t0 and .* and t7: could not be decided .* keep them; raise select\.r"):
        best_widths(values, operators, limits, allowed)


@pytest.mark.parametrize(("proven", "reached"), [(True, "take less than"), (False, "were found that take less than")])
def test_a_minimum_of_a_solver_that_was_stopped_is_not_called_one(monkeypatch, proven, reached):
    def stopped(*args, **options):
        result = milp(*args, **options)
        return OptimizeResult({**result, "status": 4}) if result.status == 0 and not proven else result

    milp = scipy.optimize.milp
    monkeypatch.setattr(scipy.optimize, "milp", stopped)
    monkeypatch.setattr(knapsack, "MOST_COMBINATIONS", 3)
    operators = [Operator("ab", "conv", "a", "b", macs=1, weights=1)]
    limit = Limit("t", lambda op, i, o: np.multiply.outer(i, o) + 3.0, 2.0)
    with pytest.raises(UserError, match=rf"^t: out of reach; .* no widths {reached} 4\.001; raise it to that, or"):
        best_widths({name: [1.0, 1.0] for name in "ab"}, operators, [limit], {name: [1, 2] for name in "ab"})


@pytest.mark.parametrize("most_combinations", [knapsack.MOST_COMBINATIONS, 3], ids=["blocks", "pairs"])
def test_the_order_of_the_groups_does_not_matter_even_between_equal_ones(monkeypatch, most_combinations):
    """Groups that are exchangeable: which of them stays wide is arbitrary, and must be always the same."""
    monkeypatch.setattr(knapsack, "MOST_COMBINATIONS", most_combinations)
    names = [f"g{i}" for i in range(6)]
    values = {name: [1.0] * 4 for name in names}
    operators = [Operator(name, "conv", 3, name, macs=1, weights=1) for name in names]
    operators += [Operator(f"{a}{b}", "conv", a, b, macs=1, weights=1) for a, b in (names[:2], names[2:4], names[4:])]
    allowed = {name: [1, 2, 3, 4] for name in names}
    limit = Limit("t", lambda op, i, o: np.multiply.outer(i, o).astype(float), 70.0)
    found = best_widths(values, operators, [limit], allowed)
    assert len(set(found.values())) > 1, "the case should have a choice"
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(names).tolist()
        again = best_widths({n: values[n] for n in order}, operators, [limit], {n: allowed[n] for n in reversed(order)})
        assert again == found
        assert list(again) == order


def test_prices_that_are_not_finite_are_our_mistake():
    values, operators, allowed = toy({"a": [1.0, 1.0]})
    with pytest.raises(ValueError, match="prices of a are not finite"):
        best_widths(values, operators, [toy_limit("t", {"a": [1.0, float("nan")]}, 2.0)], allowed)


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (PreResNetSpace(164, 10), (3, 32, 32)),
        (MobileNetV2Space(20), (3, 224, 224)),
        (SwinSpace(20, "swin_base_patch4_window7_224", input_size=224), (3, 224, 224)),
    ],
    ids=["preresnet164", "mobilenetv2", "swin_base"],
)
def test_whole_networks_are_solved_without_much_search(space, size, monkeypatch):
    """Well under a second; counted are the sums that are kept. Scores that are all equal have the most solutions."""
    found, note = [], one_limit._Search._complete

    def watch(search, step):
        found.append(len(search.layers[-1].cost))
        note(search, step)

    def never(*arguments, **options):
        raise AssertionError("one limit needs no HiGHS")

    monkeypatch.setattr(one_limit._Search, "_complete", watch)
    monkeypatch.setattr("scipy.optimize.milp", never)
    priced, operators = Priced(made_up_table(space, size, multiple=8)), space.operators(size)
    generator = torch.Generator().manual_seed(0)
    full = sizes(space.groups)
    for scores in (
        {name: torch.randn(n, generator=generator) for name, n in full.items()},
        {name: torch.ones(n) for name, n in full.items()},
    ):
        plan = select(scores, operators, Budget("latency_ratio", 0.5), SelectConfig(), space="x", priced=priced)
        assert 0.49 < plan.record["latency"]["ratio"] <= 0.5
    assert found
    assert sum(found) < 1_000_000, sum(found)
