"""Residual blocks that go whole where `select.floor` is 0: in all families, under every kind of budget, exactly."""

import json
import math
from itertools import product

import numpy as np
import pytest
import torch
from exact import check_folding, relative
from latency_tables import made_up_table
from torch import nn

from compress.costs import LatencyTable, count_macs, count_params, macs, params
from compress.plan import UserError, WidthPlan
from compress.pruning import Budget, Priced, SelectConfig, check_reachable, knapsack, plan_for, select, slice_model
from compress.pruning.knapsack import Limit, best_widths
from compress.spaces import (
    MobileNetV2Space,
    Operator,
    PreResNetSpace,
    Present,
    SwinSpace,
    VitSpace,
    blocks_of,
    make_space,
    members_of,
    never_gone,
    sizes,
)

SIZE = (3, 32, 32)
SWIN = {
    "window_size": 4,
    "patch_size": 2,
    "embed_dim": 12,
    "depths": (2, 2),
    "num_heads": (1, 2),
    "drop_path_rate": 0.3,
}
SCALED = {"depth": 3, "patch_size": 8, "init_values": 0.5}
SPACES = {
    "preresnet": PreResNetSpace(29, 5),
    "preresnet-inputs": PreResNetSpace(29, 5, score_inputs=True),
    "mobilenetv2": MobileNetV2Space(5, 0.35, score_outputs=True),
    "swin": SwinSpace(5, "swin_tiny_patch4_window7_224", input_size=32, options=SWIN),
    "vit": VitSpace(5, "vit_tiny_patch16_224", input_size=32, options=SCALED),
}
GONE = {
    "preresnet": ["layer1.1", "layer2.2", "layer3.1", "layer3.2"],
    "mobilenetv2": ["blocks.2.1", "blocks.3.1", "blocks.5.2"],
    "swin": ["layers.0.blocks.0.attn", "layers.0.blocks.1.mlp", "layers.1.blocks.0.attn", "layers.1.blocks.0.mlp"],
    "vit": ["blocks.0.attn", "blocks.1.mlp", "blocks.2.attn", "blocks.2.mlp"],
}
FLOOR_0 = SelectConfig(floor=0)


def random_scores(space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(n, generator=generator) for name, n in sizes(space.groups).items()}


def network_of(space):
    """Random values everywhere, in double precision."""
    torch.manual_seed(0)
    model = space.build()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        norm.running_mean.normal_(std=0.5)
        norm.running_var.uniform_(0.5, 2.0)
    return model.double().eval()


def plan_without(space, gone, share=0.6):
    """Nothing of the blocks `gone`, a share of all other groups."""
    blocks, full = blocks_of(space.groups), sizes(space.groups)
    widths = {name: 0 if blocks.get(name) in gone else max(1, int(n * share)) for name, n in full.items()}
    generator = torch.Generator().manual_seed(1)
    kept = {name: sorted(torch.randperm(n, generator=generator)[: widths[name]].tolist()) for name, n in full.items()}
    return WidthPlan(space.name, full, {name: tuple(found) for name, found in kept.items()})


@pytest.fixture(scope="module", params=SPACES)
def case(request):
    """A space, its network, a plan without some blocks, the sliced network and its space."""
    space = SPACES[request.param]
    model, plan = network_of(space), plan_without(space, GONE[request.param.partition("-")[0]])
    return space, model, plan, *slice_model(model, space, plan)


@torch.no_grad()
def test_a_network_whose_blocks_score_nothing_is_the_one_without_them(case):
    space, model, plan, *_ = case
    assert not all(plan.kept.values())
    check_folding(model, space, plan, torch.randn(2, *SIZE, dtype=torch.float64))


@torch.no_grad()
def test_what_is_left_is_counted_rebuilt_and_sliced_again(case):
    space, model, plan, small, small_space = case
    for operators, widths in (
        (space.operators(SIZE), plan.widths),
        (small_space.operators(SIZE), sizes(small_space.groups)),
    ):
        assert params(operators, widths) == count_params(small)
        assert macs(operators, widths) == count_macs(small, SIZE)
    assert set(sizes(small_space.groups)) == {name for name, kept in plan.kept.items() if kept}
    again = make_space(space.name, json.loads(json.dumps(small_space.arch)))
    rebuilt = again.build().double().eval()
    rebuilt.load_state_dict(small.state_dict())
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    assert relative(rebuilt(x), small(x)) == 0
    # In a second round another block goes, and all others get narrower.
    block = members_of(blocks_of(small_space.groups))[-1]
    second = plan_without(small_space, {blocks_of(small_space.groups)[block[0]]})
    twice, twice_space = slice_model(small, small_space, second)
    assert params(twice_space.operators(SIZE), sizes(twice_space.groups)) == count_params(twice)
    both = {name: tuple(np.array(kept)[list(second.kept[name])]) for name, kept in plan.kept.items() if kept}
    at_once = WidthPlan(space.name, plan.sizes, {**plan.kept, **{n: tuple(map(int, kept)) for n, kept in both.items()}})
    assert relative(slice_model(model, space, at_once)[0](x), twice(x)) <= 1e-12


