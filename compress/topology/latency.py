"""Latency of networks of cells, predicted by a table of what every operation costs on every edge (thesis 2.38, 3.1.4).

The costs are measured in context, of whole networks on one device (`compress.topology.profile`), and are shares of the
reference network's time: a cell's latency is the sum over its edges, and a constant for all else.

Shape legend: E edges of a kind of cell, O operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le, MinLen
from typing_extensions import TypedDict

from ..costs import Latency, MeasuredTable
from ..costs.latency import read_table
from ..plan import Genotype, UserError, write_json
from ..plan.genotype import CELL_SPACES, CellSpace
from ..plan.kinds import EXTRA, Milliseconds, Name, Ratio, Text, Versions
from ..plan.plan_file import Residual
from ..plan.stored import Rule
from ..plan.table_file import AGAIN, FORMAT, Key, ShareOfAll
from ..spaces import Space
from .published import DARTS_V2, NATS_LARGEST

REFERENCES = {"nats": NATS_LARGEST, "darts": DARTS_V2}
"""The cells that all others are timed beside: the largest of NATS-Bench, the published ones of DARTS."""


def _text_fault(text: str) -> str | None:
    try:
        Genotype.parse(text)
    except UserError as error:
        return str(error).partition(";")[0]
    return None


GenotypeText = Annotated[Text, Rule(_text_fault)]


class MeasuredCells(TypedDict):
    """A measured network: its latency over the reference network's, whose milliseconds stand beside it, and those of a
    fixed matrix product right before."""

    genotype: GenotypeText
    ratio: Ratio
    network_ms: Milliseconds
    reference_ms: Milliseconds


class JudgedCells(MeasuredCells):
    """A measured network, and what a table predicted that had not seen it."""

    held_out: ShareOfAll


def _designs_fault(found: Mapping[str, Any]) -> str | None:
    odd = [each["genotype"] for each in found["designs"] if Genotype.parse(each["genotype"]).space != found["cells"]]
    return f"designs: {odd[0]:.80} is no cell of {found['cells']}" if odd else None


def _space_fault(name: str) -> str | None:
    return None if name in CELL_SPACES else f"must be one of {', '.join(CELL_SPACES)}"


def _costs_fault(found: Mapping[str, Any]) -> str | None:
    space = CELL_SPACES[found["cells"]]
    if {*found["costs"]} != {*space.cells}:
        return f"costs must be of {', '.join(space.cells)}"
    shape = len(space.edges), len(space.operations)
    for cell, rows in found["costs"].items():
        if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
            return f"costs.{cell} must be {shape[0]} edges x {shape[1]} operations"
    return _designs_fault(found)


class DesignsShape(TypedDict):
    """The networks that a stopped measurement leaves, with what they were measured by."""

    format: int
    key: Key
    cells: Annotated[Name, Rule(_space_fault)]
    rounds: Annotated[int, Ge(1), Le(10**6)]
    designs: list[MeasuredCells]


class CostsShape(TypedDict):
    """A table of cells."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    format: int
    key: Key
    cells: Annotated[Name, Rule(_space_fault)]
    network_ms: Milliseconds
    rest: ShareOfAll
    costs: dict[Name, list[list[ShareOfAll]]]
    ridge: Annotated[float, Ge(0)] | None
    residual: Residual
    reference_ms: Annotated[list[Milliseconds], MinLen(1)]
    rounds: Annotated[int, Ge(1), Le(10**6)]
    date: Text
    measured_with: Versions
    designs: Annotated[list[JudgedCells], MinLen(1)]


DesignsFile = Annotated[DesignsShape, Rule(_designs_fault)]
CostsFile = Annotated[CostsShape, Rule(_costs_fault)]


