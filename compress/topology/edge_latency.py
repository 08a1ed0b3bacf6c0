"""The penalties of topology searches; that of latency reads a table of cells (thesis 2.38)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..penalties import PENALTIES, ExpectedLatency, PenaltyType, Terms
from ..plan import Registry, UserError
from ..spaces import Space
from .discretise import NONE
from .latency import CellTable
from .supernet_space import SupernetSpace


class EdgeCosts(NamedTuple):
    """What a table says of the edges of a supernet.

    Args:
        latency_EO: of the O operations on the E edges of all kinds of cells, in shares of the reference network's
            latency.
        left_out: the operations that have no share in what an edge is expected to cost.
        weights: how scores become weights.
    """

    latency_EO: Tensor
    left_out: tuple[int, ...]
    weights: Literal["softmax", "sigmoid"]


def edge_costs(path: str, space: Space, input_size: tuple[int, int, int]) -> EdgeCosts:
    """What the table in the file `path` says of the supernet `space` on images of (C, H, W).

    Raises UserError for a table of other cells or images.
    """
    if not isinstance(space, SupernetSpace):
        raise UserError(f"latency table: of cells, which a {space.name} has not; search a supernet")
    table = CellTable.load(path)
    table.check_cells(space.cells, input_size)
    rows = np.concatenate([table.costs[cell] for cell in space.cells.cells])
    return EdgeCosts(torch.from_numpy(rows).float(), (space.cells.operations.index(NONE),), space.relaxation)


def expected_latency(terms: Terms) -> ExpectedLatency:
    """gamma times the expected latency of all edges, each among its operations that are not `none`.

    The unit is the reference network's latency, not the milliseconds of the thesis: a gamma then means as much on every
    device, image size and target network, and a table whose machine was slow that day pulls no harder. The thesis's
    gamma of 0.002 for each millisecond is 0.002 times the table's `network_ms` here. `none` costs nothing, so that a
    penalty over all operations would first of all cut edges; among the others it chooses between connected cells.
    """
    costs: EdgeCosts = terms.latency
    return ExpectedLatency(terms.gamma, costs.latency_EO, left_out=costs.left_out, weights=costs.weights)


EDGE_PENALTIES: Registry[PenaltyType] = Registry("compress.topology_penalties")
"""Recipe name -> penalty of a topology search."""
for _penalty in PENALTIES.values():
    if _penalty.places is None or "edges" in _penalty.places:
        EDGE_PENALTIES.add(_penalty)
EDGE_PENALTIES.add(replace(PENALTIES["latency"], make=expected_latency, places=("edges",), reads=edge_costs, tau=None))
