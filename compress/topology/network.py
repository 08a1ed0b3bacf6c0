"""Networks of a genotype: cells of DARTS (arXiv 1806.09055) and of NATS-Bench (2009.00437) behind a stem.

Shape legend: B batch, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..engine.extras import Auxiliary
from ..plan import UserError
from ..plan.genotype import Node
from .operations import OPERATIONS, FactorizedReduce, ReluConvBn

if TYPE_CHECKING:
    from .space import DartsCellsSpace, NatsCellsSpace

AUXILIARY_WEIGHT = 0.4
REDUCTION = "reduction"


class CellPlan(NamedTuple):
    """A cell of a DARTS network: "normal" or "reduction", its channels, and whether its first input is halved."""

    kind: str
    channels: int
    halve: bool

    @property
    def reduces(self) -> bool:
        """Whether it is a reduction."""
        return self.kind == REDUCTION


def reductions(layers: int) -> tuple[int, int]:
    """The numbers of the cells that are reductions, of `layers` cells."""
    return layers // 3, 2 * layers // 3


def cell_plans(channels: int, layers: int, *, halve: bool = False) -> Iterator[CellPlan]:
    """The cells of a DARTS network in order; `channels` and `halve` are those of the first one."""
    for i in range(layers):
        reduces = i in reductions(layers)
        channels *= 2 if reduces else 1
        yield CellPlan(REDUCTION if reduces else "normal", channels, halve)
        # Behind a reduction the cell before the last one still has twice the resolution.
        halve = reduces


class Edges(nn.ModuleDict):
    """The operations between the nodes of a cell, called source_node; edges that are `none` are left out.

    `drop_path`: with what probability an edge that computes something is left out for an image, in training.
    """

    def __init__(self, nodes: Sequence[Node], first: int, channels: int, *, reduction: bool = False) -> None:
        super().__init__()
        self.drop_path = 0.0
        self.names: list[list[tuple[str, int]]] = []
        for number, node in enumerate(nodes, start=first):
            self.names.append([])
            for operation, source in node:
                if operation != "none":
                    name = edge_name(source, number)
                    self[name] = OPERATIONS[operation](channels, 2 if reduction and source < first else 1, True)
                    self.names[-1].append((name, source))

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        """The inputs of the cell -> its nodes, [B, C, H, W] each."""
        states = list(inputs)
        for edges in self.names:
            into = [self._dropped(self[name], states[source]) for name, source in edges]
            states.append(sum(into[1:], into[0]) if into else torch.zeros_like(states[0]))
        return states[len(inputs) :]

    def _dropped(self, operation: nn.Module, x_BCHW: Tensor) -> Tensor:
        out: Tensor = operation(x_BCHW)
        if not self.training or not self.drop_path or isinstance(operation, nn.Identity):
            return out
        kept = out.new_empty(len(out), 1, 1, 1).bernoulli_(1 - self.drop_path)
        return out * kept / (1 - self.drop_path)


class Cell(nn.Module):
    """A cell of DARTS: both inputs brought to `channels`, the nodes, and their concatenation."""

    def __init__(
        self, nodes: Sequence[Node], inputs: tuple[int, int], channels: int, *, reduction: bool, halve: bool
    ) -> None:
        super().__init__()
        before, last = inputs
        self.preprocess0 = FactorizedReduce(before, channels) if halve else ReluConvBn(before, channels, 1)
        self.preprocess1 = ReluConvBn(last, channels, 1)
        self.edges = Edges(nodes, 2, channels, reduction=reduction)

    def forward(self, before_BCHW: Tensor, last_BCHW: Tensor) -> Tensor:
        """The outputs of the two cells before -> [B, nodes * C, H, W]."""
        nodes = self.edges(self.preprocess0(before_BCHW), self.preprocess1(last_BCHW))
        return torch.cat(nodes, dim=1)


class DartsNetwork(nn.Module):
    """The network of a `DartsCellsSpace`: images [B, C, H, W] -> logits [B, num_classes]."""

    def __init__(self, space: DartsCellsSpace) -> None:
        super().__init__()
        self.space = space
        channels, inputs = space.channels, (3 * space.channels, 3 * space.channels)
        if space.stem == "cifar":
            self.stem = nn.Sequential(conv(space.in_channels, 3 * channels), nn.BatchNorm2d(3 * channels))
        else:
            half = channels // 2
            first = [conv(space.in_channels, half, 2), nn.BatchNorm2d(half), nn.ReLU()]
            self.stem0 = nn.Sequential(*first, conv(half, channels, 2), nn.BatchNorm2d(channels))
            self.stem1 = nn.Sequential(nn.ReLU(), conv(channels, channels, 2), nn.BatchNorm2d(channels))
            inputs = (channels, channels)
        self.cells = nn.ModuleList()
        cells = space.cells
        for plan in space.plan:
            nodes = cells[plan.kind]
            self.cells.append(Cell(nodes, inputs, plan.channels, reduction=plan.reduces, halve=plan.halve))
            inputs = (inputs[1], len(nodes) * plan.channels)
        self.classifier = nn.Linear(inputs[1], space.num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, num_classes]."""
        return self._run(x_BCHW)[0]

    def with_features(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and what the auxiliary head reads: the output of the second reduction."""
        return self._run(x_BCHW)

    def make_auxiliary(self) -> Auxiliary | None:
        """The head that is trained along, freshly initialised; None where the space has none."""
        if not self.space.auxiliary:
            return None
        after = self.space.reductions[-1] + 1
        # Of a pruned network it reads fewer channels, as many as what comes next.
        n_in = self.classifier.in_features
        if after < self.space.layers:
            n_in = self.get_submodule(f"cells.{after}.preprocess1.conv").get_parameter("weight").shape[1]
        head = AuxiliaryHead(n_in, self.space.num_classes, cifar=self.space.stem == "cifar")
        return Auxiliary(head, AUXILIARY_WEIGHT)

    def set_training_progress(self, share: float) -> None:
        """`share` of the training lies behind: paths are dropped as often as belongs to it."""
        for cell in self.cells:
            cell.edges.drop_path = self.space.drop_path * share  # type: ignore[union-attr]

    def _run(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        if self.space.stem == "cifar":
            before = last = self.stem(x_BCHW)
        else:
            before = self.stem0(x_BCHW)
            last = self.stem1(before)
        features = last
        for i, cell in enumerate(self.cells):
            before, last = last, cell(before, last)
            if i == self.space.reductions[-1]:
                features = last
        return self.classifier(last.mean((2, 3))), features


class AuxiliaryHead(nn.Module):
    """DARTS's classifier of the maps behind the second reduction, in training alone.

    It reads at least 8 x 8 pixels behind the stem for CIFAR, 7 x 7 behind that for ImageNet. The BatchNorm that its
    authors left out for ImageNet, by an oversight that they kept, is left out here too.
    """

    def __init__(self, n_in: int, num_classes: int, *, cifar: bool) -> None:
        super().__init__()
        self.least = 8 if cifar else 7
        self.pool = nn.AvgPool2d(5, stride=3 if cifar else 2, count_include_pad=False)
        self.conv1, self.bn1 = nn.Conv2d(n_in, 128, 1, bias=False), nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(128, 768, 2, bias=False)
        self.bn2 = nn.BatchNorm2d(768) if cifar else nn.Identity()
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, n_in, H, W] -> [B, num_classes]; UserError for maps that are too small."""
        if min(x_BCHW.shape[2:]) < self.least:
            height, width = x_BCHW.shape[2:]
            raise UserError(
                f"reads maps of at least {self.least} x {self.least} pixels, and these have {height} x {width}",
                argument="space.auxiliary",
                value=True,
                remedy="set it to False, or take larger images",
            )
        x = F.relu(self.bn1(self.conv1(self.pool(F.relu(x_BCHW)))))
        x = F.relu(self.bn2(self.conv2(x)))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


class ReductionBlock(nn.Module):
    """Half the resolution and other channels: two convolutions 3x3 around a pooled shortcut."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv_a = ReluConvBn(n_in, n_out, 3, stride=2)
        self.conv_b = ReluConvBn(n_out, n_out, 3)
        self.downsample = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(n_in, n_out, 1, bias=False))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, n_in, H, W] -> [B, n_out, H / 2, W / 2]."""
        out: Tensor = self.downsample(x_BCHW) + self.conv_b(self.conv_a(x_BCHW))
        return out


class NatsNetwork(nn.Module):
    """The network of a `NatsCellsSpace`: images [B, C, H, W] -> logits [B, num_classes]."""

    def __init__(self, space: NatsCellsSpace) -> None:
        super().__init__()
        n = space.channels
        self.stem = nn.Sequential(conv(space.in_channels, n), nn.BatchNorm2d(n))
        self.reductions, self.cells = nn.ModuleList(), nn.ModuleList()
        for stage in range(space.stages):
            if stage:
                self.reductions.append(ReductionBlock(n, n := 2 * n))
            self.cells.append(nn.ModuleList(Edges(space.nodes, 1, n) for _ in range(space.layers)))
        self.bn = nn.BatchNorm2d(n)
        self.classifier = nn.Linear(n, space.num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, num_classes]."""
        x = self.stem(x_BCHW)
        for stage, cells in enumerate(self.cells):
            if stage:
                x = self.reductions[stage - 1](x)
            for cell in cells.children():
                x = cell(x)[-1]
        logits: Tensor = self.classifier(F.relu(self.bn(x)).mean((2, 3)))
        return logits


def conv(n_in: int, n_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias."""
    return nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)


def edge_name(source: int, node: int) -> str:
    """What a cell calls the edge from `source` to `node`."""
    return f"{source}_{node}"
