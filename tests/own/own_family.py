"""Plain chains of 3 x 3 convolutions, as VGG's: the channels of every convolution are a group."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from compress.spaces import SPACES, Group, Operator, WidthSpace, columns, rows, traced_operators


@dataclass(frozen=True)
class ChainSpace(WidthSpace):
    """`depth` convolutions; every second one halves the image and is followed by twice as many channels."""

    num_classes: int
    depth: int = 4
    in_channels: int = 3
    widths: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar = "chain"
    classifier: ClassVar = ("fc",)

    @property
    def layers(self) -> dict[str, int]:
        """The convolutions and their channels in the unpruned network."""
        return {f"conv{i}": 16 << i // 2 for i in range(self.depth)}

    @property
    def full_groups(self) -> tuple[Group, ...]:
        readers = [*list(self.layers)[1:], "fc"]
        chain = zip(self.layers.items(), readers, strict=True)
        return tuple(Group(name, n, rows(name, f"{name}_norm"), columns(reader)) for (name, n), reader in chain)

    @property
    def normalised(self) -> Mapping[str, str]:
        return {name: f"{name}_norm" for name in self.layers}

    def build(self) -> nn.Module:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        n = self.in_channels
        for i, (name, full) in enumerate(self.layers.items()):
            parts[name] = nn.Conv2d(n, n := self.widths.get(name, full), 3, stride=1 + i % 2, padding=1, bias=False)
            parts |= {f"{name}_norm": nn.BatchNorm2d(n), f"{name}_relu": nn.ReLU()}
        ends = {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": nn.Linear(n, self.num_classes)}
        return nn.Sequential(parts | ends)

    def empty(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # the weights are loaded next; the random state stays
            return self.build()

    def operators(self, input_size: tuple[int, int, int]) -> tuple[Operator, ...]:
        with torch.device("meta"):
            return traced_operators(self.build(), self.groups, input_size)


SPACES.add(ChainSpace)
