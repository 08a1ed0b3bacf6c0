"""A number for every operation on every edge of a cell, as a table of a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..plan.genotype import CellSpace


def edge_table(space: CellSpace, cell: str, rows: Sequence[Sequence[str]]) -> str:
    """The table of the cells called `cell`: edges down, operations across; `rows` are HTML."""
    head = "".join(f'<th scope="col">{escape(name.replace("_", " "))}</th>' for name in space.operations)
    body = ""
    for (source, node), row in zip(space.edges, rows, strict=True):
        values = "".join(f"<td>{value}</td>" for value in row)
        body += f'<tr><th scope="row">{source} &rarr; {node}</th>{values}</tr>'
    return (
        f'<h3>{escape(cell)}</h3><div class="wide"><table><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