def test_a_block_goes_whole_or_not_at_all():
    space = SPACES["preresnet-inputs"]
    plan = plan_without(space, {"layer1.1"})
    plan = WidthPlan(space.name, plan.sizes, {**plan.kept, "layer1.1.conv2": (0, 5)})
    rule = (
        r"nothing kept of 'layer1\.1\.(input|conv1)' but 2 channels of 'layer1\.1\.conv2', of the same residual block"
    )
    with pytest.raises(UserError, match=f"^plan: {rule}"):
        slice_model(space.build(), space, plan)
    with pytest.raises(UserError, match=f"^widths: {rule}"):
        space.with_widths(plan.widths)
    with pytest.raises(UserError, match=r"layer2\.0\.conv1.*from 1 to"):
        space.with_widths({"layer2.0.conv1": 0, "layer2.0.conv2": 0})


@pytest.mark.parametrize("name", SPACES)
def test_a_budget_out_of_reach_for_widths_is_kept_without_blocks_and_counted_as_it_is(name):
    space, rounded = SPACES[name], {"round_to": 8, "floor": 8}
    scores, operators, blocks = random_scores(space), space.operators(SIZE), blocks_of(space.groups)
    for kind in ("macs_ratio", "params_ratio"):
        least = _least(space, kind, rounded)
        budget = Budget(kind, 0.98 * least)
        with pytest.raises(UserError, match=r"out of reach; .*lower select\.floor or select\.round_to"):
            check_reachable(sizes(space.groups), operators, budget, SelectConfig(**rounded), blocks=blocks)
        config = SelectConfig(round_to=8, floor=0)
        check_reachable(sizes(space.groups), operators, budget, config, blocks=blocks)
        plan = plan_for(space, scores, budget, config, input_size=SIZE)
        small, _ = slice_model(space.build(), space, plan)
        cost = kind.removesuffix("_ratio")
        assert plan.record[cost]["after"] == {"macs": count_macs(small, SIZE), "params": count_params(small)}[cost]
        assert plan.record[cost]["after"] <= budget.value * plan.record[cost]["before"]
        assert plan.record["blocks_removed"] == list(dict.fromkeys(blocks[n] for n, w in plan.widths.items() if not w))


def _least(space, kind, settings):
    """The least share of a cost that widths alone can reach, to four digits."""
    with pytest.raises(UserError) as refusal:
        check_reachable(sizes(space.groups), space.operators(SIZE), Budget(kind, 1e-9), SelectConfig(**settings))
    return float(str(refusal.value).partition("reachable range is ")[2].split(" ")[0])


@pytest.mark.parametrize("name", ["preresnet", "swin"])
def test_removing_blocks_never_holds_less(name):
    """Unrounded MACs, two costs at once and a latency table: floor 0 has all the choices of floor 1, and more."""
    space, full = SPACES[name], sizes(SPACES[name].groups)
    scores, priced = random_scores(space), Priced(made_up_table(space, SIZE))
    for budget in (
        Budget("macs_ratio", 0.3),
        Budget("macs_ratio", 0.3, also=(Budget("params_ratio", 0.25),)),
        Budget("latency_ratio", 0.3),
    ):
        held = []
        for floor in (1, 0):
            plan = plan_for(space, scores, budget, SelectConfig(floor=floor), input_size=SIZE, priced=priced)
            held.append(sum(float(scores[group][list(kept)].abs().sum()) for group, kept in plan.kept.items()))
        assert held[1] >= (1 - 1e-4) * held[0]
        assert all(
            len({plan.widths[group] == 0 for group in names}) == 1 for names in members_of(blocks_of(space.groups))
        )
    # Once gone, a block is gone for all further rounds.
    present = {group: tuple(range(n)) for group, n in full.items()}
    present |= {group: () for group, kept in plan_without(space, GONE[name]).kept.items() if not kept}
    later = plan_for(space, scores, Budget("macs_ratio", 0.3), FLOOR_0, input_size=SIZE, present=present)
    assert all(not later.kept[group] for group, channels in present.items() if not channels)


def test_a_table_prices_what_goes_with_a_block_at_nothing_and_an_older_one_is_refused():
    space, full = SPACES["preresnet"], sizes(SPACES["preresnet"].groups)
    table, operators = made_up_table(space, SIZE), space.operators(SIZE)
    gone = {"layer2.1.conv1": 0, "layer2.1.conv2": 0}
    inside = [op for op in operators if op.name.startswith("layer2.1.")]
    assert {op.name.rpartition(".")[2] for op in inside} >= {"bn1", "bn3", "conv3"}
    assert all(table.price_at(op, {**full, **gone}) == 0 < table.price_at(op, full) for op in inside)
    left = space.with_widths(gone)
    assert table.predict(left.operators(SIZE), sizes(left.groups)) == table.predict(operators, {**full, **gone})
    grids = {name: widths[1:] if widths[0] == 0 else widths for name, widths in table.widths.items()}
    older = LatencyTable(table.key, table.unpruned_ms, grids, table.operators, table.rest)
    with pytest.raises(
        UserError, match=r"^latency table: does not know what .* without the block of 'layer1\.1\.conv1'"
    ):
        plan_for(
            space, random_scores(space), Budget("latency_ratio", 0.5), FLOOR_0, input_size=SIZE, priced=Priced(older)
        )


