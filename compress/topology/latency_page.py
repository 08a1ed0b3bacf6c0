"""One self-contained HTML page per latency table of cells: how well it predicts, and what the operations cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..costs.latency import read_table
from ..plan.genotype import CELL_SPACES
from ..report.markup import note, section
from ..report.table_page import check_page, measuring, predictions, write_page
from .edge_tables import edge_table
from .latency import CostsFile

WHOLE = "reference"
"""The network that the table's times are shares of."""


def write_cell_page(path: str | Path, target: str | Path | None = None) -> Path:
    """Write a page on the table of cells in the file `path` to `target`, beside it with the suffix .html unless given.

    It has predicted against measured latency of the networks that were timed, each predicted by costs that were fitted
    without its quarter of them, and the table of costs. Returns the path of the page; UserError when `path` is no table
    of cells, and when `target` is `path`.

    Example::

        write_cell_page("cells.json")  # cells.html
    """
    page = check_page(path, target)
    table = read_table(path, CostsFile)
    table["unpruned_ms"] = table["network_ms"]
    sections = [predictions(table, whole=WHOLE), _costs(table), measuring(table, whole=WHOLE)]
    write_page(table, sections, page, whole=WHOLE)
    return page


def _costs(table: dict[str, Any]) -> str:
    """What every operation costs on every edge, in percent of the reference network's latency."""
    space = CELL_SPACES[table["cells"]]
    parts = [
        edge_table(space, cell, [[f"{100 * value:.2f}" for value in row] for row in table["costs"][cell]])
        for cell in space.cells
    ]
    text = "Percent of the reference network's latency, in all cells of a kind together. "
    text += f"{100 * table['rest']:.1f} % belong to no edge. An edge that is none costs nothing."
    return section("Costs of the operations", note(text) + "".join(parts))
