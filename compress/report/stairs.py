"""Plots of a latency table's stairs: what a group of channels costs at each of its widths, and where a plan lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import svg, wording
from .markup import panel

HEIGHT = 120
MANY = 40
"""Where there are more widths, their dots would run into each other and are drawn smaller."""

CHANNELS = "channels"
PROPORTIONAL = ("dashed", "if time fell with the width alone")


def chosen_panels(stairs: Mapping[str, Any]) -> str:
    """A plot of each group of `costs.stairs.chosen_stairs`, with the plan's width marked."""
    return "".join(
        _panel(name, group["widths"], group["shares"], stairs["unpruned_ms"], chosen=(group["width"], group["share"]))
        for name, group in stairs["groups"].items()
    )


def table_panels(stairs: Mapping[str, Any], unpruned_ms: float) -> str:
    """A plot of each of the groups of `costs.stairs.table_stairs`, then one of all others together."""
    panels = [_panel(name, group["widths"], group["shares"], unpruned_ms) for name, group in stairs["groups"].items()]
    if others := stairs["together"]:
        percents = [100 * part for part in others["kept"]]
        unit = "% of each group's channels kept"
        title = f"The other {others['number']} groups together"
        panels.append(_panel(title, percents, others["shares"], unpruned_ms, unit=unit))
    return "".join(panels)


def _panel(
    title: str,
    widths: Sequence[float],
    shares: Sequence[float],
    unpruned_ms: float,
    *,
    unit: str = CHANNELS,
    chosen: tuple[int, float | None] | None = None,
) -> str:
    """Share of the unpruned network's latency in percent over the width; dots are `widths`."""
    full = widths[-1]
    x = svg.nice_axis(0.0, float(full), whole=True)
    y = svg.nice_axis(0.0, 100 * max([*shares, (chosen and chosen[1]) or 0.0]), count=3)
    box: dict[str, Any] = {"x": x, "y": y, "height": HEIGHT}

    def tip(width: float, share: float) -> str:
        return f"{width:g} {unit}: {100 * share:.2f} %, {wording.milliseconds(share * unpruned_ms)}"

    points = [(width, 100 * share) for width, share in zip(widths, shares, strict=True)]
    curves = [svg.Curve([(0, 0), points[-1]], "reference", ""), svg.Curve(points, "c1", "")]
    marks = svg.lines(curves, **box)
    marks += "".join(
        svg.dot(a, b, **box, colour="c1", radius=2 if len(points) <= MANY else 1, tip=tip(a, b / 100))
        for a, b in points
    )
    head, label = f"{title}, {full:g} wide" if unit == CHANNELS else title, f"{title}: {tip(full, shares[-1])}"
    if chosen:
        width, share = chosen
        at = f"{x.at(width):.2f}%"
        marks += f'<line class="chosen" x1="{at}" x2="{at}" y1="0" y2="{HEIGHT}"/>'
        head = f"{title}: {width} of {full:g}"
        if share is not None:
            marks += svg.dot(width, 100 * share, **box, colour="c2", radius=4.5, tip=tip(width, share))
            label += f"; chosen: {tip(width, share)}"
    chart = svg.framed(marks, **box, label=label, x_name=unit, y_name="% of the unpruned latency")
    return panel(head, chart)
