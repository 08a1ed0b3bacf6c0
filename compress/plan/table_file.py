"""Shapes of a latency table's JSON, and of the profiles that a stopped measurement leaves (docs/latency.md).

Rooms that measure write them; rooms that search and select, and the report, read them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, MinLen
from typing_extensions import TypedDict

from .kinds import (
    EXTRA,
    Channels,
    Count,
    ImageSize,
    Milliseconds,
    Name,
    Ratio,
    Text,
    Versions,
    Width,
    ascending,
    of_one_length,
)
from .plan_file import Residual
from .stored import Rule

FORMAT = 1
AGAIN = "profile this one with `nncompress profile`"

PROFILES, TOTALS = "profiles", "totals"
"""How a table is made: of a time for every layer, or of whole calls alone. What was measured has the way's name."""
Way = Literal["profiles", "totals"]

Positive = Annotated[int, Ge(1), Le(10**6)]
ShareOfAll = Annotated[float, Ge(0), Le(1e6)]
"""Of the unpruned network's time; a wide one is noise, a negative one would buy budget."""


def _arch_fault(arch: dict[str, Any]) -> str | None:
    return None if isinstance(arch.get("widths", {}), dict) else "widths must be an object"


class Key(TypedDict):
    """What was measured, on what."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    device: NotRequired[Text | None]
    processor: NotRequired[Text | None]
    backend: NotRequired[Name | None]
    versions: NotRequired[Versions]
    dtype: NotRequired[Name]
    batch: NotRequired[Positive]
    threads: NotRequired[Positive]
    input_size: NotRequired[ImageSize]
    space: NotRequired[Name | None]
    arch: NotRequired[Annotated[dict[Name, Any], Rule(_arch_fault)] | None]


def _axis_fault(axis: Any) -> str | None:
    number = isinstance(axis, int) and not isinstance(axis, bool) and 1 <= axis <= 1 << 20
    return None if number or isinstance(axis, str) else "must be a number of channels or the name of a group"


def _grid_fault(grid: list[int]) -> str | None:
    return ascending(grid) or (None if grid[-1] else "must have a width above 0")


Axis = Annotated[Any, Rule(_axis_fault)]
Grid = Annotated[list[Width], MinLen(1), Rule(_grid_fault)]


class OperatorFile(TypedDict):
    """An operator's shares of the unpruned network's time, [widths of n_in, widths of n_out]."""

    n_in: Axis
    n_out: Axis
    shares: list[list[ShareOfAll]]


class Design(TypedDict):
    """A profiled network's latency ratio, and what a table predicted that had not seen it."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    ratio: Ratio
    held_out: ShareOfAll


def _profiles_fault(packed: Packed) -> str | None:
    n, groups, operators = len(packed["ratio"]), len(packed["groups"]), len(packed["operators"])
    regions = packed.get("regions", [[i] for i in range(operators)])
    if len(packed["sizes"]) != groups or len(set(packed["groups"])) != groups:
        return "sizes must be one for each of groups, which must differ"
    if len(set(packed["operators"])) != operators:
        return "operators must differ"
    if any(ascending(held) or held[-1] >= operators for held in regions) or len({*map(tuple, regions)}) < len(regions):
        return "regions must differ, and each must be ascending numbers of operators"
    columns: dict[str, Any] = {**packed}
    for key in ("unpruned_ms", "reference_ms", "widths", *BY_OPERATOR):
        if len(columns[key]) != n:
            return f"{key} must have {n} entries, one for each network of ratio"
    for key, length in (("widths", groups), *((key, len(regions)) for key in BY_OPERATOR)):
        if any(len(row) != length for row in columns[key]):
            return f"{key} must have rows of {length} entries"
    return None if all(map(sum, packed["unpruned_nodes"])) else "unpruned_nodes must have a node in every network"


BY_OPERATOR = ("shares", "unpruned_shares", "nodes", "unpruned_nodes")


