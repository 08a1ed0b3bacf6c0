"""Swin-T at 224 pixels, pruned by the same share everywhere: planned, sliced and counted, against the thesis."""

import pytest
import torch

from compress.costs import count_macs, count_params, macs, params
from compress.pruning import Budget, SelectConfig, plan_for, slice_model
from compress.spaces import SwinSpace, sizes

SIDE = (3, 224, 224)
SWIN_T = "swin_tiny_patch4_window7_224"


@pytest.fixture(scope="module")
def swin_t():
    space = SwinSpace(100, SWIN_T)
    return space, space.build()


@pytest.mark.parametrize(("n_classes", "m_params"), [(100, 27.60), (20, 27.53)], ids=["table 4.4", "table 4.5"])
def test_the_thesis_counts_whole_networks_with_their_classifier(n_classes, m_params):
    model = SwinSpace(n_classes, SWIN_T).empty()
    assert round(count_params(model) / 1e6, 2) == m_params
    assert round(count_macs(model, SIDE) / 1e9, 2) == 4.49


@pytest.mark.parametrize(("ratio", "head", "m_backbone"), [(0.2, 26, 22), (0.4, 19, 17)])
def test_a_uniform_plan_is_counted_to_the_unit(swin_t, ratio, head, m_backbone):
    space, network = swin_t
    scores = {group.name: torch.ones(group.size) for group in space.groups}
    plan = plan_for(space, scores, Budget("pruning_ratio", ratio), SelectConfig(ranking="layer"), input_size=SIDE)
    small, _ = slice_model(network, space, plan)
    operators = space.operators(SIDE)
    assert params(operators, plan.widths) == plan.record["params"]["after"] == count_params(small)
    assert macs(operators, plan.widths) == plan.record["macs"]["after"] == count_macs(small, SIDE)
    assert {width for name, width in plan.widths.items() if name.endswith("attn")} == {head}
    mlps = [plan.widths[name] / n for name, n in sizes(space.groups).items() if name.endswith("mlp")]
    assert all(abs(share - (1 - ratio)) < 0.005 for share in mlps)
    assert round((count_params(small) - count_params(small.head)) / 1e6) == m_backbone
