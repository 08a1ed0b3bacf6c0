"""Latency of soft widths, differentiable: multilinear interpolation of a latency table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..plan import UserError
from ..spaces import Operator
from .latency import UNTIMED, LatencyTable, OperatorCosts, present


class SoftLatency:
    """The latency ratio that `table` predicts for `operators`, as a differentiable function of soft widths.

    Between the table's widths it is multilinear, at them it equals `LatencyTable.predict`. Narrower than the narrowest
    of them, nothing can be gained: there the value stays and the gradient is zero. That removing a
    block costs nothing is left out, or it would be a pull towards 0 at widths of which nothing is known.

    Example::

        latency = SoftLatency(table, space.operators((3, 32, 32)))
        latency({group: width for group, width in soft_widths.items()}).backward()
    """

    def __init__(self, table: LatencyTable, operators: Iterable[Operator]) -> None:
        timed = [_present(table, table.costs_of(op)) for op in operators if op.kind not in UNTIMED]
        self.groups = sorted({n for costs in timed for n in (costs.n_in, costs.n_out) if isinstance(n, str)})
        position: dict[int | str, int] = {group: i for i, group in enumerate(self.groups)}
        self.constant = table.rest + sum(float(costs.shares.item()) for costs in timed if costs.shares.size == 1)
        varying = [costs for costs in timed if costs.shares.size > 1]
        self.axes = [
            _Side([present(table.grid(n)) for n in side], [position.get(n, -1) for n in side])
            for side in ([costs.n_in for costs in varying], [costs.n_out for costs in varying])
        ]
        self.shares = torch.tensor(np.concatenate([costs.shares.ravel() for costs in varying] or [np.zeros(0)]))
        sizes = [costs.shares.size for costs in varying]
        self.offsets = torch.tensor(np.cumsum([0, *sizes])[:-1], dtype=torch.long)

    def __call__(self, widths: Mapping[str, Tensor]) -> Tensor:
        """The ratio, a scalar, for `widths` {group: scalar tensor}; UserError when a group is missing."""
        if missing := [group for group in self.groups if group not in widths]:
            raise UserError(f"widths: none for group {missing[0]!r}; give all groups' soft widths")
        if not self.groups:
            return torch.tensor(self.constant)
        return self.at(torch.stack([widths[group] for group in self.groups]))

    def at(self, x_G: Tensor) -> Tensor:
        """The ratio, a scalar, for the widths `x_G` of `groups`, in their order; no loop over operators."""
        rows, columns = (axis.corners(x_G) for axis in self.axes)
        stride_O = self.axes[1].sizes_O.to(x_G.device)
        shares, offsets_O = self.shares.to(x_G), self.offsets.to(x_G.device)
        parts = [a_O * b_O * shares[offsets_O + i_O * stride_O + j_O] for i_O, a_O in rows for j_O, b_O in columns]
        return self.constant + sum(parts[1:], parts[0]).sum()


def _present(table: LatencyTable, costs: OperatorCosts) -> OperatorCosts:
    """`costs` without the rows and columns of removed blocks."""
    rows, columns = (len(present(table.grid(n))) for n in (costs.n_in, costs.n_out))
    return replace(costs, shares=costs.shares[-rows:, -columns:])


class _Side:
    """One side of all operators, O of them: their grids, and which group's width each reads (-1: a fixed one)."""

    def __init__(self, grids: list[Sequence[int]], positions: list[int]) -> None:
        longest = max((len(grid) for grid in grids), default=1)
        padded = [[*map(float, grid), *[float("inf")] * (longest - len(grid))] for grid in grids]
        self.grids_OL = torch.tensor(padded, dtype=torch.float64).view(len(grids), longest)
        self.sizes_O = torch.tensor([len(grid) for grid in grids], dtype=torch.long)
        self.positions_O = torch.tensor(positions, dtype=torch.long)

    def corners(self, x_G: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Indices and weights of the two grid points around every operator's width."""
        grids_OL, sizes_O, positions_O = (t.to(x_G.device) for t in (self.grids_OL, self.sizes_O, self.positions_O))
        fixed_O = positions_O < 0
        x_O = torch.where(fixed_O, grids_OL[:, 0].to(x_G), x_G[positions_O])
        below_O = torch.searchsorted(grids_OL, x_O.detach().double().unsqueeze(1), right=True).squeeze(1) - 1
        below_O = torch.minimum(below_O, sizes_O - 2).clamp(min=0)
        above_O = torch.minimum(below_O + 1, sizes_O - 1)
        low_O, high_O = (grids_OL.gather(1, i.unsqueeze(1)).squeeze(1).to(x_G) for i in (below_O, above_O))
        part_O = (x_O - low_O) / (high_O - low_O).clamp(min=1)
        # Not clamp: at the ends themselves, such as the full widths of a search's start, the gradient is the inner one.
        part_O = torch.where(part_O < 0, 0.0, torch.where(part_O > 1, 1.0, part_O))
        return [(below_O, 1 - part_O), (above_O, part_O)]