class Packed(TypedDict):
    """Profiles of networks of one space: names once, numbers as rows.

    `regions`: where layers hold several operators, the numbers of those of each column; else a column is an operator.
    """

    groups: list[Name]
    sizes: list[Channels]
    widths: list[list[Width]]
    operators: list[Name]
    regions: NotRequired[list[Annotated[list[Annotated[int, Ge(0)]], MinLen(1)]]]
    shares: list[list[ShareOfAll]]
    unpruned_shares: list[list[ShareOfAll]]
    nodes: list[list[Count]]
    unpruned_nodes: list[list[Count]]
    ratio: list[Ratio]
    unpruned_ms: list[Milliseconds]
    reference_ms: list[Milliseconds]


Profiles = Annotated[Packed, Rule(_profiles_fault)]


def _totals_fault(packed: PackedTotals) -> str | None:
    groups = packed["groups"]
    if len(packed["sizes"]) != len(groups) or len(set(groups)) != len(groups):
        return "sizes must be one for each of groups, which must differ"
    if any(len(row) != len(groups) for row in packed["widths"]):
        return f"widths must have rows of {len(groups)} entries"
    columns = {name: packed[name] for name in ("widths", "ratio", "unpruned_ms", "reference_ms")}
    return of_one_length(**columns)


CallRatio = Annotated[float, Ge(1e-4), Le(1e4)]
"""Of whole calls: no pruned network is further from the unpruned one, and the fit takes its inverse."""


class PackedTotals(TypedDict):
    """Whole calls of networks of one space: names once, numbers as rows."""

    groups: list[Name]
    sizes: list[Channels]
    widths: list[list[Width]]
    ratio: list[CallRatio]
    unpruned_ms: list[Milliseconds]
    reference_ms: list[Milliseconds]


Totals = Annotated[PackedTotals, Rule(_totals_fault)]


def _table_fault(table: Table) -> str | None:
    widths = table["widths"]
    for name, op in table["operators"].items():
        for axis in (op["n_in"], op["n_out"]):
            if isinstance(axis, str) and axis not in widths:
                return f"operators.{name} depends on {axis!r:.80}, which widths has not"
        rows, columns = (len(widths[n]) if isinstance(n, str) else 1 for n in (op["n_in"], op["n_out"]))
        if len(op["shares"]) != rows or any(len(row) != columns for row in op["shares"]):
            return f"operators.{name}.shares must be {rows} x {columns}, as its widths are"
    return None


class Table(TypedDict):
    """A latency table."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    format: int
    key: Key
    unpruned_ms: Milliseconds
    widths: dict[Name, Grid]
    rest: Annotated[float, Ge(-0.5), Le(2)]
    operators: dict[Name, OperatorFile]
    residual: NotRequired[Residual]
    reference_ms: NotRequired[Annotated[list[Milliseconds], MinLen(1)]]
    date: NotRequired[Text]
    designs: NotRequired[Annotated[list[Design], MinLen(1)]]
    measured_with: NotRequired[Versions]
    multiple: NotRequired[Positive]
    rounds: NotRequired[Positive]
    sources: NotRequired[Positive]
    profiler_overhead: NotRequired[Annotated[float, Ge(-0.5), Le(0.5)]]
    way: NotRequired[Way]
    profiles: NotRequired[Profiles]
    totals: NotRequired[Totals]


TableFile = Annotated[Table, Rule(_table_fault)]


class RecordedTable(Table):
    """A table with the record of its networks, of which a page is made."""

    residual: Residual  # type: ignore[misc]
    reference_ms: Annotated[list[Milliseconds], MinLen(1)]  # type: ignore[misc]
    date: Text  # type: ignore[misc]
    designs: Annotated[list[Design], MinLen(1)]  # type: ignore[misc]


def _measured_fault(file: Measured) -> str | None:
    way = file.get("way", PROFILES)
    return None if way in file else f"{way} is missing"


class Measured(TypedDict):
    """What was measured for a table, whether it is finished or stopped, and how; `way` is not in old files."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    format: int
    key: Key
    multiple: Positive
    rounds: Positive
    sources: NotRequired[Positive]
    way: NotRequired[Way]
    profiles: NotRequired[Profiles]
    totals: NotRequired[Totals]


MeasuredFile = Annotated[Measured, Rule(_measured_fault)]
