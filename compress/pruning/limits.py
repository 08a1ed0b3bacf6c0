"""Budgets of cost as limits of the knapsack, latency tables among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..costs import LatencyTable, macs, macs_of, params, params_of
from ..costs.latency import UNTIMED
from ..plan import UserError
from ..plan.budget_kinds import Cost
from ..spaces import Operator, Present, Width
from .budget import Budget
from .knapsack import Limit, best_widths

Widths = Mapping[str, int]
COUNTED: dict[Cost | None, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "macs": (macs, macs_of),
    "params": (params, params_of),
}
"""Cost of a budget -> what the whole network costs, and what one operator does. Of the others, channels are the groups'
own, and latency is a table's."""


@dataclass(frozen=True)
class Priced:
    """A latency table as selection uses it: what it predicts, times `correction`, is taken for the latency.

    `correction` is 1 until a network that was selected has been measured (`pipeline.latency_budget`).
    """

    table: LatencyTable
    correction: float = 1.0

    def ratio(self, operators: Sequence[Operator], widths: Widths) -> float | None:
        """The latency ratio at `widths`; None outside of the table's range. Between its widths: interpolated."""
        try:
            return self.correction * self.table.predict(operators, widths, interpolate=True).ratio
        except UserError:
            return None

    def record(self, operators: Sequence[Operator], widths: Widths) -> dict[str, Any]:
        """What a plan notes: predicted ratio and milliseconds, the table's own error, and on what it was measured."""
        ratio = self.ratio(operators, widths)
        key = self.table.key
        return {
            "ratio": ratio,
            "ms": None if ratio is None else ratio * self.table.unpruned_ms,
            "unpruned_ms": self.table.unpruned_ms,
            "correction": self.correction,
            "residual": self.table.record.get("residual"),
            **{name: key.get(name) for name in ("device", "backend", "threads", "batch")},
        }

    def prices(self, op: Operator, n_in: Sequence[int], n_out: Sequence[int]) -> np.ndarray:
        """The table's shares of `op` at widths of its grid, [n_in, n_out]; nothing where its block is gone."""
        if op.kind in UNTIMED:
            return np.zeros((len(n_in), len(n_out)))
        costs = self.table.costs_of(op)
        sides = ((op.n_in, costs.n_in, n_in), (op.n_out, costs.n_out, n_out))
        return costs.shares[np.ix_(*(self._places(*side) for side in sides))]

    def _places(self, side: Width, known: int | str, channels: Sequence[int]) -> list[int]:
        """Where the table has an operator's `channels` on its `side`, which is a group's, or one width, there."""
        if not isinstance(known, str):
            return [0 for _ in channels]
        grid = list(self.table.grid(known))
        if isinstance(side, Present):  # the same at all widths but 0
            return [grid.index(0) if n == 0 else len(grid) - 1 for n in channels]
        return [grid.index(n) for n in channels]


def best_under(
    budget: Budget,
    values: Mapping[str, Sequence[float]],
    operators: Sequence[Operator],
    allowed: Mapping[str, Sequence[int]],
    priced: Priced | None,
    *,
    blocks: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """The `allowed` widths that keep the most of `values` {group: scores, best first} under all of `budget`'s limits.

    With a latency limit only widths of its table's grid are allowed. Raises UserError without a table for it, where it
    has none of a group's widths or does not know what the network takes without one of `blocks` {group: block}, for
    milliseconds that the unpruned network keeps, and as `best_widths` does.
    """
    if budget.latency is not None:
        if priced is None:
            raise UserError(
                f"{budget.latency.kind}: needs a latency table of the device; make one with "
                "`nncompress profile` and give it as --latency-table"
            )
        if unknown := [name for name in blocks or {} if 0 not in priced.table.widths.get(name, (0,))]:
            raise UserError(
                f"latency table: does not know what the network takes without the block of {unknown[0]!r}, which "
                "select.floor = 0 lets go; give a floor of 1, or make the table again"
            )
        allowed = {name: _on_grid(name, widths, priced.table) for name, widths in allowed.items()}
    full = {name: len(value) for name, value in values.items()}
    limits = [_limit(each, operators, full, priced) for each in budget.all]
    return best_widths(values, operators, limits, allowed, blocks=blocks)


def _on_grid(name: str, widths: Sequence[int], table: LatencyTable) -> list[int]:
    if name not in table.widths:
        raise UserError(f"latency table: has no group {name!r}; it is another network's: profile this one")
    found = sorted(set(widths) & set(table.widths[name]))
    if not found:
        raise UserError(
            f"latency table: has none of the allowed widths of {name!r}; set select.round_to to the table's "
            "--multiple, or profile again"
        )
    return found


def _limit(budget: Budget, operators: Sequence[Operator], full: Widths, priced: Priced | None) -> Limit:
    assert budget.value is not None
    name = budget.said
    kind = budget.limits
    if kind.cost != "latency":
        cost, cost_of = COUNTED[kind.cost]
        whole = cost(operators, full)
        return Limit(
            name, lambda op, i, o: cost_of(op, np.array(i)[:, None], np.array(o)) / whole, budget.value, whole=1.0
        )
    assert priced is not None, "checked by best_under"
    table = priced.table
    if not kind.ratio and budget.value >= table.unpruned_ms:
        raise UserError(
            f"{name}: the unpruned network takes {table.unpruned_ms:.4g} ms by the latency table, so nothing would be "
            "pruned; give less"
        )
    unpruned = 1.0 if kind.ratio else table.unpruned_ms
    scale = priced.correction * unpruned
    return Limit(
        name,
        lambda op, i, o: scale * priced.prices(op, i, o),
        budget.value,
        rest=scale * table.rest,
        unit=f" {kind.unit}" if kind.unit else "",
        whole=unpruned,
    )
