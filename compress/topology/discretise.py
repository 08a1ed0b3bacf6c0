"""From scores of edges to a genotype (thesis 3.1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..pipeline.checks import check_scores
from ..plan import load_scores
from ..plan.genotype import CellSpace, Genotype

NONE = "none"


def discretise(scores: Mapping[str, Tensor], cells: CellSpace, *, allow_none: bool = False) -> Genotype:
    """The genotype of `scores` {"cell.i": [O]}, i an edge of `cells`.

    Every edge takes its best operation, and where `cells.kept` is a number, every node keeps that many edges, those
    whose best operations score highest. Of equal operations the one that `cells` names first is taken, of equal edges
    the one from the earlier state. `none` is no operation that an edge can take, unless `allow_none` (and no edge is
    left out by its score, so only where all edges stay).

    Example::

        discretise(load_edge_scores("runs/scores/scores.safetensors", NATS), NATS).text
    """
    banned = NONE if not allow_none or cells.kept is not None else None
    usable = [(i, name) for i, name in enumerate(cells.operations) if name != banned]
    found = {}
    for cell in cells.cells:
        best = []
        for i, (source, node) in enumerate(cells.edges):
            row = scores[f"{cell}.{i}"].tolist()
            # max takes the first of equal ones.
            at, name = max(usable, key=lambda option: row[option[0]])
            best.append((node, source, name, row[at]))
        nodes = []
        for number in cells.node_numbers:
            edges = [edge for edge in best if edge[0] == number]
            if cells.kept is not None:
                edges = sorted(sorted(edges, key=lambda edge: -edge[3])[: cells.kept], key=lambda edge: edge[1])
            nodes.append(tuple((name, source) for _, source, name, _ in edges))
        found[cell] = tuple(nodes)
    return Genotype(cells.name, found)


def load_edge_scores(path: str | Path, cells: CellSpace) -> dict[str, Tensor]:
    """The scores of the edges of `cells` in the file `path`; UserError where they are others, or damaged."""
    scores = load_scores(path)
    edges = (f"{cell}.{i}" for cell in cells.cells for i in range(len(cells.edges)))
    check_scores(scores, dict.fromkeys(edges, len(cells.operations)), name=str(path))
    return scores
