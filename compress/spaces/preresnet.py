"""Pre-activation ResNet with bottleneck blocks for 32 x 32 images (He et al., arXiv 1603.05027), at any widths.

Module names follow the NetSlim implementation of PreResNet, so its checkpoints load. Depth is 9n + 2. Blocks keep the
residual stream (64, 128, 256 channels); the two inner widths of a block are free, and so is the subset of the stream
that a block reads. Shape legend: B batch, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plan import UserError, brief
from .arguments import check_ends, check_flag, check_widths
from .base import WidthSpace
from .groups import Group, Rest, columns, rows
from .operators import Operator, Width
from .removal import check_whole_blocks, within_blocks

STAGE_PLANES = (16, 32, 64)
EXPANSION = 4
STEM_CHANNELS = 16
MOST_DEPTH = 2000


class ChannelSelect(nn.Module):
    """Gather of the kept channels of a stream: [B, C, H, W] -> [B, n, H, W], `index` int64 [n]."""

    index: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("index", torch.arange(n_channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the channels `index` of `x_BCHW`."""
        return x_BCHW.index_select(1, self.index)


class Bottleneck(nn.Module):
    """BN-ReLU-conv three times (1x1, 3x3, 1x1) around an identity or 1x1 shortcut."""

    def __init__(self, stream_in: int, stream_out: int, widths: tuple[int, int, int], *, stride: int) -> None:
        super().__init__()
        n_in, n_mid1, n_mid2 = widths
        self.select = ChannelSelect(n_in) if n_in < stream_in else None
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = nn.Conv2d(n_in, n_mid1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_mid1)
        self.conv2 = nn.Conv2d(n_mid1, n_mid2, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_mid2)
        self.conv3 = nn.Conv2d(n_mid2, stream_out, 1, bias=False)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or stream_in != stream_out:
            self.downsample = nn.Sequential(nn.Conv2d(stream_in, stream_out, 1, stride=stride, bias=False))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, stream_in, H, W] -> [B, stream_out, H / stride, W / stride]."""
        y = x_BCHW if self.select is None else self.select(x_BCHW)
        y = self.conv1(F.relu(self.bn1(y)))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        total: Tensor = y + (x_BCHW if self.downsample is None else self.downsample(x_BCHW))
        return total


class PreResNet(nn.Module):
    """The network of a `PreResNetSpace`: images [B, C, 32, 32] -> logits [B, num_classes]."""

    def __init__(self, space: PreResNetSpace) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(space.in_channels, STEM_CHANNELS, 3, padding=1, bias=False)
        stream = STEM_CHANNELS
        for stage, planes in enumerate(STAGE_PLANES, start=1):
            blocks: list[nn.Module] = []
            for i in range(space.blocks_per_stage):
                widths = space.block_widths(f"layer{stage}.{i}", stream, planes)
                stride = 2 if i == 0 and stage > 1 else 1
                gone = space.is_removed(f"layer{stage}.{i}")
                block = nn.Identity() if gone else Bottleneck(stream, planes * EXPANSION, widths, stride=stride)
                blocks.append(block)
                stream = planes * EXPANSION
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        n_head = space.width("head.input", stream)
        self.select = ChannelSelect(n_head) if n_head < stream else None
        self.bn = nn.BatchNorm2d(n_head)
        self.fc = nn.Linear(n_head, space.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, num_classes]; H and W multiples of 4."""
        x = self.conv1(x_BCHW)
        for stage in range(1, len(STAGE_PLANES) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        if self.select is not None:
            x = self.select(x)
        logits: Tensor = self.fc(F.relu(self.bn(x)).mean((2, 3)))
        return logits


@dataclass(frozen=True)
class PreResNetSpace(WidthSpace):
    """PreResNet of `depth` 9n + 2, scored after conv1 and conv2 of each block; with `score_inputs` also what each
    block and the classifier read from the residual stream (NetSlim's channel selection).

    `widths` holds the groups that are narrower than the original; where those of a block with a shortcut around it are
    all 0, the whole block is gone. Raises UserError for an impossible depth, an unknown group, a width out of range or
    a block of which only some groups are gone.

    Example::

        space = PreResNetSpace(depth=164, num_classes=10)
        model = space.build()
        small = space.with_widths({"layer1.0.conv1": 9}).build()
    """

    depth: int
    num_classes: int
    in_channels: int = 3
    score_inputs: bool = False
    widths: Mapping[str, int] = field(default_factory=dict)
    name: ClassVar[str] = "preresnet"
    choices = ("score_inputs",)

    def __post_init__(self) -> None:
        if type(self.depth) is not int or not 11 <= self.depth <= MOST_DEPTH or (self.depth - 2) % 9:
            raise UserError(
                f"space.depth = {brief(self.depth)}: a bottleneck PreResNet has depth 9n + 2, at most {MOST_DEPTH}; "
                "use 20, 56 or 164"
            )
        check_ends(self.num_classes, self.in_channels)
        check_flag("score_inputs", self.score_inputs)
        groups = self._groups(with_inputs=True)
        full = {group.name: (int(group.rest is None), group.size) for group in groups}
        check_widths(self.widths, full, network=f"PreResNet-{self.depth}")
        # What a removed block read does not matter where it is not scored.
        chosen = [group for group in groups if group.index is None or self.widths.get(group.name) == 0]
        check_whole_blocks(chosen, self.widths, source="widths")

    @property
    def blocks_per_stage(self) -> int:
        """n of depth 9n + 2."""
        return (self.depth - 2) // 9

    @property
    def full_groups(self) -> tuple[Group, ...]:
        """The scored groups of the unpruned network, in forward order."""
        return self._groups(with_inputs=self.score_inputs)

    @property
    def normalised(self) -> dict[str, str]:
        """conv1 and conv2 of each block feed a BatchNorm; conv3 adds to the stream."""
        blocks = [b for b, _, _ in self._blocks() if not self.is_removed(b)]
        return {f"{b}.conv{i}": f"{b}.bn{i + 1}" for b in blocks for i in (1, 2)}

    @property
    def classifier(self) -> tuple[str, ...]:
        """The layer whose rows are the classes."""
        return ("fc",)

    def width(self, group: str, full: int) -> int:
        """Present width of `group`, whose original width is `full`."""
        return self.widths.get(group, full)

    def is_removed(self, block: str) -> bool:
        """Whether nothing is left of `block` but its shortcut."""
        return self.widths.get(f"{block}.conv1") == 0

    def block_widths(self, block: str, stream: int, planes: int) -> tuple[int, int, int]:
        """Present (input, conv1, conv2) widths of a block that reads `stream` channels."""
        return (
            self.width(f"{block}.input", stream),
            self.width(f"{block}.conv1", planes),
            self.width(f"{block}.conv2", planes),
        )

    def build(self) -> PreResNet:
        """A freshly initialised network."""
        return PreResNet(self)

    def empty(self) -> nn.Module:
        """A network whose weights are yet to be loaded; draws nothing from the global generator."""
        with torch.random.fork_rng(devices=[]):
            return self.build()

    def _blocks(self) -> list[tuple[str, int, int]]:
        """(name, channels of the stream it reads, planes) of each block."""
        blocks, stream = [], STEM_CHANNELS
        for stage, planes in enumerate(STAGE_PLANES, start=1):
            for i in range(self.blocks_per_stage):
                blocks.append((f"layer{stage}.{i}", stream, planes))
                stream = planes * EXPANSION
        return blocks

    def _groups(self, *, with_inputs: bool) -> tuple[Group, ...]:
        groups = []
        for b, stream, planes in self._blocks():
            rest = None if b.endswith(".0") else Rest(b, (b,))
            if with_inputs:
                gathered = rows(f"{b}.bn1"), columns(f"{b}.conv1")
                groups.append(Group(f"{b}.input", stream, *gathered, index=f"{b}.select.index", rest=rest))
            for i in (1, 2):
                made, read = rows(f"{b}.conv{i}", f"{b}.bn{i + 1}"), columns(f"{b}.conv{i + 1}")
                groups.append(Group(f"{b}.conv{i}", planes, made, read, rest=rest))
        if with_inputs:
            width = STAGE_PLANES[-1] * EXPANSION
            groups.append(Group("head.input", width, rows("bn"), columns("fc"), index="select.index"))
        return tuple(groups)

    def operators(self, input_size: tuple[int, int, int]) -> tuple[Operator, ...]:
        """Convolutions, BatchNorms and the classifier, in forward order, for images of (C, H, W)."""
        _, height, width = input_size
        scored = {group.name for group in self.groups}

        def channels(group: str, full: int) -> Width:
            return group if group in scored else self.width(group, full)

        ops = [_conv("conv1", self.in_channels, STEM_CHANNELS, 3, height * width)]
        for b, stream, planes in self._blocks():
            if self.is_removed(b):
                continue
            out = planes * EXPANSION
            stride = 2 if b.endswith(".0") and planes != STAGE_PLANES[0] else 1
            n_in = channels(f"{b}.input", stream)
            mid1, mid2 = channels(f"{b}.conv1", planes), channels(f"{b}.conv2", planes)
            ops += [_norm(f"{b}.bn1", n_in), _conv(f"{b}.conv1", n_in, mid1, 1, height * width)]
            ops += [_norm(f"{b}.bn2", mid1)]
            height, width = -(-height // stride), -(-width // stride)
            ops += [_conv(f"{b}.conv2", mid1, mid2, 3, height * width), _norm(f"{b}.bn3", mid2)]
            ops += [_conv(f"{b}.conv3", mid2, out, 1, height * width)]
            if stream != out or stride != 1:
                ops += [_conv(f"{b}.downsample.0", stream, out, 1, height * width)]
        n_head = channels("head.input", STAGE_PLANES[-1] * EXPANSION)
        ops += [_norm("bn", n_head), Operator("fc", "linear", n_head, self.num_classes, macs=1, weights=1, biases=1)]
        return within_blocks(ops, self.groups)


def _conv(name: str, n_in: Width, n_out: Width, kernel: int, n_pixels: int) -> Operator:
    return Operator(name, "conv", n_in, n_out, macs=kernel**2 * n_pixels, weights=kernel**2)


def _norm(name: str, n: Width) -> Operator:
    return Operator(name, "norm", 1, n, macs=0, weights=0, biases=2)
