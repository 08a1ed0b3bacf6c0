"""Supernets as recipes name them: `nats_supernet` and `darts_supernet`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..plan import Range, UserError, check_settings
from ..plan.genotype import DARTS, NATS, CellSpace
from ..spaces import Group, Operator, WidthSpace, traced_operators
from ..spaces.arguments import check_ends
from .supernet import DartsSupernet, NatsSupernet

Few = Annotated[int, Range(at_least=1, at_most=4096)]


@dataclass(frozen=True)
class SupernetSpace(WidthSpace):
    """A supernet: all topologies of `cells` at once, on edges whose operations are weighed.

    Args:
        channels: of the first cell's states.
        layers: cells of a DARTS network; cells of each of the three stages of a NATS-Bench network.
        num_classes: outputs.
        in_channels: of the images.
        relaxation: how scores become weights: `softmax` over the operations of an edge, or `sigmoid` of each
            (FairDARTS, arXiv 1911.12126).
        partial: PC-DARTS (arXiv 1907.05737): one in `partial` channels passes through the operations; 1: all.
        edge_norm: PC-DARTS: the edges that lead to one node have weights of their own, a softmax.
        normed_pools: pooling has a BatchNorm behind it, as in DARTS.

    Raises UserError for values out of range, and for `partial` that does not divide `channels`.
    """

    channels: Few = 16
    layers: Few = 8
    num_classes: int = 10
    in_channels: int = 3
    relaxation: Literal["softmax", "sigmoid"] = "softmax"
    partial: Few = 1
    edge_norm: bool = False
    normed_pools: bool = False

    name: ClassVar[str]
    cells: ClassVar[CellSpace]
    classifier: ClassVar[tuple[str, ...]] = ("classifier",)
    full_groups: ClassVar[tuple[Group, ...]] = ()
    """A supernet has no channels that are scored."""
    widths: ClassVar[Mapping[str, int]] = {}  # type: ignore[misc]

    def __post_init__(self) -> None:
        check_settings(self, "space")
        check_ends(self.num_classes, self.in_channels)
        if self.channels % self.partial:
            raise UserError(
                f"space.partial = {self.partial}: must divide space.channels = {self.channels}; 4 is PC-DARTS's"
            )

    def relaxed(self, logits: Mapping[str, Tensor]) -> Tensor:
        """Weights [E, O] of the logits of one cell: "operations", [E, O], and with `edge_norm` "edges", [E]."""
        alpha_EO = logits["operations"]
        weights_EO = alpha_EO.softmax(1) if self.relaxation == "softmax" else alpha_EO.sigmoid()
        if not self.edge_norm:
            return weights_EO
        counts = [sum(node == other for _, node in self.cells.edges) for other in self.cells.node_numbers]
        shares = [part.softmax(0) for part in logits["edges"].split(counts)]
        return weights_EO * torch.cat(shares)[:, None]

    def build(self) -> nn.Module:
        """A freshly initialised supernet, drawn from the global random generator."""
        raise NotImplementedError

    def empty(self) -> nn.Module:
        """A supernet whose weights are yet to be loaded; draws nothing from the global generator."""
        with torch.random.fork_rng(devices=[]):
            return self.build()

    def operators(self, input_size: tuple[int, int, int]) -> tuple[Operator, ...]:
        """All layers of all operations, in forward order, for images of (C, H, W)."""
        return traced_operators(self.empty(), self.groups, input_size)


@dataclass(frozen=True)
class NatsSupernetSpace(SupernetSpace):
    """The supernet of NATS-Bench's topology space (arXiv 2009.00437): one cell, three stages of `layers` of it."""

    layers: Few = 5
    name: ClassVar[str] = "nats_supernet"
    cells: ClassVar[CellSpace] = NATS

    def build(self) -> nn.Module:
        """A freshly initialised supernet, drawn from the global random generator."""
        return NatsSupernet(self)


@dataclass(frozen=True)
class DartsSupernetSpace(SupernetSpace):
    """The supernet of DARTS (arXiv 1806.09055): normal and reduction cells, `layers` in all, reductions at thirds."""

    layers: Annotated[int, Range(at_least=3, at_most=4096)] = 8
    normed_pools: bool = True
    name: ClassVar[str] = "darts_supernet"
    cells: ClassVar[CellSpace] = DARTS

    def build(self) -> nn.Module:
        """A freshly initialised supernet, drawn from the global random generator."""
        return DartsSupernet(self)


SPACE_OF_CELLS = {"nats_supernet": "nats_cells", "darts_supernet": "darts_cells"}
"""Supernet -> the space of the networks that its cells are for."""
