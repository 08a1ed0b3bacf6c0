"""Where the scores of a topology search live: the logits of the operations on every edge of every kind of cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from ..plan import UserError
from ..search import ScoreSource, Site
from .supernet import Supernet
from .supernet_space import SupernetSpace


class EdgeLogits(nn.Module, ScoreSource):
    """Logits {cell: [E, O]}, and [E] more where edges have weights; all supernets share them.

    They begin at 0, so that all operations are equal. They score by what the supernet multiplies outputs by.
    """

    place = "edges"

    def __init__(self, space: SupernetSpace) -> None:
        super().__init__()
        self.space = space
        self.operations, self.edges = nn.ParameterDict(), nn.ParameterDict()
        for cell in space.cells.cells:
            n_edges = len(space.cells.edges)
            self.operations[cell] = nn.Parameter(torch.zeros(n_edges, len(space.cells.operations)))
            if space.edge_norm:
                self.edges[cell] = nn.Parameter(torch.zeros(n_edges))

    @classmethod
    def of(cls, networks: Sequence[nn.Module], site: Site) -> Self:
        """One set of logits for all `networks`; UserError for a space that is no supernet."""
        if not isinstance(site.space, SupernetSpace):
            raise UserError(f"search.method.type = {site.method!r}: scores edges, which a {site.space.name} has not")
        logits = cls(site.space)
        for network in networks:
            assert isinstance(network, Supernet)
            network.logits = logits.by_cell
        return logits

    def by_cell(self, values: Sequence[Tensor] | None = None) -> dict[str, dict[str, Tensor]]:
        """Logits of each cell by what they weigh: "operations", and "edges" where these have weights."""
        tensors = list(values) if values is not None else self.alpha()
        cells = list(self.operations)
        found = {cell: {"operations": tensor} for cell, tensor in zip(cells, tensors, strict=False)}
        for cell, tensor in zip(self.edges, tensors[len(cells) :], strict=True):
            found[cell]["edges"] = tensor
        return found

    def alpha(self) -> list[nn.Parameter]:
        """The operations' logits of each cell, then the edges'."""
        return [*self.operations.values(), *self.edges.values()]

    def scores(self, values: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Weights of the operations of each edge, {"cell.i": float32 [O]}."""
        return edge_scores({cell: self.space.relaxed(own).detach() for cell, own in self.by_cell(values).items()})


def edge_scores(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{cell: [E, O]} as scores are stored, {"cell.i": float32 [O]} on the CPU."""
    return {f"{cell}.{i}": row.cpu().clone() for cell, rows in weights.items() for i, row in enumerate(rows)}
