"""One budget under rounding: as good as brute force, never less for more, the budget met and used; quick with ties."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.costs import macs, params
from compress.plan import UserError
from compress.pruning import Budget, SelectConfig, check_reachable, knapsack, one_limit, select
from compress.pruning.counted import Counted
from compress.pruning.ranking import Ranking
from compress.pruning.threshold import above_threshold
from compress.spaces import MobileNetV2Space, Operator, PreResNetSpace, SwinSpace, sizes

SMALL = PreResNetSpace(20, 10), (3, 32, 32)
COUNTS = {"pruning_ratio": lambda ops, widths: sum(widths.values()), "macs_ratio": macs, "params_ratio": params}
ROUNDED = [SelectConfig(round_to=8), SelectConfig(round_to=16), SelectConfig(round_to=8, floor=9)]


def scores_of(space, seed, spread="normal"):
    """Random scores, or `tied` ones of a few values, or `one` value a group."""
    generator = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(n, generator=generator) for name, n in sizes(space.groups).items()}
    if spread == "tied":
        return {name: (2 * s).round() for name, s in found.items()}
    return {name: s[:1].expand(len(s)).clone() for name, s in found.items()} if spread == "one" else found


def held(scores, plan):
    return sum(float(scores[name].double().abs()[list(kept)].sum()) for name, kept in plan.kept.items())


def share(kind, value):
    return 1 - value if kind == "pruning_ratio" else value


def sweep(scores, operators, kind, config, values):
    """(value, plan) for all `values` that are in reach, cheapest budget first: none is out of reach after the first."""
    plans = []
    for value in sorted(values, key=lambda v: share(kind, v)):
        try:
            plans.append((value, select(scores, operators, Budget(kind, value), config, space="x")))
        except UserError:
            if plans:
                raise
    return plans


@pytest.mark.parametrize(
    ("kind", "config", "step"),
    [
        ("macs_ratio", ROUNDED[0], 0.005),
        *((kind, config, 0.02) for config in (SelectConfig(), SelectConfig(floor=4), *ROUNDED) for kind in COUNTS),
    ],
    ids=str,
)
def test_a_larger_budget_never_keeps_less(kind, config, step):
    """With one threshold for all, 45 of the steps of 0.005 lost score."""
    space, size = SMALL
    scores, operators = scores_of(space, 0), space.operators(size)
    plans = sweep(scores, operators, kind, config, np.arange(0.02, 0.995, step))
    assert len(plans) > 15
    for (value, less), (_, more) in pairwise(plans):
        assert held(scores, more) >= held(scores, less) * (1 - 1e-9), value
    for value, plan in plans:
        full = COUNTS[kind](operators, plan.sizes)
        assert COUNTS[kind](operators, plan.widths) <= share(kind, value) * full * (1 + 1e-8)


@pytest.mark.parametrize("kind", ["macs_ratio", "params_ratio"])
def test_rounded_widths_leave_little_of_a_budget_unused(kind):
    """A whole step of the cheapest group is 0.9 % of the MACs here; a threshold left up to 4.6 % and 6.1 %."""
    space, size = SMALL
    operators = space.operators(size)
    cost = COUNTS[kind]
    for value, plan in sweep(
        scores_of(space, 0), operators, kind, SelectConfig(round_to=8), np.arange(0.3, 0.95, 0.05)
    ):
        wider = [{**plan.widths, name: w + 8} for name, w in plan.widths.items() if w < plan.sizes[name]]
        left = value * cost(operators, plan.sizes) - cost(operators, plan.widths)
        assert left < min(cost(operators, each) - cost(operators, plan.widths) for each in wider), "nothing more fits"
        assert left < 0.02 * cost(operators, plan.sizes)


class Toy:
    """Up to four groups of up to 24 channels, operators within and between them, and all their allowed widths."""

    def __init__(self, seed, n_groups, config, tied):
        rng = np.random.default_rng(seed)
        names = [f"g{i}" for i in range(n_groups)]
        self.scores = {}
        for name in names:
            score = rng.normal(size=int(rng.integers(3, 25)))
            self.scores[name] = torch.tensor(np.round(2 * score) if tied else score)
        sides = [
            ("g0", 10),
            *((3, name) for name in names),
            *((a, b) for a, b in pairwise(names) if rng.random() < 0.5),
        ]
        self.operators = [
            Operator(f"op{i}", "conv", *side, *(int(n) for n in rng.integers(1, 100, 3)))
            for i, side in enumerate(sides)
        ]
        self.config = config
        allowed = Ranking(self.scores, config, {}).allowed
        self.choices = [dict(zip(names, choice, strict=True)) for choice in product(*allowed.values())]

    def held(self, widths):
        return sum(float(s.abs().sort(descending=True).values[: widths[n]].sum()) for n, s in self.scores.items())

    def best(self, kind, value):
        full = {name: len(s) for name, s in self.scores.items()}
        limit = share(kind, value) * COUNTS[kind](self.operators, full) * (1 + 1e-9)
        fits = [widths for widths in self.choices if COUNTS[kind](self.operators, widths) <= limit]
        return max(map(self.held, fits), default=None)


toys = st.builds(
    Toy,
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.builds(lambda r, f: SelectConfig(round_to=r, floor=f), st.sampled_from([2, 5, 8]), st.integers(1, 9)),
    st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(toy=toys, kind=st.sampled_from(sorted(COUNTS)), value=st.floats(0.01, 0.99))
def test_no_rounded_widths_within_the_budget_hold_more(toy, kind, value):
    expected = toy.best(kind, value)
    budget = Budget(kind, value)
    if expected is None:
        with pytest.raises(UserError, match="reachable range is"):
            select(toy.scores, toy.operators, budget, toy.config, space="toy")
        return
    plan = select(toy.scores, toy.operators, budget, toy.config, space="toy")
    assert plan.widths in toy.choices
    assert toy.held(plan.widths) >= expected * (1 - 1e-9)


@settings(max_examples=40, deadline=None)
@given(toy=toys, value=st.floats(0.01, 0.99), floor=st.integers(1, 9))
def test_without_rounding_a_threshold_keeps_the_most_channels_score(toy, value, floor):
    """For the number of channels it is the best there is, whatever the floor: nothing else is asked."""
    toy.scores = {name: s[:6] for name, s in list(toy.scores.items())[:3]}
    config = SelectConfig(floor=floor)
    allowed = Ranking(toy.scores, config, {}).allowed
    toy.choices = [dict(zip(allowed, choice, strict=True)) for choice in product(*allowed.values())]
    expected = toy.best("pruning_ratio", value)
    if expected is not None:
        plan = select(toy.scores, (), Budget("pruning_ratio", value), config, space="toy")
        assert toy.held(plan.widths) >= expected * (1 - 1e-9)


@pytest.mark.parametrize("kind", COUNTS)
def test_without_rounding_plans_are_those_above_the_threshold(kind):
    """Plans of earlier runs come out again."""
    space, size = SMALL
    scores, operators = scores_of(space, 3), space.operators(size)
    for value in (0.4, 0.6):
        budget = Budget(kind, value)
        ranking = Ranking(scores, SelectConfig(), {})
        counted = Counted.of(budget.limits.cost, ranking, operators)
        above = above_threshold(ranking, counted.total, share(kind, value) * counted.total(ranking.sizes) * (1 + 1e-9))
        assert select(scores, operators, budget, space="x").widths == above


def test_the_threshold_s_widths_stay_where_they_hold_as_much():
    """Equal scores: many widths hold the same, and those in equal shares of all groups are taken."""
    space, size = SMALL
    equal = {name: torch.ones(n) for name, n in sizes(space.groups).items()}
    plan = select(equal, space.operators(size), Budget("pruning_ratio", 0.5), SelectConfig(round_to=4), space="x")
    assert all(abs(plan.widths[name] / n - 0.5) <= 4 / n for name, n in plan.sizes.items())
    assert sum(plan.widths.values()) == 224


@pytest.mark.parametrize("ranking", ["layer", "kind"])
@pytest.mark.parametrize("kind", COUNTS)
def test_rounded_ranks_keep_their_shares_whatever_a_channel_costs(ranking, kind):
    """A channel of MobileNetV2 costs up to 30 times as much as another: without their price, dear groups would go."""
    space = MobileNetV2Space(20)
    kinds = {group.name: group.kind for group in space.groups}
    config = SelectConfig(ranking=ranking, round_to=8)
    scores, operators = scores_of(space, 0), space.operators((3, 64, 64))
    plan = select(scores, operators, Budget(kind, 0.5), config, space="x", kinds=kinds)
    shares = np.array([plan.widths[name] / n for name, n in plan.sizes.items()])
    assert shares.max() - shares.min() < (0.25 if ranking == "layer" else 0.5)
    used = COUNTS[kind](operators, plan.widths) / COUNTS[kind](operators, plan.sizes)
    assert 0.498 < used <= 0.5


def test_pairs_of_groups_that_the_solver_does_not_decide_fall_back_to_the_threshold(monkeypatch):
    """Where a block has too many combinations HiGHS looks for them, and may stop without an answer."""

    def undecided(*args, **options):
        raise knapsack.Undecided

    space, size = SMALL
    scores, operators, config = scores_of(space, 0), space.operators(size), SelectConfig(round_to=4)
    monkeypatch.setattr(knapsack, "MOST_COMBINATIONS", 3)
    exact = select(scores, operators, Budget("macs_ratio", 0.5), config, space="x")
    for stopped in (undecided, lambda *args, **options: None):
        monkeypatch.setattr(knapsack, "solve", stopped)
        plan = select(scores, operators, Budget("macs_ratio", 0.5), config, space="x")
        assert 0.45 < plan.record["macs"]["after"] / plan.record["macs"]["before"] <= 0.5
        assert held(scores, plan) <= held(scores, exact) * (1 + 1e-4)


def test_an_unknown_kind_of_budget_is_not_taken_for_another():
    budget = Budget("macs_ratio", 0.5)
    object.__setattr__(budget, "kind", "flops_ratio")
    space, size = SMALL
    with pytest.raises(KeyError, match="flops_ratio"):
        select(scores_of(space, 0), space.operators(size), budget, space="x")


@pytest.mark.parametrize(
    "config", [SelectConfig(), SelectConfig("layer", round_to=8), SelectConfig(gain="log")], ids=str
)
@pytest.mark.parametrize("kind", ["macs_ratio", "params_ratio"])
def test_what_is_out_of_reach_is_refused_before_there_are_scores(kind, config):
    space, size = SMALL
    full, operators = sizes(space.groups), space.operators(size)
    check_reachable(full, operators, Budget(kind, 0.5), config)
    check_reachable(full, operators, Budget(), SelectConfig())
    for budget in (Budget(), Budget(kind, 0.9)):
        with pytest.raises(UserError, match="space: scores no channels of this network"):
            check_reachable({}, operators, budget, config)
    for budget in (
        Budget(kind, 0.01),
        Budget.of(Budget(kind, 0.01), Budget("macs_ratio" if kind != "macs_ratio" else "params_ratio", 0.5)),
    ):
        with pytest.raises(UserError, match="out of reach") as early:
            check_reachable(full, operators, budget, config)
        with pytest.raises(UserError) as late:
            select(scores_of(space, 0), operators, budget, config, space="x")
        assert str(early.value) == str(late.value)


@pytest.mark.parametrize("spread", ["normal", "tied", "one"])
@pytest.mark.parametrize("round_to", [8, 16])
def test_few_sums_stay_whatever_the_scores_are(spread, round_to, monkeypatch):
    """What takes time is the number of sums: with all beams used up, a selection is no longer exact or quick."""
    attempts = []
    attempt = one_limit._Search.attempt

    def counting(self, beam):
        complete = attempt(self, beam)
        attempts.append((beam, complete, max(len(sums.cost) for sums in self.layers)))
        return complete

    monkeypatch.setattr(one_limit._Search, "attempt", counting)
    space = SwinSpace(20, "swin_tiny_patch4_window7_224", input_size=224)
    operators = space.operators((3, 224, 224))
    for kind in COUNTS:
        select(scores_of(space, 0, spread), operators, Budget(kind, 0.5), SelectConfig(round_to=round_to), space="x")
        assert attempts[-1][1], "exact"
        assert attempts[-1][2] <= 10_000
