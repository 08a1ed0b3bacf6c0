"""A genotype drawn: states as lines, nodes where they begin, operations where a line branches off to a later node.

The drawing stands alone as a file, and takes the colours of a page that it stands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape

from ..plan.genotype import CellSpace, Genotype, Node
from ..plan.packages import needs

ROW, COLUMN, CHIP, RADIUS = 46, 94, 88, 12
"""Pixels: between lines, between branches, width of an operation's label, of a node's circle."""
LEFT, TOP, BEFORE, BEHIND, END = 62, 44, 34, 12, 30
"""Pixels: left of the first branch, above the first line, before a node, behind it, before the output."""
COLOURS = {"sep": "c1", "nor": "c1", "dil": "c4", "max": "c2", "avg": "c2", "skip": "c3", "none": "none"}
"""First word of an operation -> class of its label."""
WORDS = {"skip_connect": "skip", "nor_conv_1x1": "conv 1x1", "nor_conv_3x3": "conv 3x3"}

STYLE = """
.genotype text { font: 12px system-ui, "Liberation Sans", Arial, sans-serif; fill: var(--ink, #1b2430); }
.genotype .title { font-weight: 600; font-size: 14px; }
.genotype .state { fill: none; stroke: var(--pruned, #a3adb9); stroke-width: 1.6; }
.genotype .halo { fill: none; stroke: var(--page, #ffffff); stroke-width: 6; }
.genotype .node { fill: var(--page, #ffffff); stroke: var(--ink, #1b2430); stroke-width: 1.4; }
.genotype .end { fill: var(--panel, #f6f8fa); stroke: var(--pruned, #a3adb9); stroke-width: 1.2; }
.genotype .chip { fill: var(--page, #ffffff); stroke-width: 1.6; }
.genotype .c1 { stroke: var(--c1, #2463c7); } .genotype .c2 { stroke: var(--c2, #c8640a); }
.genotype .c3 { stroke: var(--c3, #1f8a5b); } .genotype .c4 { stroke: var(--c4, #8a4fbf); }
.genotype .none { stroke: var(--pruned, #a3adb9); stroke-dasharray: 3 3; }
.genotype .branch { fill: none; stroke-width: 1.6; } .genotype .arrow { fill: var(--ink, #1b2430); }
"""


@dataclass
class _Picture:
    """Marks of one cell, in three layers, and how wide it has become."""

    lines: list[str] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)
    boxes: list[str] = field(default_factory=list)
    width: float = 0.0

    @property
    def marks(self) -> str:
        return "".join([*self.lines, *self.branches, *self.boxes])


def draw_genotype(genotype: Genotype) -> str:
    """An SVG of every cell of `genotype`: inputs on the left, the output on the right, an operation on every edge.

    Example::

        Path("genotype.svg").write_text(draw_genotype(genotype))
    """
    space = genotype.cell_space
    height = TOP + ROW * (space.inputs + space.nodes - 1) + 34
    cells, width = [], 0.0
    for i, cell in enumerate(space.cells):
        picture = _cell(genotype.cells[cell], space)
        width = max(width, picture.width)
        title = f'<text class="title" x="4" y="16">{escape(cell)}</text>' if len(space.cells) > 1 else ""
        cells.append(f'<g transform="translate(0 {i * height})">{title}{picture.marks}</g>')
    box = f'viewBox="0 0 {width:g} {height * len(cells)}" width="{width:g}" height="{height * len(cells)}"'
    name = escape(f"Cells of a genotype: {genotype.text}", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="genotype" role="img" aria-label="{name}" {box} '
        f'style="max-width: 100%; height: auto"><style>{STYLE}</style>{"".join(cells)}</svg>\n'
    )


def drawn_png(genotype: Genotype, *, zoom: int = 2) -> bytes:
    """The drawing as a PNG, `zoom` pixels a unit; UserError where the package that draws pixels is missing.

    Example::

        Path("genotype.png").write_bytes(drawn_png(genotype))
    """
    resvg = needs("resvg_py", package="resvg-py", extra="png", what="a PNG")
    # It knows no variables: their values on a page without a style are what it draws.
    text = re.sub(r"var\(--\w+, (#\w+)\)", r"\1", draw_genotype(genotype))
    return bytes(resvg.svg_to_bytes(svg_string=text, zoom=zoom, background="white"))


def _cell(nodes: tuple[Node, ...], space: CellSpace) -> _Picture:
    picture = _Picture()
    starts, ends = dict.fromkeys(range(space.inputs), LEFT - 8.0), dict.fromkeys(range(space.inputs), 0.0)
    for i, name in enumerate(("k-2", "k-1")[-space.inputs :]):
        picture.boxes.append(f'<text x="{LEFT - 14}" y="{_row(i) + 4}" text-anchor="end">cell {name}</text>')
    x = float(LEFT)
    for number, node in zip(space.node_numbers, nodes, strict=True):
        at = x + COLUMN * len(node) + BEFORE
        # The nearest source first: branches from above then cross as few lines as can be.
        for i, (operation, source) in enumerate(reversed(node)):
            ends[source] = x + COLUMN * (i + 0.5)
            _branch(picture, ends[source], operation, _row(source), _row(number), at - RADIUS)
        picture.boxes.append(
            f'<circle class="node" cx="{at:g}" cy="{_row(number)}" r="{RADIUS}"/>'
            f'<text x="{at:g}" y="{_row(number) + 4}" text-anchor="middle">{number}</text>'
        )
        starts[number], ends[number] = at, at
        x = at + BEHIND
    # NATS-Bench hands on the last node alone, DARTS all of them.
    made = space.node_numbers if space.kept is not None else space.node_numbers[-1:]
    _output(picture, x + END, _row(made[0]), _row(made[-1]))
    ends |= dict.fromkeys(made, x + END)
    picture.lines += [f'<path class="state" d="M{at:g} {_row(i)}H{ends[i]:g}"/>' for i, at in starts.items()]
    return picture


def _branch(picture: _Picture, x: float, operation: str, top: int, bottom: int, node: float) -> None:
    """An edge that leaves the line at `top` and joins the node at `bottom`, with its operation below the line."""
    kind = COLOURS[operation.partition("_")[0]]
    path = f"M{x:g} {top}V{bottom - 8}Q{x:g} {bottom} {x + 8:g} {bottom}H{node - 6:g}"
    picture.branches += [
        f'<path class="halo" d="M{x:g} {top + 4}V{bottom - 4}"/>',
        f'<path class="branch {kind}" d="{path}"/>',
        f'<circle class="arrow" cx="{x:g}" cy="{top}" r="2.6"/>',
    ]
    picture.boxes += [
        f'<path class="arrow" d="M{node:g} {bottom}l-8 -4v8z"/>',
        f'<rect class="chip {kind}" x="{x - CHIP / 2:g}" y="{top + 12}" width="{CHIP}" height="20" rx="10"/>',
        f'<text x="{x:g}" y="{top + 26}" text-anchor="middle">{escape(_word(operation))}</text>',
    ]


def _output(picture: _Picture, x: float, top: int, bottom: int) -> None:
    """The bar at which the lines from `top` to `bottom` end."""
    picture.boxes += [
        f'<rect class="end" x="{x:g}" y="{top - 16}" width="46" height="{bottom - top + 32}" rx="8"/>',
        f'<text x="{x + 23:g}" y="{(top + bottom) / 2 + 4:g}" text-anchor="middle">cell k</text>',
    ]
    picture.width = x + 50


def _row(state: int) -> int:
    return TOP + ROW * state


def _word(operation: str) -> str:
    return WORDS.get(operation, operation.replace("_", " "))
