"""Genotypes: which operation stands on which edge of a cell, as values, as JSON and in the strings of papers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le, MaxLen
from typing_extensions import TypedDict

from .errors import UserError, brief
from .files import write_json
from .kinds import Name
from .stored import check_stored, read_stored

FORMAT, FILE = 1, "genotype.json"
Edge = tuple[str, int]
"""An operation and the node whose output it reads."""
Node = tuple[Edge, ...]
"""The edges into one node, their sources ascending."""

_AGAIN = "correct it or run the search again"
_NONE = "none"
_SHORT = {"reduction": "reduce"}
"""What DARTS's strings call a cell."""
_NODES = r"range\(\d+,\d+\)|[\[(][\d,]*[\])]"
_DARTS = re.compile(
    rf"Genotype\(normal=\[(?P<normal>[^\[\]]*)\],normal_concat=(?P<normal_concat>{_NODES}),"
    rf"reduce=\[(?P<reduction>[^\[\]]*)\],reduce_concat=(?P<reduction_concat>{_NODES}),?\)"
)
_PAIR = re.compile(r"\((?P<quote>['\"])(?P<operation>\w*)(?P=quote),(?P<source>\d{1,9})\)")
_PLACE = re.compile(r"(?P<operation>\w*)~(?P<source>\d{1,9})")


