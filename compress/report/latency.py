"""The part of the page on latency: the timings, every layer's, how a latency table was corrected, the plan on it."""

from __future__ import annotations

from typing import Any

from ..plan.budget_kinds import BUDGETS
from . import plots, svg, wording
from .layers import where_time_went
from .markup import absent, legend, note, panel, section
from .run_contents import RunContents
from .stairs import PROPORTIONAL, chosen_panels

PATH_HEIGHT = 200


def latency(run: RunContents) -> str:
    """The latency distribution, before and after, and what a latency table had to do with it."""
    timed = absent("latency.json", run)
    if run.latency is not None:
        timing = run.latency
        text = f"Dot: median. Whisker: 10th to 90th percentile. Batch {timing['batch']}, "
        text += f"{timing['threads']} thread{'' if timing['threads'] == 1 else 's'}, {timing['device']}"
        text += f"{wording.on_gpus(timing)}."
        timed = plots.latency_plot(timing["backends"]) + note(text)
    layers = where_time_went(run)
    return section("Latency", timed + layers + _selecting(run.summary) + _stairs(run.plan or {}))


def _selecting(summary: dict[str, Any]) -> str:
    """How the latency table was corrected while channels were selected; nothing without a latency budget."""
    prediction = summary.get("prediction") or {}
    path = prediction.get("path")
    if not path:
        return ""
    steps = [
        (f"corrected by {step['correction']:.3f}, " if i else "")
        + f"predicted {step['predicted']:.3f}, measured {step['measured']:.3f}"
        for i, step in enumerate(path)
    ]
    kept = next(i for i, step in enumerate(path) if step["correction"] == prediction["correction"])
    text = "While channels were selected, over the unpruned network's latency: " + "; then ".join(steps)
    if kept < len(path) - 1:
        text += f"; kept: the selection that measured {path[kept]['measured']:.3f}"
    text += ". Networks of these widths were timed with random weights, in turn with the unpruned one."
    chart = _path(path, kept=kept, limit=_limit(summary))
    return f'<div class="panels one">{chart}</div>{note(text)}'


def _path(path: list[dict[str, float]], *, kept: int, limit: float | None) -> str:
    """Predicted and measured latency ratio of every selection, over the number of corrections before it."""
    values = [step[key] for step in path for key in ("predicted", "measured")] + ([limit] if limit else [])
    x = svg.Axis(-0.5, len(path) - 0.5, tuple(float(i) for i in range(len(path))))
    box: dict[str, Any] = {"x": x, "y": svg.nice_axis(min(values), max(values)), "height": PATH_HEIGHT}
    curves = [
        svg.Curve([(i, step[key]) for i, step in enumerate(path)], colour, key)
        for key, colour in (("predicted", "c1"), ("measured", "c2"))
    ]
    keys = [(curve.colour, curve.name) for curve in curves]
    marks = svg.lines(curves, **box)
    if limit:
        marks = svg.across(limit, y=box["y"], height=PATH_HEIGHT) + marks
        keys.append(("dashed", f"budget, {limit:.3f}"))
    marks += "".join(
        svg.dot(a, b, **box, colour=curve.colour, radius=4, tip=f"{curve.name} {b:.3f}")
        for curve in curves
        for a, b in curve.points
    )
    marks += svg.dot(kept, path[kept]["measured"], **box, colour="ring", radius=8, tip="kept")
    keys.append(("ring", "kept"))
    label = (
        f"{len(path)} selections; kept: predicted {path[kept]['predicted']:.3f}, measured {path[kept]['measured']:.3f}"
    )
    x_name, y_name = "corrections of the table's prediction", "latency / unpruned latency"
    chart = svg.framed(marks, **box, label=label, x_name=x_name, y_name=y_name)
    return panel("Predicted and measured latency", chart, keys=keys)


def _limit(summary: dict[str, Any]) -> float | None:
    """The latency budget as a ratio."""
    budget = summary.get("budget") or {}
    for limit in (budget, *budget.get("also", ())):
        kind = BUDGETS.get(limit.get("kind"))
        if kind is not None and kind.cost == "latency":
            return float(limit["value"] if kind.ratio else limit["value"] / summary["predicted_latency_ms"]["before"])
    return None


def _stairs(plan: dict[str, Any]) -> str:
    """Where the chosen widths lie on the stairs of the latency table; nothing in a run without one."""
    stairs = plan.get("stairs")
    if not stairs:
        return ""
    backend, device = wording.backend(str(stairs["backend"])), stairs["device"]
    text = "Time of the layers that make or read a group's channels, over its width, with all other groups as wide as "
    text += f"chosen, by the latency table of {backend} on {device}; before any correction. Dots are the table's "
    text += "widths. A layer between two groups is in the plots of both."
    if stairs["others"]:
        text += f" Shown are the groups with the most of the unpruned network's time; {stairs['others']} more are not."
    keys = legend([("c1", "latency by the table"), PROPORTIONAL, ("c2", "chosen width")])
    panels = f'<div class="panels small">{chosen_panels(stairs)}</div>'
    return f"<h3>Chosen widths on the latency table's stairs</h3>{note(text)}{keys}{panels}"
