"""The stairs of a latency table as plain values: what each group of channels costs at each of its widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .latency import LatencyTable, present

SHOWN = 8
"""Groups that are shown one by one, those with the largest share of the unpruned network's time."""

STEPS = 20
"""Points at which all other groups are shown together."""


def table_stairs(table: LatencyTable) -> dict[str, Any]:
    """The stairs of the largest groups of `table`, each with all others at full width.

    `groups`: {name: {"widths", "shares"}}, shares of the unpruned network's time of all operators that make or read the
    group's channels. `together`: None, or of all other groups their number, `kept`, shares of their channels, and the
    `shares` of the operators that touch no other groups, each at the table's first width from there. `fixed`: the
    share that depends on no width.

    Example::

        table_stairs(LatencyTable.load("table.json"))["groups"]["layer2.0.conv1"]["shares"]  # [0.021, 0.034, ...]
    """
    full, shown = _full(table), _largest(table)
    groups = {
        name: {"widths": list(table.widths[name]), "shares": [_share(table, name, w, full) for w in table.widths[name]]}
        for name in shown
    }
    others = [name for name in table.widths if name not in shown]
    kept = [i / STEPS for i in range(1, STEPS + 1)]
    together = {"number": len(others), "kept": kept, "shares": [_together(table, others, part) for part in kept]}
    fixed = [op for op in table.operators.values() if not {op.n_in, op.n_out} & table.widths.keys()]
    share = table.rest + sum(float(op.shares.sum()) for op in fixed)
    return {"groups": groups, "together": together if others else None, "fixed": share}


def chosen_stairs(table: LatencyTable, widths: Mapping[str, int]) -> dict[str, Any]:
    """What a plan notes of `table`: the stairs of its largest groups, and the place of `widths` {group: channels}.

    A group's `shares`, of the unpruned network's time, are those of all operators that make or read its channels, at
    each of the table's `widths`, with all other groups at the plan's. `share` is that at its own `width`, interpolated
    between those; None outside of them. `others`: number of groups left out.
    """
    shown = _largest(table)
    groups = {}
    for name in shown:
        grid, width = table.widths[name], widths[name]
        shares = [_rounded(_share(table, name, w, widths)) for w in grid]
        share = _rounded(_share(table, name, width, widths)) if _nearest(grid, width) == width else None
        groups[name] = {"widths": list(grid), "shares": shares, "width": width, "share": share}
    made = {name: table.key.get(name) for name in ("device", "backend")}
    return {**made, "unpruned_ms": table.unpruned_ms, "others": len(table.widths) - len(shown), "groups": groups}


def _largest(table: LatencyTable) -> list[str]:
    """The groups that are shown, largest share first: SHOWN of them, or one more where that is all there are."""
    full = _full(table)
    cost = {name: _share(table, name, full[name], full) for name in table.widths}
    names = sorted(cost, key=lambda name: (-cost[name], name))
    return names if len(names) <= SHOWN + 1 else names[:SHOWN]


def _full(table: LatencyTable) -> dict[str, int]:
    return {name: grid[-1] for name, grid in table.widths.items()}


def _share(table: LatencyTable, name: str, width: int, others: Mapping[str, int]) -> float:
    """Share of all operators that make or read group `name`, at `width`; where they depend on another group, too, at
    its width in `others`, or the nearest in the table's range."""

    def at(n: int | str) -> int:
        if n == name:
            return width
        return _nearest(table.widths[n], others[n]) if isinstance(n, str) else n

    touching = [(key, op) for key, op in table.operators.items() if name in (op.n_in, op.n_out)]
    return sum(table.price(key, at(op.n_in), at(op.n_out), interpolate=True) for key, op in touching)


def _nearest(grid: Sequence[int], width: int) -> int:
    """`width` where the table has it or lies on both sides of it, else the end of the table's range."""
    return width if width in grid else min(max(width, present(grid)[0]), grid[-1])


def _together(table: LatencyTable, names: Sequence[str], kept: float) -> float:
    """Share of the operators that depend on groups out of `names` alone, each at its first width from `kept` of it."""
    least = {name: kept * table.widths[name][-1] - 1e-9 for name in names}
    widths = {name: next(w for w in table.widths[name] if w >= least[name]) for name in names}
    total = 0.0
    for key, op in table.operators.items():
        groups = [n for n in (op.n_in, op.n_out) if isinstance(n, str)]
        if groups and all(n in widths for n in groups):
            total += table.price(key, *(widths[n] if isinstance(n, str) else n for n in (op.n_in, op.n_out)))
    return total


def _rounded(share: float) -> float:
    return float(f"{share:.6g}")
