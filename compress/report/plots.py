"""The plots of the pruning itself: kept channels per layer, scores, latency."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

from . import svg, wording
from .markup import panel

if TYPE_CHECKING:
    import numpy as np

MANY_GROUPS = 24
HISTOGRAM_HEIGHT = 220
SHARES_HEIGHT = 150
PANELS = {
    "attention": "Attention: dimensions of a head",
    "mlp": "MLP: hidden units",
    "stream": "Stream: features that {reader} reads",
}


def kept_bars(plan: dict[str, Any]) -> str:
    """One horizontal bar per scored group: the kept share, with kept and size as text; columns when there are many."""
    groups: dict[str, dict[str, Any]] = plan["groups"]
    label = min(max((len(name) for name in groups), default=1), 38)
    items = []
    for name, group in groups.items():
        kept, size = len(group["kept"]), int(group["size"])
        items.append(
            f'<li data-group="{escape(name)}" data-kept="{kept}" data-size="{size}" title="{escape(name)}">'
            f'<span class="name">{escape(name).replace(".", ".<wbr>")}</span>'
            f'<span class="track"><i style="width:{100 * kept / max(size, 1):.2f}%"></i></span>'
            f'<span class="of"><b>{kept}</b> of {size}</span></li>'
        )
    dense = " dense" if len(groups) > MANY_GROUPS else ""
    return f'<ul class="bars{dense}" style="--name:{label + 1}ch">{"".join(items)}</ul>'


def share_panels(plan: dict[str, Any]) -> str:
    """One panel of columns per kind of group that repeats in every block, as figure 4.2 of the thesis; needs `kinds`.

    Groups of a stream are told apart by the layer that reads them, the last part of their name.
    """
    panels: dict[str, dict[str, dict[str, Any]]] = {}
    for name, group in plan["groups"].items():
        kind = plan["kinds"].get(name)
        if kind in PANELS:
            panels.setdefault(PANELS[kind].format(reader=name.rpartition(".")[2]), {})[name] = group
    return "".join(_shares(title, groups) for title, groups in panels.items())


def _shares(title: str, groups: dict[str, dict[str, Any]]) -> str:
    """Kept share over the index of the block, from 1; a dashed line for all blocks together."""
    n = len(groups)
    step = math.ceil(n / 12)
    x = svg.Axis(0.5, n + 0.5, tuple(float(i) for i in range(1, n + 1, step)))
    y = svg.Axis(0.0, 100.0, (0.0, 25.0, 50.0, 75.0, 100.0))
    marks, before = [], None
    for i, (name, group) in enumerate(groups.items(), start=1):
        stage = _stage(name)
        if before not in (None, stage):
            at = f"{x.at(i - 0.5):.2f}%"
            marks.append(f'<line class="base" x1="{at}" x2="{at}" y1="0" y2="{SHARES_HEIGHT}"/>')
        before = stage
        marks.append(_column(i, name, group, x=x, counted=n <= 16))
    share = 100 * sum(len(group["kept"]) for group in groups.values()) / sum(group["size"] for group in groups.values())
    at = f"{SHARES_HEIGHT * (1 - share / 100):.2f}"
    marks.append(f'<line class="reference" x1="0" x2="100%" y1="{at}" y2="{at}"/>')
    label = f"{title}: share kept in each of {n} blocks; all together {share:.1f} %"
    chart = svg.framed("".join(marks), x=x, y=y, height=SHARES_HEIGHT, label=label)
    return panel(title, chart, keys=[("dashed", f"all blocks together, {share:.1f} %")])


def _stage(name: str) -> str:
    """What is left of a group's name in front of the block's index: layers.1.blocks of layers.1.blocks.0.attn."""
    parts = name.split(".")
    while parts and not parts.pop().isdigit():
        pass
    return ".".join(parts)


def _column(i: int, name: str, group: dict[str, Any], *, x: svg.Axis, counted: bool) -> str:
    """Column `i` of a plot of shares: the kept part of a full one, its count on top of the plot where there is room."""
    kept, size = len(group["kept"]), int(group["size"])
    share = kept / max(size, 1)
    box = f'x="{x.at(i - 0.36):.2f}%" width="{x.at(i + 0.36) - x.at(i - 0.36):.2f}%"'
    at = SHARES_HEIGHT * (1 - share)
    count = f'<text class="tick small" x="{x.at(i):.2f}%" y="-6" text-anchor="middle">{kept}</text>'
    return (
        f'<g class="column" data-share-of="{escape(name)}" data-share="{share:.4f}">'
        f"<title>{escape(name)}: {kept} of {size} kept, {100 * share:.1f} %</title>"
        f'<rect class="full" {box} y="0" height="{SHARES_HEIGHT}"/>'
        f'<rect class="kept" {box} y="{at:.2f}" height="{SHARES_HEIGHT * share:.2f}"/>{count if counted else ""}</g>'
    )


def score_histogram(scores: dict[str, np.ndarray], plan: dict[str, Any] | None) -> str:
    """Stacked histogram of |score|, pruned under kept; exact zeros get a bar of their own at the left.

    Without a plan every score has the same colour. The zeros' bar is cut, and says its count, where it would dwarf
    the rest.
    """
    import numpy as np

    kept, pruned = _split_scores(scores, plan)
    zeros = [int((part == 0).sum()) for part in (pruned, kept)]
    moving = np.concatenate([pruned, kept])
    moving = moving[moving > 0]
    x = svg.nice_axis(0.0, float(moving.max()) if moving.size else 1.0, count=6)
    edges = np.linspace(x.low, x.high, 1 + int(np.clip(moving.size // 8, 12, 60)))
    counts = [np.histogram(part[part > 0], bins=edges)[0] for part in (pruned, kept)]
    tallest = max(int((counts[0] + counts[1]).max()), 1)
    y = svg.nice_axis(0.0, float(max(tallest, min(sum(zeros), 1.25 * tallest))), whole=True)
    left = 9.0 if sum(zeros) else 0.0
    colours = ("pruned", "kept") if plan else ("c1", "c1")
    marks = []
    for low, high, first, second in zip(edges[:-1], edges[1:], *counts, strict=True):
        ends = [left + x.at(float(edge)) * (100 - left) / 100 for edge in (low, high)]
        marks.append(_stack((int(first), int(second)), y=y, ends=(ends[0], ends[1]), colours=colours))
    if sum(zeros):
        marks.append(_zeros_bar((zeros[0], zeros[1]), y=y, colours=colours))
        x = svg.Axis(x.low, x.high, x.ticks[1:])
    label = f"Histogram of |score|: {kept.size} kept, {pruned.size} pruned, {sum(zeros)} exactly zero"
    return svg.framed("".join(marks), x=x, y=y, height=HISTOGRAM_HEIGHT, label=label, x_zero=left)


def _split_scores(scores: dict[str, np.ndarray], plan: dict[str, Any] | None) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes of the kept and of the pruned scores; all count as kept without a plan."""
    import numpy as np

    kept, pruned = [np.zeros(0)], [np.zeros(0)]
    for name, values in scores.items():
        mask = np.ones(values.size, dtype=bool)
        if plan is not None:
            mask[:] = False
            mask[plan["groups"][name]["kept"]] = True
        magnitude = np.abs(values.astype(np.float64).ravel())
        kept.append(magnitude[mask & np.isfinite(magnitude)])
        pruned.append(magnitude[~mask & np.isfinite(magnitude)])
    return np.concatenate(kept), np.concatenate(pruned)


