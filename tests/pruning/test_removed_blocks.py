"""Blocks whose channels all go: what the plan says of them, what it counts, and what is left in the network."""

from dataclasses import replace

import pytest
import torch
from exact import relative

from compress.costs import count_macs, count_params
from compress.plan import UserError, WidthPlan
from compress.pruning import Budget, SelectConfig, plan_for, slice_model
from compress.spaces import MobileNetV2Space, sizes

SPACE, SIZE, BLOCK = MobileNetV2Space(7, 0.35), (3, 32, 32), "blocks.2.1"
GROUPS = {group.name: group for group in SPACE.groups}


def whole(**kept):
    """A plan that keeps every channel of all groups but `kept`."""
    full = sizes(SPACE.groups)
    return WidthPlan(SPACE.name, full, {**{name: tuple(range(n)) for name, n in full.items()}, **kept})


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = SPACE.build()
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, std=0.5)
        norm.running_mean.normal_(std=0.5)
        norm.running_var.uniform_(0.5, 2.0)
    return model.double().eval()


@torch.no_grad()
def test_what_is_left_of_a_block_is_what_its_last_batchnorm_makes_of_zeros(network):
    small, small_space = slice_model(network, SPACE, whole(**{BLOCK: ()}))
    assert sizes(small_space.groups) == {n: c for n, c in sizes(SPACE.groups).items() if n != BLOCK}
    norm = network.get_submodule(f"{BLOCK}.bn3")
    zeros = torch.zeros(1, norm.num_features, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(small.get_parameter(f"{BLOCK}.bias"), norm(zeros).flatten(), rtol=1e-12, atol=1e-12)
    last = network.get_submodule(f"{BLOCK}.conv_pwl")
    hook = last.register_forward_hook(lambda module, args, output: torch.zeros_like(output))
    x = torch.randn(2, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    try:
        expected = network(x)
    finally:
        hook.remove()
    assert relative(small(x), expected) <= 1e-12
    assert relative(network(x), expected) > 1e-6, "the block matters"


def test_a_group_that_no_shortcut_passes_by_may_not_go(network):
    fixed = [name for name, group in GROUPS.items() if group.rest is None]
    plan = whole(**dict.fromkeys(fixed[:2], ()))
    with pytest.raises(UserError, match=rf"^plan: nothing kept of \['{fixed[0]}', '{fixed[1]}'\], which no shortcut"):
        slice_model(network, SPACE, plan)


def test_a_free_plan_removes_blocks_without_a_score_and_counts_what_is_left():
    fixed = next(name for name, group in GROUPS.items() if group.rest is None)
    scores = {name: torch.ones(n) for name, n in sizes(SPACE.groups).items()}
    scores |= {name: torch.zeros(len(scores[name])) for name in (BLOCK, fixed)}
    plan = plan_for(SPACE, scores, Budget(), SelectConfig(), input_size=SIZE)
    full = sizes(SPACE.groups)
    assert plan.widths == {**full, BLOCK: 0, fixed: 1}, "of the other one the best channel stays"
    network = SPACE.build()
    small, _ = slice_model(network, SPACE, plan)
    assert plan.record["params"] == {"before": count_params(network), "after": count_params(small)}
    assert plan.record["macs"] == {"before": count_macs(network, SIZE), "after": count_macs(small, SIZE)}
    assert plan.record["pruned_ratio"] == pytest.approx((full[BLOCK] + full[fixed] - 1) / sum(full.values()))
    assert plan.space == SPACE.name
    kept = plan_for(SPACE, {**scores, BLOCK: torch.ones(full[BLOCK])}, Budget(), SelectConfig(), input_size=SIZE)
    assert kept == replace(kept, kept=whole(**{fixed: (0,)}).kept)
