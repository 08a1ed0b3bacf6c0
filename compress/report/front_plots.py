"""The plots of a front: accuracy against latency, MACs and parameters, one dot a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from ..plan.budget_kinds import BUDGETS
from ..plan.front_file import Cost
from . import front_words as words
from . import rows, svg, wording
from .markup import panel

HEIGHTS = {True: 320, False: 210}
"""Of the main plot and of those beside it, in pixels."""


def plots(front: dict[str, Any], rivals: Sequence[dict[str, Any]]) -> str:
    """The plot against what the points are compared by, and smaller ones against the other costs."""
    main = words.main_cost(front)
    others: list[Cost] = [cost for cost in ("macs", "params") if cost != main]
    small = "".join(_plot(front, rivals, cost, main=False) for cost in others)
    return f'{_plot(front, rivals, main, main=True)}<div class="panels beside">{small}</div>'


def _plot(front: dict[str, Any], rivals: Sequence[dict[str, Any]], cost: Cost, *, main: bool) -> str:
    """One plot; points that others beat in `cost` and accuracy are hollow, a line joins the rest."""
    of, x_name = _costs(front, cost)
    whole, points = front["unpruned"], front["points"]
    everything = [whole, *points, *rivals]
    levels = [words.accuracy(front, row) for row in everything]
    x = svg.nice_axis(min(map(of, everything)), max(map(of, everything)), count=5 if main else 3)
    y = svg.nice_axis(min(levels), max(levels))
    box: dict[str, Any] = {"x": x, "y": y, "height": HEIGHTS[main]}
    marks = _goal(front, y, HEIGHTS[main])
    first = sorted((of(row), words.accuracy(front, row)) for row in (whole, *points) if not _beaten(row, cost))
    marks += svg.lines([svg.Curve(first, "c1", "")], **box)
    for row in rivals:
        tip = f"{row['rival']} at {words.named(front, row['name'])}: {_figures(front, row, cost, of)}"
        marks += svg.dot(of(row), words.accuracy(front, row), **box, colour="c2", radius=4, tip=tip)
    best = words.picked(front)
    for row in (whole, *points):
        at = of(row), words.accuracy(front, row)
        marks += svg.dot(*at, **box, colour="ring", radius=8) if row is best else ""
        marks += _network(front, row, at, box, cost, of)
    name = f"{rows.ACCURACIES[front['metric']]}, %"
    label = f"{name} against {x_name}: the unpruned network and {len(points)} pruned ones"
    chart = svg.framed(marks, **box, label=label, x_name=x_name, y_name=name)
    titles = {"latency": "Measured latency", "macs": "MACs", "params": "Parameters"}
    return panel(titles[cost], chart, keys=_keys(front, rivals) if main else ())


def _costs(front: dict[str, Any], cost: Cost) -> tuple[Callable[[dict[str, Any]], float], str]:
    """Where a network stands on the x axis, and what that is."""
    if cost == "latency":
        backend = front["backend"]
        return lambda row: float(row["latency_ms"][backend]), f"ms in {wording.backend(backend)}"
    factor, unit = next(
        (found for found in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if front["unpruned"][cost] >= found[0]), (1.0, "")
    )
    return lambda row: row[cost] / factor, f"{ {'macs': 'MACs', 'params': 'parameters'}[cost] }{unit and f', {unit}'}"


def _beaten(row: dict[str, Any], cost: Cost) -> bool:
    return bool(row.get("beaten_by", {}).get(cost))


def _goal(front: dict[str, Any], y: svg.Axis, height: int) -> str:
    """The line of the accuracy to keep, where it lies in the plot."""
    goal = front["goal"]
    return svg.across(goal["least"], y=y, height=height) if goal and y.low <= goal["least"] <= y.high else ""


def _network(
    front: dict[str, Any],
    row: dict[str, Any],
    at: tuple[float, float],
    box: dict[str, Any],
    cost: Cost,
    of: Callable[[dict[str, Any]], float],
) -> str:
    """The dot of the unpruned network or of a point, which leads to its report, with the value it was asked for."""
    pruned = "name" in row
    name = words.asked(row) if pruned else "unpruned"
    told = f"{name}: {_figures(front, row, cost, of)}"
    beaten = _beaten(row, cost)
    dot = svg.dot(*at, **box, colour=("beaten" if beaten else "c1") if pruned else "whole", radius=5, tip=told)
    dot += svg.beside(*at, f"{row['budget']['value']:g}" if pruned else "unpruned", **box, below=beaten)
    return f'<a href="{escape(row["name"])}/report.html" tabindex="-1">{dot}</a>' if pruned else dot


def _figures(front: dict[str, Any], row: dict[str, Any], cost: Cost, of: Callable[[dict[str, Any]], float]) -> str:
    if cost == "latency":
        told = f"{wording.milliseconds(of(row))}, ratio {row['latency_ratio'][front['backend']]:.3f}"
    else:
        told = f"{wording.short_count(row[cost])} {'MACs' if cost == 'macs' else 'parameters'}"
    return f"{told}, {rows.SHORT[front['metric']]} {wording.percent(words.accuracy(front, row))}"


def _keys(front: dict[str, Any], rivals: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """The legend: what is in the plot, and nothing else."""
    cost = words.main_cost(front)
    kind = BUDGETS[front["points"][0]["budget"]["kind"]]
    keys = [("point", f"pruned, at the {kind.words} asked for{kind.unit and f', {kind.unit}'}")]
    if any(_beaten(point, cost) for point in front["points"]):
        keys.append(("hollow", "beaten by another network in cost and accuracy"))
    if words.picked(front) is not None:
        keys.append(("ring", "picked"))
    if front["goal"] is not None:
        keys.append(("dashed", f"{wording.percent(front['goal']['least'])} to keep"))
    for name in dict.fromkeys(row["rival"] for row in rivals):
        keys.append(("rival", name))
    return keys
