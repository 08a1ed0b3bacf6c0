"""Toy networks whose groups share axes: concatenations, grouped and depthwise convolutions, flattened maps, and heads
whose query, key and value stand side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from compress.spaces import Group, Layout, Slice, WidthSpace, bare_parameters, columns, narrow, rows, traced_operators

SIZE = (3, 8, 8)
PIXELS = 4  # of the map that is flattened


class Branching(nn.Module):
    """Two scored branches and a fixed one, concatenated, then convolutions of every kind, then a flattened map."""

    def __init__(self):
        super().__init__()
        self.left, self.bn_left = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.right = nn.Conv2d(3, 4, 3, padding=1)
        self.gain = nn.Parameter(torch.tensor([1.5, -1.0, 0.5, 2.0]).view(1, 4, 1, 1))
        self.fixed = nn.Conv2d(3, 2, 1)
        self.joint = nn.BatchNorm2d(12)
        self.depth = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.mix, self.bn_mix = nn.Conv2d(12, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.lanes = nn.Conv2d(8, 6, 3, padding=1, groups=2)  # reads 4 channels in each of 2 groups
        self.spread, self.bn_spread = nn.Conv2d(6, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.packs, self.bn_packs = nn.Conv2d(6, 9, 3, padding=1, groups=3), nn.BatchNorm2d(9)
        self.fc = nn.Linear(9 * PIXELS + 12, 5)

    def forward(self, x):
        x = torch.cat([F.relu(self.bn_left(self.left(x))), self.gain * self.right(x), self.fixed(x)], dim=1)
        x = F.relu(self.depth(F.relu(self.joint(x))))
        y = F.relu(self.bn_mix(self.mix(x)))
        y = F.relu(self.bn_spread(self.spread(self.lanes(y))))
        y = F.relu(self.bn_packs(self.packs(y)))
        return self.fc(torch.cat([F.avg_pool2d(y, 4).flatten(1), x.mean((2, 3))], dim=1))


def _branch(name, size, offset, *own):
    shared = Layout(offset=offset)
    read = (*columns("mix", layout=shared), *columns("fc", layout=Layout(offset=9 * PIXELS + offset)))
    return Group(name, size, (*own, *rows("joint", "depth", layout=shared)), read)


class Blocks(WidthSpace):
    """What the toy spaces have in common."""

    network: ClassVar[type]
    normalised: ClassVar = {}
    classifier = ("fc",)

    def build(self):
        model = self.network()
        narrow(model, self.full_groups, self.widths)
        return model

    empty = build

    def operators(self, input_size):
        model = self.build()
        return traced_operators(model, self.groups, input_size) + bare_parameters(model, self.groups)


@dataclass(frozen=True)
class BranchingSpace(Blocks):
    """Groups of `Branching`: 'lanes' are channels of each of a convolution's groups, 'packs' whole groups of one."""

    widths: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar = "branching"
    network: ClassVar = Branching
    normalised: ClassVar = {"mix": "bn_mix"}

    @property
    def full_groups(self):
        return (
            _branch("left", 6, 0, *rows("left", "bn_left")),
            _branch("right", 4, 6, Slice("", 1, parameter="gain"), *rows("right")),
            Group("lanes", 4, rows("mix", "bn_mix", layout=Layout(copies=2)), columns("lanes")),
            Group(
                "packs",
                3,
                (
                    *rows("spread", "bn_spread", layout=Layout(inner=2)),
                    *rows("packs", "bn_packs", layout=Layout(inner=3)),
                ),
                columns("fc", layout=Layout(inner=3 * PIXELS)),
            ),
        )


class Interleaved(nn.Module):
    """Attention of 2 heads of 4 dimensions over the pixels, whose rows are [heads, query-key-value, dimensions]."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj, self.fc = nn.Linear(3, 24), nn.Linear(8, 6), nn.Linear(6, 5)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unflatten(-1, (2, 3, -1)).permute(3, 0, 2, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.fc(self.proj(y).mean(1))


@dataclass(frozen=True)
class InterleavedSpace(Blocks):
    """The dimensions of the heads of `Interleaved`."""

    widths: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar = "interleaved"
    network: ClassVar = Interleaved

    @property
    def full_groups(self):
        made = tuple(
            piece
            for part in range(3)
            for piece in rows("qkv", layout=Layout(4 * part, copies=2, stride=12), exponent=0.5 * (part == 0))
        )
        return (Group("heads", 4, made, columns("proj", layout=Layout(copies=2)), gated="writes", kind="attention"),)
