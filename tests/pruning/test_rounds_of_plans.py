"""Plans in rounds: slicing twice is slicing once, what went stays away, and budgets are of the unpruned network."""

import pytest
import torch

from compress.costs import macs, params
from compress.plan import UserError, WidthPlan
from compress.pruning import Budget, SelectConfig, plan_for, slice_model
from compress.spaces import MobileNetV2Space, PreResNetSpace, SwinSpace, sizes

SIZE = (3, 32, 32)
SWIN = {"patch_size": 2, "window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2)}
SPACES = {
    "preresnet": PreResNetSpace(11, 10, score_inputs=True),
    "mobilenetv2": MobileNetV2Space(10, 0.35),
    "swin": SwinSpace(10, "swin_tiny_patch4_window7_224", input_size=32, options=SWIN),
}


def part_of(plan, seed):
    """A plan that keeps some of what `plan` keeps."""
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for name, channels in plan.kept.items():
        n = int(torch.randint(1, len(channels) + 1, (), generator=generator)) if channels else 0
        kept[name] = tuple(sorted(channels[i] for i in torch.randperm(len(channels), generator=generator)[:n].tolist()))
    return WidthPlan(plan.space, plan.sizes, kept)


@pytest.mark.parametrize(
    ("name", "seed"), [("preresnet", 0), ("preresnet", 1), ("mobilenetv2", 0), ("mobilenetv2", 1), ("swin", 0)]
)
def test_slicing_by_one_plan_and_then_by_what_is_left_of_another_is_slicing_by_that_at_once(randomised, name, seed):
    space = SPACES[name]
    network = randomised(space, seed)
    first = part_of(WidthPlan.whole(space.name, sizes(space.groups)), seed)
    removable = [group.name for group in space.groups if group.rest is not None]
    if seed and removable:
        first = WidthPlan(space.name, first.sizes, {**first.kept, removable[0]: ()})
    second = part_of(first, seed + 10)
    between, between_space = slice_model(network, space, first)
    twice, twice_space = slice_model(between, between_space, second.within(first))
    once, once_space = slice_model(network, space, second)
    assert (twice_space, twice.state_dict().keys()) == (once_space, once.state_dict().keys())
    for key, value in once.state_dict().items():
        # The query of a sliced head carries the root of its share, which two rounds multiply one by one.
        torch.testing.assert_close(twice.state_dict()[key], value, rtol=1e-6 if name == "swin" else 0, atol=0)


def test_a_whole_plan_within_itself_changes_nothing_and_spreads_scores_as_they_are():
    whole = WidthPlan.whole("preresnet", {"a": 3, "b": 2})
    assert whole.within(whole) == whole
    scores = {"b": torch.tensor([1.0, -2.0]), "a": torch.zeros(3)}
    assert {name: value.tolist() for name, value in whole.spread(scores).items()} == {"a": [0] * 3, "b": [1, -2]}


def test_what_another_plan_has_removed_is_not_there_to_be_kept():
    first = WidthPlan("preresnet", {"a": 4, "b": 2}, {"a": (1, 2), "b": ()})
    later = WidthPlan("preresnet", {"a": 4, "b": 2}, {"a": (2,), "b": ()})
    assert later.within(first) == WidthPlan("preresnet", {"a": 2}, {"a": (1,)})
    assert [s.tolist() for s in first.spread({"a": torch.tensor([5.0, 6.0])}).values()] == [[0, 5, 6, 0], [0, 0]]
    with pytest.raises(UserError, match=r"^plan: keeps channels of \['a'\] that an earlier plan has removed; redo"):
        WidthPlan("preresnet", {"a": 4, "b": 2}, {"a": (2, 3), "b": ()}).within(first)
    with pytest.raises(UserError, match="plan: made for another network"):
        later.within(WidthPlan("preresnet", {"a": 3}, {"a": (1,)}))


CONFIGS = [
    SelectConfig(),
    SelectConfig(ranking="layer"),
    SelectConfig(ranking="kind", round_to=8, floor=8),
    SelectConfig(round_to=4, floor=2),
    SelectConfig(gain="log", round_to=4, floor=4),
    SelectConfig(gain="balanced", round_to=4, floor=4),
]
BUDGETS = [
    Budget("pruning_ratio", 0.7),
    Budget("macs_ratio", 0.5),
    Budget("params_ratio", 0.5),
    Budget("macs_ratio", 0.6, also=(Budget("params_ratio", 0.5),)),
]


def costs(space, widths):
    operators = space.operators(SIZE)
    return {"channels": sum(widths.values()), "macs": macs(operators, widths), "params": params(operators, widths)}


@pytest.mark.parametrize(
    ("budget", "config"),
    # A logarithmic gain is for costs; two limits without rounding take seconds.
    [
        *((budget, config) for budget in BUDGETS[:3] for config in CONFIGS[:4]),
        *((budget, config) for budget in BUDGETS[1:] for config in CONFIGS[4:]),
        (BUDGETS[3], CONFIGS[2]),
    ],
    ids=str,
)
def test_rounds_keep_ever_less_under_limits_of_the_unpruned_network(budget, config):
    space, steps = SPACES["preresnet"], 3
    whole = costs(space, sizes(space.groups))
    before = WidthPlan.whole(space.name, sizes(space.groups))
    for number in range(1, steps + 1):
        generator = torch.Generator().manual_seed(number)
        found = {group: torch.randn(n, generator=generator) for group, n in before.widths.items()}
        limit = budget.part(number / steps)
        scores, options = before.spread(found), {"input_size": SIZE, "present": before.kept}
        plan = plan_for(space, scores, limit, config, **options)
        for group, kept in plan.kept.items():
            assert {*kept} <= {*before.kept[group]}
            gone = sorted({*before.kept[group]} - {*kept})
            assert scores[group].abs()[list(kept)].min() >= max(scores[group].abs()[gone].tolist(), default=0)
        for each in limit.all:
            share = 1 - each.value if each.limits.removes else each.value
            assert costs(space, plan.widths)[each.limits.cost] <= share * whole[each.limits.cost] * (1 + 1e-9)
        assert plan.record["macs"] == {"before": whole["macs"], "after": costs(space, plan.widths)["macs"]}
        before = plan
    assert limit == budget


@pytest.mark.parametrize("config", CONFIGS[3:], ids=str)
@pytest.mark.parametrize(
    "budget", [Budget("macs_ratio", 0.9), Budget("macs_ratio", 0.9, also=(Budget("params_ratio", 0.9),))], ids=str
)
def test_a_limit_that_earlier_rounds_have_met_keeps_all_that_they_left(budget, config):
    space = SPACES["preresnet"]
    first = WidthPlan.whole(space.name, sizes(space.groups))
    scores = {name: torch.rand(n, generator=torch.Generator().manual_seed(0)) for name, n in first.sizes.items()}
    first = plan_for(space, scores, Budget("macs_ratio", 0.45), config, input_size=SIZE)
    options = {"input_size": SIZE, "present": first.kept}
    assert plan_for(space, scores, budget, config, **options).kept == first.kept


def test_of_what_is_left_a_score_of_zero_is_ahead_of_what_has_gone():
    space = SPACES["preresnet"]
    full = sizes(space.groups)
    present = {name: tuple(range(n // 2, n)) for name, n in full.items()}
    zeros = {name: torch.zeros(n) for name, n in full.items()}
    for config in CONFIGS[:4]:
        plan = plan_for(space, zeros, Budget("macs_ratio", 0.4), config, input_size=SIZE, present=present)
        assert all({*kept} <= {*present[name]} for name, kept in plan.kept.items()), config


def test_a_free_ratio_removes_what_is_zero_of_what_is_left():
    space = SPACES["preresnet"]
    full = sizes(space.groups)
    present = {name: tuple(range(0, n, 2)) for name, n in full.items()}
    scores = {name: torch.ones(n).index_fill(0, torch.tensor(range(0, n, 4)), 0) for name, n in full.items()}
    spread = {name: score.index_fill(0, torch.tensor(range(1, len(score), 2)), 0) for name, score in scores.items()}
    plan = plan_for(space, spread, Budget().part(0.5), SelectConfig(), input_size=SIZE, present=present)
    assert plan.kept == {name: tuple(range(2, n, 4)) for name, n in full.items()}