@dataclass(frozen=True)
class CellSpace:
    """The cells that a search chooses from: nodes, the edges between them, the operations that an edge may be.

    Nodes are numbered after the inputs: DARTS has the inputs 0 and 1 and the nodes 2 to 5.

    Args:
        name: of the space, "darts" or "nats".
        cells: the kinds of cells.
        inputs: of a cell.
        nodes: of a cell that compute something; each may read all before it.
        operations: what an edge may be, in the order of its scores.
        kept: how many edges into a node a genotype keeps, each with an operation other than `none`; None: all stay.

    Example::

        len(DARTS.edges) * len(DARTS.operations) * len(DARTS.cells)  # 224 scores
    """

    name: str
    cells: tuple[str, ...]
    inputs: int
    nodes: int
    operations: tuple[str, ...]
    kept: int | None

    @property
    def node_numbers(self) -> range:
        """The nodes that compute something."""
        return range(self.inputs, self.inputs + self.nodes)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(source, node) of every edge, by node, then by source."""
        return tuple((source, node) for node in self.node_numbers for source in range(node))

    @property
    def choices(self) -> tuple[str, ...]:
        """The operations that a genotype may have: all, or all but `none` where edges that are `none` are left out."""
        return self.operations if self.kept is None else tuple(name for name in self.operations if name != _NONE)


_POOLS = ("max_pool_3x3", "avg_pool_3x3")
_CONVOLUTIONS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
DARTS = CellSpace("darts", ("normal", "reduction"), 2, 4, (_NONE, *_POOLS, "skip_connect", *_CONVOLUTIONS), kept=2)
_NATS_OPERATIONS = (_NONE, "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NATS = CellSpace("nats", ("cell",), 1, 3, _NATS_OPERATIONS, kept=None)
CELL_SPACES = {space.name: space for space in (DARTS, NATS)}


class GenotypeFile(TypedDict):
    """genotype.json: of every cell its nodes, of every node its edges, [operation, source]."""

    format: int
    space: Name
    cells: dict[
        Name,
        Annotated[
            list[Annotated[list[tuple[Name, Annotated[int, Ge(0), Le(10**9)]]], MaxLen(1000)]],
            MaxLen(1000),
        ],
    ]


@dataclass(frozen=True)
class Genotype:
    """The cells that a search found: an operation on every edge that stays.

    Args:
        space: a key of `CELL_SPACES`.
        cells: kind of cell -> its nodes in order, each a tuple of (operation, source), sources ascending.

    Raises UserError unless it is a genotype of that space: operations, number of nodes and edges, sources.

    Example::

        genotype = Genotype.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
        genotype.share("skip_connect")  # 1 / 6
        genotype.save("genotype.json")
    """

    space: str
    cells: Mapping[str, tuple[Node, ...]]

    def __post_init__(self) -> None:
        if self.space not in CELL_SPACES:
            raise _fault(f"space {brief(self.space)} must be one of {', '.join(CELL_SPACES)}")
        if {*self.cells} != {*self.cell_space.cells}:
            found = ", ".join(map(brief, self.cells)) or "none"
            raise _fault(f"cells of {self.space} must be {', '.join(self.cell_space.cells)}, not {found}")
        for cell, nodes in self.cells.items():
            self._check(cell, nodes)

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def cell_space(self) -> CellSpace:
        """What it was chosen from."""
        return CELL_SPACES[self.space]

    @property
    def edges(self) -> Iterator[tuple[str, int, str, int]]:
        """(cell, node, operation, source) of every edge that stays."""
        for cell in self.cell_space.cells:
            for number, node in zip(self.cell_space.node_numbers, self.cells[cell], strict=True):
                for operation, source in node:
                    yield cell, number, operation, source

    @property
    def text(self) -> str:
        """The string that NATS-Bench or DARTS write for it."""
        if self.cell_space.kept is None:
            (nodes,) = self.cells.values()
            return "+".join("|" + "".join(f"{name}~{source}|" for name, source in node) for node in nodes)
        concat = f"range({self.cell_space.inputs}, {self.cell_space.node_numbers.stop})"
        parts = []
        for cell in self.cell_space.cells:
            name = _SHORT.get(cell, cell)
            pairs = [edge for node in self.cells[cell] for edge in node]
            parts += [f"{name}={pairs!r}", f"{name}_concat={concat}"]
        return f"Genotype({', '.join(parts)})"

    def share(self, operation: str) -> float:
        """The part of its edges that are `operation`; UserError for one that the space has not."""
        if operation not in self.cell_space.operations:
            raise UserError(_one_of(self.cell_space.operations), argument="operation", value=operation)
        found = [name for _, _, name, _ in self.edges]
        return found.count(operation) / len(found)

    def check_space(self, space: str) -> None:
        """Raise UserError unless it is a genotype of `space`."""
        if self.space != space:
            raise _fault(f"must be one of {space}, and is one of {self.space}", "name one of the other kind")

    def to_json(self) -> dict[str, Any]:
        """Plain values, those of genotype.json."""
        cells = {cell: [[list(edge) for edge in node] for node in self.cells[cell]] for cell in self.cell_space.cells}
        return {"format": FORMAT, "space": self.space, "cells": cells}

    def save(self, path: str | Path) -> None:
        """Write JSON to `path` atomically."""
        write_json(path, self.to_json())

    @classmethod
    def from_json(cls, value: Any, *, source: str = "genotype") -> Genotype:
        """The genotype of `to_json`'s values; UserError, beginning with `source`, where they are none."""
        return cls._of_file(check_stored(value, GenotypeFile, source=source, version=FORMAT, remedy=_AGAIN), source)

    @classmethod
    def load(cls, path: str | Path) -> Genotype:
        """Read what `save` wrote; UserError when it is no genotype."""
        return cls._of_file(read_stored(path, GenotypeFile, version=FORMAT, remedy=_AGAIN), str(path))

    @classmethod
    def named(cls, source: str) -> Genotype:
        """The genotype that `source` names: a file, the run folder of a topology search, or the text itself."""
        if source.lstrip().startswith(("|", "Genotype(")):
            return cls.parse(source)
        return cls.load(Path(source, FILE) if os.path.isdir(source) else source)

    @classmethod
    def _of_file(cls, value: GenotypeFile, source: str) -> Genotype:
        cells = {cell: tuple(tuple(map(tuple, node)) for node in nodes) for cell, nodes in value["cells"].items()}
        try:
            return cls(value["space"], cells)  # type: ignore[arg-type]
        except UserError as error:
            raise error.at(source) from None

    @classmethod
    def parse(cls, text: str) -> Genotype:
        """The genotype of a string of NATS-Bench or DARTS, which is read and never run.

        Edges into a node may stand in any order; the genotype has their sources ascending.
        Raises UserError when it is neither.
        """
        flat = re.sub(r"\s", "", text)
        if flat.startswith("|"):
            return cls("nats", {"cell": tuple(_edges(part) for part in flat.split("+"))})
        found = _DARTS.fullmatch(flat)
        if found is None:
            forms = (
                "|nor_conv_3x3~0|+|...| or Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), ...)"
            )
            raise _fault(f"{brief(text)} must have the form {forms}")
        for cell in DARTS.cells:
            _check_concatenated(cell, found[f"{cell}_concat"])
        return cls("darts", {cell: _pairs(cell, found[cell]) for cell in DARTS.cells})

    def _check(self, cell: str, nodes: tuple[Node, ...]) -> None:
        space = self.cell_space
        if len(nodes) != space.nodes:
            raise _fault(f"{cell} must have {space.nodes} nodes, not {len(nodes)}")
        for number, node in zip(space.node_numbers, nodes, strict=True):
            where = f"{cell}, node {number}"
            kept = number if space.kept is None else space.kept
            if len(node) != kept:
                raise _fault(f"{where}: must have {kept} edges, not {len(node)}")
            for operation, source in node:
                if operation not in space.choices:
                    raise _fault(f"{where}: operation {brief(operation)} {_one_of(space.choices)}")
                if source not in range(number):
                    raise _fault(f"{where}: source {brief(source)} must be from 0 to {number - 1}")
            sources = [source for _, source in node]
            if sources != sorted(set(sources)):
                raise _fault(f"{where}: sources {brief(sources)} must be ascending, without repeats")


