"""Latency as a function of widths, looked up in a table that was measured on one device (docs/latency.md).

The table holds, for every operator, its share of the unpruned network's time on a grid of widths. The sum over
operators is a network's latency ratio. Made by `compress.measure.build_table`.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..plan import UserError, read_stored, write_text
from ..plan.table_file import AGAIN, FORMAT, TableFile
from ..spaces import Operator, Space, Sum, groups_of

UNTIMED = ("parameter", "shift")
"""Kinds of operators that a table has no entries of: they cost memory, or are left of a removed block's addition; that
time is in `rest`."""


def check_timeable(operators: Iterable[Operator]) -> None:
    """UserError for an operator that reads or writes a concatenation: a table has one group on each side."""
    for op in operators:
        sums = [width for width in (op.n_in, op.n_out) if isinstance(width, Sum)]
        if sums and op.kind not in UNTIMED:
            names = ", ".join(groups_of(sums[0]))
            raise UserError(
                f"latency table: {op.name} has a concatenation on one side ({names:.80}), and a table holds one group "
                "there; use --macs-ratio or --params-ratio"
            )


class Latency(NamedTuple):
    """A predicted latency: over the unpruned network's, and in milliseconds at the speed of the table's machine."""

    ratio: float
    ms: float


@dataclass(frozen=True)
class OperatorCosts:
    """Shares of the unpruned network's time, [widths of n_in, widths of n_out]; see `Operator` for `n_in`, `n_out`."""

    n_in: int | str
    n_out: int | str
    shares: np.ndarray


class MeasuredTable:
    """What every latency table says of itself: `key`, what it holds for, and `record`, how good it is."""

    key: Mapping[str, Any]
    record: Mapping[str, Any]

    def check_key(self, key: Mapping[str, Any], *, force: bool = False) -> list[str]:
        """What differs between `key` (`compress.measure.table_key`) and the table's own; UserError unless `force`."""
        odd = _differences(self.key, key)
        if odd and not force:
            raise UserError(
                f"latency table: {_shown(odd, self.key, key)}; {AGAIN}, or force its use if you know that it holds "
                "here too"
            )
        return odd

    def check_space(self, space: Space, input_size: Sequence[int]) -> None:
        """UserError unless the table is of the networks of `space`, for images of `input_size` (C, H, W).

        It may be of another machine: a search need not run on the one that it searches for.
        """
        there = _network(str(self.key.get("space")), self.key.get("arch") or {}, self.key.get("input_size") or ())
        here = _network(space.name, space.arch, input_size)
        if odd := _differences(there, here):
            raise UserError(f"latency table: {_shown(odd, there, here)}; {AGAIN}")


@dataclass(frozen=True)
class LatencyTable(MeasuredTable):
    """The costs of a space's operators, fitted to measurements.

    `key` says what was measured, on what: device, processor, backend, versions, dtype, batch, threads, input_size,
    space, arch.
    `widths` are the grid, for every group the widths that `operators` has costs of, fitted to the networks that were
    profiled; ascending, with 0 where its block can go. `rest` is the share of the
    time that belongs to no entry of `operators` and depends on no width. `record` holds how good the table is
    (`residual`) and the measurements behind it.

    Example::

        table = LatencyTable.load("table.json")
        table.predict(space.operators((3, 32, 32)), plan.widths).ratio  # 0.53
    """

    key: Mapping[str, Any]
    unpruned_ms: float
    widths: Mapping[str, Sequence[int]]
    operators: Mapping[str, OperatorCosts]
    rest: float
    record: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write JSON to `path` atomically."""
        operators = {
            name: {
                "n_in": op.n_in,
                "n_out": op.n_out,
                "shares": [[float(f"{x:.6g}") for x in row] for row in op.shares],
            }
            for name, op in self.operators.items()
        }
        value = {
            "format": FORMAT,
            "key": dict(self.key),
            "unpruned_ms": self.unpruned_ms,
            "widths": {name: list(widths) for name, widths in self.widths.items()},
            "rest": self.rest,
            **self.record,
            "operators": operators,
        }
        write_text(path, json.dumps(value, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read what `save` wrote; UserError when it is missing or no table of this version."""
        value = read_table(path, TableFile)
        operators = {
            name: OperatorCosts(op["n_in"], op["n_out"], np.array(op["shares"], dtype=float))
            for name, op in value["operators"].items()
        }
        widths = {name: tuple(grid) for name, grid in value["widths"].items()}
        own = {"format", "key", "unpruned_ms", "widths", "operators", "rest"}
        record = {name: entry for name, entry in value.items() if name not in own}
        return cls(value["key"], value["unpruned_ms"], widths, operators, value["rest"], record)

    def price(self, op: Operator | str, n_in: int, n_out: int, *, interpolate: bool = False) -> float:
        """One operator's share of the unpruned network's time at widths `n_in` and `n_out`.

        Exact on the table's widths; UserError elsewhere, but with `interpolate` for widths between two of them. The 0
        of a removed block is not one of the two: nothing is known between it and the narrowest width. Where an operator
        of a fixed width goes with its block, the table's width is that of a group of the block (`price_at`).

        Args:
            op: the operator, or its name.
            n_in, n_out: numbers of channels.
            interpolate: take widths between two of the table's.
        """
        costs = self.costs_of(op)
        rows = _corners(self.grid(costs.n_in), n_in, f"{costs.n_in} of {_name(op)}", interpolate)
        columns = _corners(self.grid(costs.n_out), n_out, f"{costs.n_out} of {_name(op)}", interpolate)
        return float(sum(a * b * costs.shares[i, j] for i, a in rows for j, b in columns))

    def price_at(self, op: Operator | str, widths: Mapping[str, int], *, interpolate: bool = False) -> float:
        """The same at `widths` {group: channels}; UserError for a group of the operator that they lack."""
        costs = self.costs_of(op)
        n_in, n_out = (_width(n, widths) for n in (costs.n_in, costs.n_out))
        return self.price(op, n_in, n_out, interpolate=interpolate)

    def predict(
        self, operators: Iterable[Operator], widths: Mapping[str, int], *, interpolate: bool = False
    ) -> Latency:
        """Latency of the network of `operators`, those of the table's space, at `widths` {group: channels}.

        Raises UserError for an operator or a group that the table does not know, and for widths as `price` does.
        """
        ratio = self.rest
        for op in operators:
            if op.kind not in UNTIMED:
                ratio += self.price_at(op, widths, interpolate=interpolate)
        return Latency(ratio, ratio * self.unpruned_ms)

    def costs_of(self, op: Operator | str) -> OperatorCosts:
        """The costs of one operator; UserError when the table has none of this name."""
        if (name := _name(op)) not in self.operators:
            raise UserError(f"latency table: has no operator {name!r}; it is another network's: {AGAIN}")
        return self.operators[name]

    def grid(self, width: int | str) -> Sequence[int]:
        """The widths at which the table has an operator's `n_in` or `n_out`: a group's, or its only one."""
        return self.widths[width] if isinstance(width, str) else (width,)


