"""PreResNet's space: what it is made of and what it refuses."""

import json

import pytest
import torch
from torch import nn

from compress.plan import UserError
from compress.spaces import SPACES, PreResNetSpace, make_space, sizes


@pytest.mark.parametrize("inputs", [False, True])
@pytest.mark.parametrize("depth", [11, 20, 164])
def test_depth_counts_the_layers_with_weights_and_groups_cover_every_block(depth, inputs):
    space = PreResNetSpace(depth, 10, score_inputs=inputs)
    model = space.build()
    layers = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len([name for name in layers if "downsample" not in name]) == depth
    assert len(space.groups) == (depth - 2) // 3 * (3 if inputs else 2) + inputs
    for group in space.groups:
        for piece in group.writes:
            assert model.get_submodule(piece.module).weight.shape[0] == group.size
        for piece in group.reads:
            assert model.get_submodule(piece.module).weight.shape[1] == group.size


def test_the_formula_names_every_layer_in_forward_order():
    space = PreResNetSpace(20, 10)
    model = space.build()
    order = []
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda *_, name=name: order.append(name))
    model(torch.zeros(2, 3, 32, 32))
    assert [op.name for op in space.operators((3, 32, 32))] == order


def test_arch_rebuilds_the_space_from_json():
    space = PreResNetSpace(20, 7, in_channels=1, score_inputs=True, widths={"layer1.0.conv1": 3, "head.input": 9})
    assert make_space("preresnet", json.loads(json.dumps(space.arch))) == space
    assert space.with_widths({"head.input": 8}).widths == {"layer1.0.conv1": 3, "head.input": 8}
    assert sizes(space.groups)["layer1.0.conv1"] == 3
    assert "preresnet" in SPACES


@pytest.mark.parametrize("depth", [10, 2, 21, -7, "20", 20.0, None])
def test_impossible_depths_are_refused(depth):
    with pytest.raises(UserError, match=r"space\.depth = .*9n \+ 2"):
        PreResNetSpace(depth, 10)


@pytest.mark.parametrize("width", [0, 17, -1, 2.5, "3"])
def test_impossible_widths_are_refused(width):
    with pytest.raises(UserError, match=r"layer1\.0\.conv1"):
        make_space("preresnet", {"depth": 20, "num_classes": 10, "widths": {"layer1.0.conv1": width}})


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match=r"layer9\.0\.conv1.*no such group"):
        PreResNetSpace(20, 10, widths={"layer9.0.conv1": 3})
    with pytest.raises(UserError, match=r"unknown space; choose one of .*preresnet"):
        make_space("resnet", {})
    with pytest.raises(UserError, match=r"preresnet.*num_classes"):
        make_space("preresnet", {"depth": 20})
    with pytest.raises(UserError, match=r"deep.*num_classes|preresnet.*deep"):
        make_space("preresnet", {"deep": 20, "num_classes": 10})
