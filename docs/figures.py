"""The figures of the pages, drawn from the code and from benchmarks/results; `python docs/figures.py` writes them anew.

A hook of MkDocs as well (mkdocs.yml): on the site they stand in the pages themselves, and take their colours.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/figures"
WIDTH = 440
"""Pixels: narrow enough for a phone, without text that shrinks."""
TEAL, ORANGE, VIOLET = "#14978b", "#d8772c", "#8d70cf"
"""Legible on white and on dark pages; everything else is the text's own colour."""
COLOURS = "<style>svg { color: #20262d } @media (prefers-color-scheme: dark) { svg { color: #dfe4ea } }</style>"
"""Of a file that stands alone, as repositories show it."""
TIMES, MINUS = "\u00d7", "\u2212"
IMAGE = re.compile(r"!\[([^\]]*)\]\((?:\.\./)*figures/(\w+)\.svg\)")
DOES = {
    "train": "a run of its own: the checkpoint to begin with",
    "load": "reads the checkpoint, measures its accuracy",
    "search": "scores every channel",
    "select": "the best channels within the budget",
    "slice": "takes the others out of the tensors",
    "finetune": "trains what is left",
    "export": "ONNX, compared with PyTorch",
    "measure": "before and after, in turn",
    "report": "all of it on one page",
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Figures in place of the images that repositories show."""
    return IMAGE.sub(lambda found: f"\n<figure>{drawn(found[2])}</figure>\n", markdown)


def drawn(name: str, *, alone: bool = False) -> str:
    """The figure `name`; `alone` as a file of its own."""
    marks, height, label = FIGURES[name]()
    box = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(label)}" {box} '
        f'style="max-width: 100%; height: auto" font-family="system-ui, Liberation Sans, Arial, sans-serif" '
        f'font-size="13">{COLOURS if alone else ""}{"".join(marks)}</svg>'
    )


def text(x: float, y: float, said: str, *, colour: str = "currentColor", size: int = 13, **more: Any) -> str:
    """A line of text; `more` are attributes: text_anchor="middle"."""
    own = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}"{own}>{escape(said)}</text>'


def box(
    x: float, y: float, w: float, h: float, said: str = "", *, colour: str = "currentColor", bold: bool = False
) -> str:
    """A rounded box with a word in its middle."""
    rim = f'stroke="{colour}" stroke-width="{1.8 if colour != "currentColor" else 1}"'
    word = text(x + w / 2, y + h / 2 + 4.5, said, text_anchor="middle", font_weight=600 if bold else 400)
    return f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="6" fill="none" {rim}/>{word}'


def line(*points: tuple[float, float], colour: str = "currentColor", arrow: bool = False, dashed: bool = False) -> str:
    """A line through `points`, with a head at its end."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    head = ""
    if arrow:
        (x0, y0), (x, y) = points[-2:]
        turn = math.degrees(math.atan2(y - y0, x - x0))
        head = (
            f'<path d="M0 0 L-9 -4.5 L-9 4.5 Z" fill="{colour}" transform="translate({x:g} {y:g}) rotate({turn:g})"/>'
        )
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>{head}'


def lines(x: float, y: float, *said: str, colour: str = "currentColor") -> list[str]:
    """Small lines of text, one below the other."""
    return [text(x, y + 16 * i, each, size=12, colour=colour) for i, each in enumerate(said)]


Drawing = tuple[list[str], int, str]
"""Marks, height, and what the figure shows, in words."""


def gates() -> Drawing:
    """A residual block of PreResNet-20 with its two groups, as its space tells them."""
    from compress.spaces import PreResNetSpace

    space, block = PreResNetSpace(20, 10), "layer1.1"
    groups = [group for group in space.groups if group.name.startswith(f"{block}.")]
    names = [name for name, _ in space.build().get_submodule(block).named_children()]
    colour = dict(zip((group.name for group in groups), (TEAL, ORANGE), strict=True))
    wide, left, step = 96, 56, 46
    marks, y, at, after = [text(4, 16, f"block {block} of PreResNet-20", font_weight=600)], 44, {}, {}
    for group in groups:  # the gate stands before the layer that reads
        after[group.reads[0].module.removeprefix(f"{block}.")] = group
    for name in names:
        gated = after.get(name)
        if gated is not None:
            middle = left + wide / 2
            marks.append(f'<circle cx="{middle:g}" cy="{y + 12:g}" r="12" fill="{colour[gated.name]}"/>')
            marks.append(text(middle, y + 16.5, TIMES, colour="#fff", text_anchor="middle", font_weight=700))
            marks.append(text(middle + 20, y + 16.5, f"gate: {gated.size} scores", colour=colour[gated.name]))
            marks.append(line((middle, y + 24), (middle, y + step), arrow=True))
            y += step
        at[name] = y
        norm = name.startswith("bn")
        marks.append(box(left, y, wide, 26, f"{name}, ReLU" if norm else name, bold=not norm))
        if name != names[-1]:
            marks.append(line((left + wide / 2, y + 26), (left + wide / 2, y + step), arrow=True))
        y += step
    for name, told in beside(groups, block).items():
        above = 8.5 * (len(told) - 1)
        for i, (said, group) in enumerate(sorted(told)):
            marks.append(text(left + wide + 14, at[name] + 17.5 - above + 17 * i, said, colour=colour[group]))
    bottom = y + 2
    middle, stream = left + wide / 2, 20
    marks += [
        line((stream, 28), (stream, bottom - 12), arrow=True),
        line((stream, 36), (middle, 36), (middle, 44), arrow=True),
        line((middle, y - step + 26), (middle, bottom), (stream + 12, bottom), arrow=True),
        f'<circle cx="{stream}" cy="{bottom}" r="11" fill="none" stroke="currentColor"/>',
        text(stream, bottom + 5, "+", text_anchor="middle", size=16),
        line((stream, bottom + 11), (stream, bottom + 32), arrow=True),
        text(stream + 18, bottom + 28, "the stream: every block reads it, so it keeps its width"),
    ]
    return (
        marks,
        int(bottom + 42),
        "A residual block: two groups of channels, with a gate in front of the layer that reads them",
    )


def beside(groups: list[Any], block: str) -> dict[str, list[tuple[str, str]]]:
    """{layer of the block: [(which of its axes has the channels of a group, the group)]}."""
    found: dict[str, list[tuple[str, str]]] = {}
    for group in groups:
        own = group.name.removeprefix(f"{block}.")
        for part, axis in ((group.writes, "rows"), (group.reads, "columns")):
            for each in part:
                layer = each.module.removeprefix(f"{block}.")
                what = axis if layer.startswith("conv") else "weights and statistics"
                found.setdefault(layer, []).append((f"{what}: group {own}", group.name))
    return found


def exact() -> Drawing:
    """How far sliced networks lie from masked ones, a dot for every random plan."""
    found = json.loads((ROOT / "benchmarks/results/masked_sliced.json").read_text())
    low, high, left, right, row = -8, -4, 108, 414, 34

    def at(error: float) -> float:
        return left + (right - left) * (math.log10(error) - low) / (high - low)

    top, bottom = 44, 44 + row * len(found["rows"])
    marks = [text(4, 16, "largest difference over the largest output", font_weight=600)]
    for power in range(low, high + 1):
        x = at(10.0**power)
        marks.append(
            f'<line x1="{x:g}" x2="{x:g}" y1="{top - 8}" y2="{bottom}" stroke="currentColor" stroke-opacity=".2"/>'
        )
        marks.append(text(x, bottom + 18, f"1e{MINUS}{-power}", text_anchor="middle"))
    allowed = at(1e-5)
    marks.append(line((allowed, top - 14), (allowed, bottom), colour=ORANGE, dashed=True))
    marks.append(text(allowed - 6, top - 10, "allowed", colour=ORANGE, text_anchor="end"))
    for i, each in enumerate(found["rows"]):
        y = top + row * (i + 0.5)
        marks.append(text(left - 10, y + 4.5, each["network"], text_anchor="end"))
        for j, error in enumerate(each["errors"]):
            x, shift = at(max(error, 10.0**low)), 8 * ((j * 7) % 5 - 2) / 2
            marks.append(f'<circle cx="{x:.1f}" cy="{y + shift:.1f}" r="2.6" fill="{TEAL}" fill-opacity=".55"/>')
        middle = at(statistics.median(each["errors"]))
        marks.append(line((middle, y - 13), (middle, y + 13), colour=TEAL))
    plans = len(found["rows"][0]["errors"])
    where = f"{plans} random plans a network, float32, {found['date']}"
    return (
        [*marks, text(4, bottom + 42, where, size=12, opacity=0.75)],
        bottom + 52,
        "Sliced networks equal masked ones",
    )


def order_bias() -> Drawing:
    """Where the score of the noisy model settles in both orders, and what the first-order formula says."""
    rows = json.loads((ROOT / "benchmarks/results/order_bias.json").read_text())["rows"]
    left, right, top, bottom, low, high, most = 70, 412, 44, 244, 0.498, 0.516, 0.022

    def at(rate: float, alpha: float) -> tuple[float, float]:
        return left + (right - left) * rate / most, bottom - (bottom - top) * (alpha - low) / (high - low)

    marks = [text(4, 16, "mean score on mini-batches (1/2 on full ones)", font_weight=600)]
    for tick in (0.5, 0.505, 0.51, 0.515):
        y = at(0, tick)[1]
        marks.append(
            f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" stroke-opacity=".2"/>'
        )
        marks.append(text(left - 8, round(y + 4.5, 1), f"{tick:g}", text_anchor="end"))
    for order, colour, place in (("gauss-seidel", ORANGE, 62), ("fused", TEAL, 84)):
        own = [row for row in rows if row["order"] == order]
        steepest = max(own, key=lambda row: row["rate"])
        slope = (steepest["first order"] - 0.5) / steepest["rate"]
        ends = [at(0, 0.5), at(most, 0.5 + slope * most)]
        marks.append(line(*[(round(x, 1), round(y, 1)) for x, y in ends], colour=colour, dashed=True))
        for row in own:
            x, y = at(row["rate"], row["alpha"])
            reach = 2 * row["standard error"] * (bottom - top) / (high - low)
            marks.append(line((round(x, 1), round(y - reach, 1)), (round(x, 1), round(y + reach, 1)), colour=colour))
            marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{colour}"/>')
        marks.append(text(left + 14, place, order, colour=colour, font_weight=600))
    for rate in sorted({row["rate"] for row in rows}):
        marks.append(text(round(at(rate, low)[0], 1), bottom + 18, f"{rate:g}", text_anchor="middle"))
    marks.append(text(right, bottom + 38, "rate of all variables; dashed: to first order", size=12, text_anchor="end"))
    return marks, bottom + 48, "Gauss-Seidel's score lies above the equilibrium in proportion to the rate, fused on it"


def stages() -> Drawing:
    """The stages of a run and the files that each leaves, as the code declares them."""
    from compress.pipeline.deploying import DEPLOYING
    from compress.pipeline.stages import PRUNING, train_alone

    wide, right, y = 92, 128, 30
    marks = [text(8, 16, "stage", font_weight=600), text(right, 16, "leaves in the run's folder", font_weight=600)]
    for stage in (train_alone(started=False), *PRUNING, *DEPLOYING):
        own = stage.name == "train"
        if not own:
            marks.append(line((8 + wide / 2, y - 18), (8 + wide / 2, y), arrow=True))
        marks.append(box(8, y, wide, 28, stage.name, colour=VIOLET if own else "currentColor", bold=True))
        marks.append(text(right, y + 12, ", ".join(stage.writes), colour=VIOLET if own else TEAL))
        marks.append(text(right, y + 28, DOES[stage.name], size=12, opacity=0.8))
        y += 46
    return marks, y - 8, "The stages of a run, and the files that each leaves"


def back_edge() -> Drawing:
    """From the device to a latency table, and from there into the search and the selection."""
    from compress.measure import TableConfig
    from compress.pipeline.latency_budget import MOST_CORRECTIONS, TOLERANCE

    steps = {"checkpoint": 84, "search": 162, "select": 240, "slice, fine-tune": 318, "smaller network": 396}
    marks = [
        box(282, y, 150, 34, name, colour=TEAL if y == 396 else "currentColor", bold=True) for name, y in steps.items()
    ]
    marks += [line((357, y - 44), (357, y), arrow=True) for y in steps.values() if y > 84]
    marks += [
        box(30, y, 150, 34, name, colour=ORANGE, bold=True) for name, y in (("device", 10), ("latency table", 84))
    ]
    marks += [
        line((105, 44), (105, 84), colour=ORANGE, arrow=True),
        *lines(114, 61, f"times {TableConfig().designs} networks", "of random widths"),
        line((105, 118), (105, 179), (282, 179), colour=ORANGE, arrow=True),
        *lines(114, 172, "as a penalty, if you like"),
        line((105, 179), (105, 257), (282, 257), colour=ORANGE, arrow=True),
        *lines(114, 250, "as a budget"),
        line((282, 266), (14, 266), (14, 27), (30, 27), colour=VIOLET, arrow=True, dashed=True),
        *lines(
            26,
            284,
            "the choice is timed there at once;",
            f"where the table misses by over {TOLERANCE * 100:g} %",
            "it is corrected, and chosen again,",
            f"{MOST_CORRECTIONS} times at most",
            colour=VIOLET,
        ),
    ]
    return (
        marks,
        440,
        "The latency table: made once for each device, read by search and selection, corrected by the device",
    )


FIGURES: dict[str, Callable[[], Drawing]] = {
    "gates": gates,
    "exact": exact,
    "order_bias": order_bias,
    "stages": stages,
    "back_edge": back_edge,
}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in FIGURES:
        (FOLDER / f"{name}.svg").write_text(drawn(name, alone=True) + "\n")
