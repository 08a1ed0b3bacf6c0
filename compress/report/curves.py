"""Training curves: search losses, scores and zeros, fine-tuning losses, top-1 along the way."""

from __future__ import annotations

from typing import Any

from . import svg
from .markup import panel
from .metrics import series

STAGES = {"train": "Training", "search": "Search", "finetune": "Fine-tuning"}
LOSSES = {
    "train": (("loss", "loss"),),
    "search": (("loss_p", "primary half, L_p"), ("loss_a", "auxiliary half, L_a")),
    "finetune": (("loss", "total"), ("loss_ce", "cross-entropy"), ("loss_kd", "distillation")),
}
COLOURS = ("c1", "c2", "c3")


def figures(rows: list[dict[str, Any]], *, top1_before: float | None) -> list[str]:
    """One HTML figure per panel that has points; `top1_before` (percent) is drawn as a reference line."""
    panels = []
    for stage, title in STAGES.items():
        panels.append(_losses(rows, stage=stage, title=f"{title}: loss"))
        if stage == "search":
            panels.append(_panel(rows, stage=stage, key="mean_abs_score", title="Search: mean |score|", zero=True))
            if any(value for _, value in series(rows, stage=stage, key="zeros")):
                title_zeros = "Search: scores at exactly zero"
                panels.append(_panel(rows, stage=stage, key="zeros", title=title_zeros, zero=True))
        reference = None if stage == "train" else top1_before
        panels.append(_panel(rows, stage=stage, key="top1", title=f"{title}: top-1 accuracy, %", reference=reference))
    return [panel for panel in panels if panel]


def _losses(rows: list[dict[str, Any]], *, stage: str, title: str) -> str:
    curves = []
    for colour, (key, name) in zip(COLOURS, LOSSES[stage], strict=False):
        points = series(rows, stage=stage, key=key)
        if points:
            curves.append(svg.Curve(points, colour, name))
    if not curves:
        points = series(rows, stage=stage, key="loss")
        curves = [svg.Curve(points, "c1", "loss")] if points else []
    return _figure(curves, title=title)


def _panel(
    rows: list[dict[str, Any]], *, stage: str, key: str, title: str, zero: bool = False, reference: float | None = None
) -> str:
    points = series(rows, stage=stage, key=key)
    curves = [svg.Curve(points, "c1", "")] if points else []
    return _figure(curves, title=title, zero=zero, reference=reference)


def _figure(curves: list[svg.Curve], *, title: str, zero: bool = False, reference: float | None = None) -> str:
    if not curves:
        return ""
    values = [b for curve in curves for _, b in curve.points]
    values += [reference] if reference is not None else []
    last = max(int(a) for curve in curves for a, _ in curve.points)
    y = svg.nice_axis(0.0 if zero else min(values), max(values))
    ends = ", ".join(f"{curve.name or 'value'} {curve.points[-1][1]:.4g}" for curve in curves)
    label = f"{title}, over {last} epochs; at the end: {ends}"
    chart = svg.line_chart(curves, x=svg.epoch_axis(last), y=y, label=label, reference=reference)
    keys = [(curve.colour, curve.name) for curve in curves if curve.name]
    if reference is not None:
        keys.append(("dashed", f"before pruning, {reference:.2f} %"))
    return panel(title, chart, keys=keys if len(keys) > 1 or reference is not None else ())