def test_gains_for_which_nothing_is_worth_nothing_are_refused():
    with pytest.raises(UserError, match=r"^select\.floor = 0: .* by gain = 'balanced', whatever it costs; give"):
        SelectConfig(floor=0, gain="balanced")


def test_a_free_plan_removes_a_block_when_nothing_of_all_its_groups_scores():
    space = SPACES["preresnet"]
    scores = {name: torch.ones(n) for name, n in sizes(space.groups).items()}
    for name in ("layer1.1.conv1", "layer1.1.conv2", "layer2.1.conv1", "layer2.0.conv1", "layer2.0.conv2"):
        scores[name].zero_()
    for floor in (0, 1):
        plan = plan_for(space, scores, Budget(), SelectConfig(floor=floor), input_size=SIZE)
        expected = {"layer1.1.conv1": 0, "layer1.1.conv2": 0, "layer2.1.conv1": 1, "layer2.0.conv1": 1}
        assert plan.widths == {**sizes(space.groups), **expected, "layer2.0.conv2": 1}
        assert plan.record["blocks_removed"] == ["layer1.1"]


class Blocks:
    """Three residual blocks of two groups each, a stream beside them that all read, and prices that are any at all."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.blocks = {f"{b}.{g}": b for b in "abc" for g in "xy"}
        names = ["s", *self.blocks]
        self.values = {name: sorted(rng.exponential(size=3).tolist(), reverse=True) for name in names}
        self.allowed = {
            name: [1, 3] if name == "s" else [0, *sorted({1, int(rng.integers(1, 4)), 3})] for name in names
        }
        sides = [(3, 7), *[("s", f"{b}.x") for b in "abc"], *[(f"{b}.x", f"{b}.y") for b in "abc"]]
        sides += [(1, Present(f"{b}.x", 5)) for b in "abc"]
        self.operators = [Operator(f"op{i}", "conv", *side, macs=1, weights=1) for i, side in enumerate(sides)]
        self.tables = {op.name: rng.random((8, 8)) for op in self.operators}
        for table in self.tables.values():
            table[0], table[:, 0] = 0, 0

    def limit(self, most):
        return Limit("t", lambda op, i, o: self.tables[op.name][np.ix_(i, o)], most)

    def cost(self, widths):
        def at(side):
            return (side.n if widths[side.group] else 0) if isinstance(side, Present) else widths.get(side, side)

        return math.fsum(self.tables[op.name][at(op.n_in), at(op.n_out)] for op in self.operators)

    def held(self, widths):
        return math.fsum(sum(self.values[name][:width]) for name, width in widths.items())

    def choices(self):
        for chosen in product(*self.allowed.values()):
            widths = dict(zip(self.allowed, chosen, strict=True))
            if all((widths[f"{b}.x"] == 0) == (widths[f"{b}.y"] == 0) for b in "abc"):
                yield widths


@pytest.mark.parametrize("most_combinations", [knapsack.MOST_COMBINATIONS, 5], ids=["blocks", "pairs"])
@pytest.mark.parametrize("seed", range(4))
def test_with_whole_blocks_no_choice_holds_more(monkeypatch, seed, most_combinations):
    monkeypatch.setattr(knapsack, "MOST_COMBINATIONS", most_combinations)
    problem = Blocks(seed)
    choices = [(problem.cost(widths), problem.held(widths)) for widths in problem.choices()]
    costs = sorted(cost for cost, _ in choices)
    for share in (0.002, 0.05, 0.3, 0.7):
        most = costs[int(share * len(costs))] + 1e-3
        best = max(held for cost, held in choices if cost <= most * (1 - 2e-6))
        found = best_widths(
            problem.values, problem.operators, [problem.limit(most)], problem.allowed, blocks=problem.blocks
        )
        assert problem.cost(found) <= most
        assert problem.held(found) >= (1 - 1e-4) * best
        assert found in problem.choices()


def test_what_a_channel_is_worth_does_not_count_what_goes_with_the_block_alone():
    """So that runs with a floor of 1 keep the numbers that they had."""
    space = SPACES["preresnet"]
    kept = [never_gone(op) for op in space.operators(SIZE)]
    scores, config = random_scores(space), SelectConfig(gain="balanced", round_to=4)
    plans = [
        select(scores, ops, Budget("params_ratio", 0.5), config, space=space.name)
        for ops in (kept, space.operators(SIZE))
    ]
    assert plans[0].kept == plans[1].kept
