"""Supernets: networks whose cells hold every operation on every edge, with weights shared by all topologies.

Shape legend: B batch, C channels, H and W height and width, E edges of a cell, O operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plan.genotype import CellSpace
from .mixed import Outgoing
from .network import ReductionBlock, cell_plans
from .operations import FactorizedReduce, ReluConvBn

if TYPE_CHECKING:
    from .supernet_space import SupernetSpace


class MixedCell(nn.Module):
    """A cell of mixed operations on states of `n` channels; the first inputs of a reduction cell have stride 2."""

    def __init__(self, cells: CellSpace, n: int, *, reduction: bool, partial: int, normed_pools: bool) -> None:
        super().__init__()
        self.n_states = cells.inputs + cells.nodes
        leaving = [[i for i, (source, _) in enumerate(cells.edges) if source == s] for s in range(self.n_states)]
        self.leaving = [edges for edges in leaving if edges]
        self.targets = [[cells.edges[i][1] for i in edges] for edges in self.leaving]
        self.outgoing = nn.ModuleList(
            Outgoing(
                n,
                len(edges),
                cells.operations,
                stride=2 if reduction and source < cells.inputs else 1,
                partial=partial,
                normed_pools=normed_pools,
            )
            for source, edges in enumerate(self.leaving)
        )

    def forward(self, inputs: list[Tensor], weights_EO: Tensor) -> list[Tensor]:
        """The nodes, [B, C, H, W] each, from the cell's inputs."""
        arriving: dict[int, Tensor] = {}
        states = list(inputs)
        for source, outgoing in enumerate(self.outgoing):
            if source >= len(states):
                states.append(arriving[source])
            outs = outgoing(states[source], weights_EO[self.leaving[source]])
            for target, out in zip(self.targets[source], outs, strict=True):
                arriving[target] = arriving[target] + out if target in arriving else out
        return [arriving[i] for i in range(len(inputs), self.n_states)]


class Supernet(nn.Module):
    """What supernets share: where the weights of the operations come from."""

    def __init__(self, space: SupernetSpace) -> None:
        super().__init__()
        cells, n_edges = space.cells, len(space.cells.edges)
        even = {"operations": torch.zeros(n_edges, len(cells.operations)), "edges": torch.zeros(n_edges)}
        self.relax = space.relaxed
        self.logits: Callable[[], Mapping[str, Mapping[str, Tensor]]] = lambda: dict.fromkeys(cells.cells, even)

    def weights(self, device: torch.device) -> dict[str, Tensor]:
        """{cell: [E, O]}: what each operation's output is multiplied by."""
        return {name: self.relax(logits).to(device) for name, logits in self.logits().items()}


class NatsSupernet(Supernet):
    """The network of NATS-Bench's topology space, [B, in, H, W] -> [B, classes]: three stages of equal cells."""

    def __init__(self, space: SupernetSpace) -> None:
        super().__init__(space)
        n = space.channels
        self.stem = nn.Sequential(nn.Conv2d(space.in_channels, n, 3, padding=1, bias=False), nn.BatchNorm2d(n))
        blocks: list[nn.Module] = []
        for stage in range(3):
            if stage:
                blocks.append(ReductionBlock(n, 2 * n))
                n *= 2
            for _ in range(space.layers):
                blocks.append(
                    MixedCell(space.cells, n, reduction=False, partial=space.partial, normed_pools=space.normed_pools)
                )
        self.blocks = nn.ModuleList(blocks)
        self.bn = nn.BatchNorm2d(n)
        self.classifier = nn.Linear(n, space.num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, classes]."""
        weights = self.weights(x_BCHW.device)["cell"]
        x = self.stem(x_BCHW)
        for block in self.blocks:
            x = block([x], weights)[-1] if isinstance(block, MixedCell) else block(x)
        logits: Tensor = self.classifier(F.relu(self.bn(x)).mean((2, 3)))
        return logits


class DartsSupernet(Supernet):
    """The search network of DARTS, [B, in, H, W] -> [B, classes]: cells with two inputs, reductions at thirds."""

    def __init__(self, space: SupernetSpace) -> None:
        super().__init__(space)
        n, cells = space.channels, space.cells
        before = last = 3 * n
        self.stem = nn.Sequential(nn.Conv2d(space.in_channels, last, 3, padding=1, bias=False), nn.BatchNorm2d(last))
        self.kinds: list[str] = []
        made, first, second = [], [], []
        for plan in cell_plans(n, space.layers):
            n = plan.channels
            first.append(
                FactorizedReduce(before, n, affine=False) if plan.halve else ReluConvBn(before, n, 1, affine=False)
            )
            second.append(ReluConvBn(last, n, 1, affine=False))
            made.append(
                MixedCell(cells, n, reduction=plan.reduces, partial=space.partial, normed_pools=space.normed_pools)
            )
            self.kinds.append(plan.kind)
            before, last = last, n * cells.nodes
        self.first, self.second, self.cells = nn.ModuleList(first), nn.ModuleList(second), nn.ModuleList(made)
        self.classifier = nn.Linear(last, space.num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, classes]."""
        weights = self.weights(x_BCHW.device)
        before = last = self.stem(x_BCHW)
        for kind, first, second, cell in zip(self.kinds, self.first, self.second, self.cells, strict=True):
            nodes = cell([first(before), second(last)], weights[kind])
            before, last = last, torch.cat(nodes, 1)
        logits: Tensor = self.classifier(last.mean((2, 3)))
        return logits