def _stack(counts: tuple[int, int], *, y: svg.Axis, ends: tuple[float, float], colours: tuple[str, str]) -> str:
    """Two rectangles on top of each other between two x percentages, cut at the top of the axis."""
    parts, base = [], 0.0
    for value, colour in zip(counts, colours, strict=True):
        top = min(base + value, y.high)
        if top > base:
            height = HISTOGRAM_HEIGHT * (top - base) / y.high
            at = HISTOGRAM_HEIGHT * (1 - top / y.high)
            parts.append(
                f'<rect class="{colour}" x="{ends[0] + 0.06:.3f}%" width="{ends[1] - ends[0] - 0.12:.3f}%" '
                f'y="{at:.2f}" height="{height:.2f}"/>'
            )
        base = top
    return "".join(parts)


def _zeros_bar(counts: tuple[int, int], *, y: svg.Axis, colours: tuple[str, str]) -> str:
    """The bar of the scores at exactly zero, left of the axis, with its count."""
    total = sum(counts)
    top = HISTOGRAM_HEIGHT * (1 - min(total, y.high) / y.high) - 6
    count = f"{total:,} (bar cut)" if total > y.high else f"{total:,}"
    return (
        _stack(counts, y=y, ends=(1.0, 5.0), colours=colours)
        + f'<text class="tick strong" x="3%" y="{top:.1f}" text-anchor="middle">{count}</text>'
        + f'<text class="tick" x="3%" y="{HISTOGRAM_HEIGHT + 18}" text-anchor="middle">exactly 0</text>'
    )


def latency_plot(latencies: dict[str, Any]) -> str:
    """Median as a dot on a p10..p90 whisker, before and after, one block per backend, all on one axis from zero."""
    largest = max(times[side]["p90"] for times in latencies.values() for side in ("before", "after"))
    x = svg.nice_axis(0.0, float(largest) if math.isfinite(largest) and largest > 0 else 1.0, count=5)
    rows = []
    for name, times in latencies.items():
        rows.append(f'<div class="backend">{escape(wording.backend(name))}</div>')
        for side, colour in (("before", "pruned"), ("after", "kept")):
            rows.append(_whisker(times[side], x=x, side=side, colour=colour))
    ticks = "".join(
        f'<text class="tick" x="{x.at(tick):.2f}%" y="14" text-anchor="middle">{x.label(tick)}</text>'
        for tick in x.ticks
    )
    axis = f'<span></span><svg width="100%" height="20" aria-hidden="true">{ticks}</svg><span class="unit">ms</span>'
    return f'<div class="latency">{"".join(rows)}{axis}</div>'


def _whisker(times: dict[str, Any], *, x: svg.Axis, side: str, colour: str) -> str:
    low, mid, high = (x.at(times[key]) for key in ("p10", "median", "p90"))
    grid = "".join(
        f'<line class="grid" x1="{x.at(tick):.2f}%" x2="{x.at(tick):.2f}%" y1="0" y2="28"/>' for tick in x.ticks
    )
    caps = "".join(
        f'<line class="whisker {colour}" x1="{at:.2f}%" x2="{at:.2f}%" y1="8" y2="20"/>' for at in (low, high)
    )
    spread = f"median {wording.milliseconds(times['median'])}, p10 {wording.digits(times['p10'])}, "
    spread += f"p90 {wording.digits(times['p90'])}, n {times['n']:d}"
    told = escape(f"{side}: {spread}")
    return (
        f'<span class="side">{side}</span>'
        f'<svg width="100%" height="28" role="img" aria-label="{told}"><title>{told}</title>{grid}'
        f'<rect class="{colour} faint" x="0" width="{mid:.2f}%" y="9" height="10"/>'
        f'<line class="whisker {colour}" x1="{low:.2f}%" x2="{high:.2f}%" y1="14" y2="14"/>{caps}'
        f'<circle class="{colour}" cx="{mid:.2f}%" cy="14" r="4.5"/></svg>'
        f'<span class="value">{wording.milliseconds(times["median"])}</span>'
    )