def _edges(part: str) -> Node:
    """The edges into a node of NATS-Bench's string, |nor_conv_3x3~0|skip_connect~1|."""
    if len(part) < 2 or part[0] != "|" or part[-1] != "|":
        raise _fault(f"{brief(part)} must have the form |nor_conv_3x3~0|skip_connect~1|")
    found = [_PLACE.fullmatch(edge) for edge in part[1:-1].split("|")]
    edges = [(match["operation"], int(match["source"])) for match in found if match]
    if len(edges) != len(found):
        raise _fault(f"{brief(part)} must have the form |nor_conv_3x3~0|skip_connect~1|")
    return tuple(sorted(edges, key=lambda edge: edge[1]))


def _pairs(cell: str, text: str) -> tuple[Node, ...]:
    """The nodes of one cell in DARTS's string: a list of pairs, as many a node as the space keeps."""
    found = list(_PAIR.finditer(text))
    if ",".join(match[0] for match in found) != text.removesuffix(","):
        raise _fault(f"{cell}: {brief(text)} must be pairs ('sep_conv_3x3', 0)")
    edges = [(match["operation"], int(match["source"])) for match in found]
    kept = DARTS.kept or 0
    if len(edges) != DARTS.nodes * kept:
        raise _fault(f"{cell} must have {DARTS.nodes * kept} edges, {kept} a node, not {len(edges)}")
    nodes = [edges[i : i + kept] for i in range(0, len(edges), kept)]
    return tuple(tuple(sorted(node, key=lambda edge: edge[1])) for node in nodes)


def _check_concatenated(cell: str, text: str) -> None:
    """Raise UserError unless `text` says that all nodes are concatenated, the only cells that there are here."""
    numbers = DARTS.node_numbers
    listed = ",".join(map(str, numbers))
    if text not in (f"range({numbers.start},{numbers.stop})", f"[{listed}]", f"({listed})"):
        raise _fault(f"{cell}: concatenation {brief(text)} must be range({numbers.start}, {numbers.stop})")


def _one_of(names: tuple[str, ...]) -> str:
    return f"must be one of {', '.join(names)}"


def _fault(rule: str, remedy: str = _AGAIN) -> UserError:
    return UserError(rule, argument="genotype", remedy=remedy)