def open_table(path: str | Path, space: Space, input_size: Sequence[int]) -> LatencyTable:
    """The table in the file `path`, of the networks of `space`, for images of (C, H, W).

    Raises UserError as `LatencyTable.load` and `LatencyTable.check_space` do.

    Example::

        table = open_table("table.json", space, (3, 32, 32))
    """
    table = LatencyTable.load(path)
    table.check_space(space, input_size)
    return table


def read_table(path: str | Path, shape: Any) -> Any:
    """The JSON file `path` of a table as `shape`; UserError, with what makes one, when it is missing or no such."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; correct the name, or make a table with `nncompress profile`")
    return read_stored(path, shape, version=FORMAT, remedy=AGAIN)


def present(grid: Sequence[int]) -> list[int]:
    """The widths of `grid` at which there is a layer: all but the 0 of a removed block."""
    return [n for n in grid if n > 0]


def _network(space: str, arch: Mapping[str, Any], input_size: Sequence[int]) -> dict[str, Any]:
    """The part of a key that says which network, every argument of it an entry."""
    return {"space": space, "input_size": list(input_size), **{f"arch.{name}": value for name, value in arch.items()}}


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    return [name for name in {**there, **here} if there.get(name) != here.get(name)]


def _shown(odd: Sequence[str], there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    name, *others = odd
    more = f" ({', '.join(others)} differ too)" if others else ""
    return f"{name} = {there.get(name)!r:.300} there, {here.get(name)!r:.300} here{more}"


def _name(op: Operator | str) -> str:
    return op if isinstance(op, str) else op.name


def _width(width: int | str, widths: Mapping[str, int]) -> int:
    if isinstance(width, str) and width not in widths:
        raise UserError(f"widths: none for group {width!r}, which the latency table has; give all groups' widths")
    return widths[width] if isinstance(width, str) else width


def _corners(grid: Sequence[int], n: int, what: str, interpolate: bool) -> list[tuple[int, float]]:
    """Indices into `grid` and their weights; UserError off the grid, or, with `interpolate`, outside of it or below its
    narrowest width, which is not the 0 of a removed block."""
    below = bisect_right(grid, n) - 1
    if below >= 0 and grid[below] == n:
        return [(below, 1.0)]
    if interpolate and 0 <= below < len(grid) - 1 and grid[below] > 0:
        part = (n - grid[below]) / (grid[below + 1] - grid[below])
        return [(below, 1 - part), (below + 1, part)]
    shown = ", ".join(map(str, grid if len(grid) < 8 else [*grid[:3], "...", *grid[-2:]]))
    raise UserError(
        f"width {n} for {what}: not measured, the latency table's grid is {shown}; round widths to those "
        "(select.round_to), or profile with a smaller --multiple"
    )
