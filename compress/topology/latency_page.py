"""One self-contained HTML page per latency table of cells: how well it predicts, and what the operations cost."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from ..plan.genotype import CELL_SPACES
from ..report.markup import note, section
from ..report.table_page import check_page, measuring, predictions, write_page
from .latency import CostsFile, read_cells

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
    table = read_cells(path, CostsFile)
    table["unpruned_ms"] = table["network_ms"]
    sections = [predictions(table, whole=WHOLE), _costs(table), measuring(table, whole=WHOLE)]
    write_page(table, sections, page, whole=WHOLE)
    return page


def _costs(table: dict[str, Any]) -> str:
    """What every operation costs on every edge, in percent of the reference network's latency."""
    space = CELL_SPACES[table["cells"]]
    head = "".join(f'<th scope="col">{escape(name.replace("_", " "))}</th>' for name in space.operations)
    parts = []
    for cell in space.cells:
        body = ""
        for (source, node), row in zip(space.edges, table["costs"][cell], strict=True):
            values = "".join(f"<td>{100 * value:.2f}</td>" for value in row)
            body += f'<tr><th scope="row">{source} &rarr; {node}</th>{values}</tr>'
        parts.append(
            f'<h3>{escape(cell)}</h3><div class="wide"><table><thead><tr><td></td>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )
    text = "Percent of the reference network's latency, in all cells of a kind together. "
    text += f"{100 * table['rest']:.1f} % belong to no edge. An edge that is none costs nothing."
    return section("Costs of the operations", note(text) + "".join(parts))