@dataclass(frozen=True)
class CellTable(MeasuredTable):
    """What every operation costs on every edge, in shares of the latency of the reference network.

    `key` is that of the reference network: device, processor, backend, versions, dtype, batch, threads, input_size,
    space, arch. `cells` names the space of the cells, `network_ms` is the reference network's latency, `rest` the share
    that belongs to no edge, `costs` {cell: [E, O]}. An edge's cost is that in all cells of its kind together; `none`
    costs nothing. `record` holds how good the table is (`residual`) and the measurements behind it.

    Example::

        table = CellTable.load("cells.json")
        table.predict(genotype).ms
    """

    key: Mapping[str, Any]
    cells: str
    network_ms: float
    rest: float
    costs: Mapping[str, np.ndarray]
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> CellSpace:
        """The space of the cells."""
        return CELL_SPACES[self.cells]

    @property
    def reference(self) -> Genotype:
        """The cells of the network that all others were timed beside."""
        return REFERENCES[self.cells]

    @property
    def where(self) -> dict[str, str]:
        """The device and the backend that it is of."""
        return {name: str(self.key.get(name)) for name in ("device", "backend")}

    def predict(self, genotype: Genotype) -> Latency:
        """Latency of the network of `genotype`; UserError for cells of another space."""
        genotype.check_space(self.cells)
        ratio = summed(self.rest, self.costs, genotype)
        return Latency(ratio, ratio * self.network_ms)

    def check_cells(self, cells: CellSpace, input_size: tuple[int, int, int]) -> None:
        """UserError unless it is of networks of `cells`, for images of `input_size` (C, H, W)."""
        there = self.key.get("input_size")
        if self.cells != cells.name:
            raise UserError(f"latency table: of {self.cells} cells, and the search is one of {cells.name}; {AGAIN}")
        if there != list(input_size):
            raise UserError(f"latency table: input_size = {there} there, {list(input_size)} here; {AGAIN}")

    def save(self, path: str | Path) -> None:
        """Write JSON to `path` atomically."""
        costs = {cell: [[float(f"{x:.6g}") for x in row] for row in rows] for cell, rows in self.costs.items()}
        head = {"format": FORMAT, "key": dict(self.key), "cells": self.cells, "network_ms": self.network_ms}
        write_json(path, {**head, "rest": self.rest, "costs": costs, **self.record})

    @classmethod
    def load(cls, path: str | Path) -> CellTable:
        """Read what `save` wrote; UserError when it is missing or no table of cells."""
        value = read_table(path, CostsFile)
        own = ("format", "key", "cells", "network_ms", "rest", "costs")
        costs = {cell: np.array(rows, dtype=float) for cell, rows in value["costs"].items()}
        record = {name: entry for name, entry in value.items() if name not in own}
        return cls(value["key"], value["cells"], value["network_ms"], value["rest"], costs, record)


def open_cells(path: str | Path, target: Space, input_size: tuple[int, int, int]) -> CellTable:
    """The table in the file `path`, of networks like `target`, that of its reference, for images of (C, H, W).

    It may be of another machine: a search need not run on the one that it searches for. Raises UserError as
    `CellTable.load` does, and for the table of another network.
    """
    table = CellTable.load(path)
    table.check_space(target, input_size)
    return table


def summed(rest: float, costs: Mapping[str, np.ndarray], genotype: Genotype) -> float:
    """The latency ratio of the network of `genotype`: `rest`, and `costs` {cell: [E, O]} of the operations that run."""
    return rest + sum(float(costs[cell][edge, operation]) for cell, edge, operation in running(genotype))


def running(genotype: Genotype) -> Iterator[tuple[str, int, int]]:
    """(cell, edge, operation), numbers in its space, of the operations that run: not `none`, and read by what follows.

    A network goes on with all nodes of a cell of DARTS, and with the last one of NATS-Bench.
    """
    space = genotype.cell_space
    for cell, nodes in genotype.cells.items():
        numbered = list(zip(space.node_numbers, nodes, strict=True))
        read = {*space.node_numbers} if space.kept is not None else {numbered[-1][0]}
        for number, node in reversed(numbered):
            edges = [(name, source) for name, source in node if name != "none" and number in read]
            read |= {source for _, source in edges}
            for name, source in edges:
                yield cell, space.edges.index((source, number)), space.operations.index(name)
