"""Networks without weights: as they would be, but that nothing is drawn for them."""

import torch
from random_state import untouched
from torch import nn

from compress.spaces import MobileNetV2Space, SwinSpace
from compress.spaces.shapes import weightless

SPACES = (
    MobileNetV2Space(5, 0.35),
    SwinSpace(5, "swin_tiny_patch4_window7_224", input_size=32, options={"window_size": 4, "depths": (1, 1)}),
)


def test_their_tensors_are_those_of_a_network_and_nothing_is_drawn():
    for space in SPACES:
        expected = {name: (value.shape, value.dtype) for name, value in space.build().state_dict().items()}
        with untouched("weightless"), weightless():
            found = space.build().state_dict()
        assert all(value.is_meta for value in found.values())
        assert {name: (value.shape, value.dtype) for name, value in found.items()} == expected


def test_tensors_with_values_are_filled_inside_and_all_are_afterwards():
    layer = nn.Linear(2, 2)
    with weightless():
        nn.init.ones_(layer.weight)
        without = nn.Linear(2, 2)
    assert layer.weight.tolist() == [[1, 1], [1, 1]]
    assert without.weight.is_meta
    assert torch.ones(2).mul_(3).tolist() == [3, 3]
