"""Operators of a network are traced once, and are those of its widths and images."""

from dataclasses import replace

import pytest

from compress.spaces import MobileNetV2Space, SwinSpace, traced

SMALL = {"window_size": 4, "embed_dim": 24, "depths": (1,), "num_heads": (1,)}
SPACES = {
    "mobilenetv2": MobileNetV2Space(3, 0.1),
    "swin": SwinSpace(3, "swin_tiny_patch4_window7_224", input_size=32, options=SMALL),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_network_is_traced_once_and_another_one_again(name, monkeypatch):
    space = SPACES[name]
    first = space.operators((3, 32, 32))
    other = replace(space, num_classes=4).operators((3, 32, 32))
    assert other != first
    monkeypatch.setattr(traced, "LAYERS", ())  # a trace would find nothing
    assert space.with_widths({}).operators((3, 32, 32)) is first
    assert replace(space, num_classes=4).operators((3, 32, 32)) is other


def test_images_of_another_size_cost_more():
    space = SPACES["mobilenetv2"]
    small, large = (sum(op.macs for op in space.operators((3, side, side))) for side in (32, 64))
    assert large > 2 * small


def test_the_oldest_are_forgotten():
    asked = []

    class Counted:
        arch = 0

        @traced.remembered
        def operators(self, input_size):
            asked.append(input_size)
            return ()

    sides = [*range(traced.REMEMBERED + 1), traced.REMEMBERED, 0]
    for side in sides:
        Counted().operators((3, side, side))
    assert [side for _, side, _ in asked] == [*range(traced.REMEMBERED + 1), 0]
