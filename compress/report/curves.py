"""Training curves: search losses, scores and zeros, fine-tuning losses, top-1 or box AP along the way."""

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
PARTS = {"region proposals": ("loss_rpn_cls", "loss_rpn_bbox"), "classes": ("loss_cls",), "boxes": ("loss_bbox",)}
PARTS |= {"masks": ("loss_mask",)}
"""Parts of a detector's loss -> their names, before which the stages of a cascade are told apart: s0.loss_cls."""

COLOURS = ("c1", "c2", "c3", "c4", "c5")


def figures(rows: list[dict[str, Any]], *, top1_before: float | None) -> list[str]:
    """One HTML figure per panel that has points; `top1_before` (percent, on images set aside) is a reference line."""
    panels = []
    for stage, title in STAGES.items():
        panels.append(_losses(rows, stage=stage, title=f"{title}: loss"))
        if stage == "search":
            panels.append(panel_of(rows, stage=stage, key="mean_abs_score", title="Search: mean |score|", zero=True))
            if any(value for _, value in series(rows, stage=stage, key="zeros")):
                title_zeros = "Search: scores at exactly zero"
                panels.append(panel_of(rows, stage=stage, key="zeros", title=title_zeros, zero=True))
        reference = None if stage == "train" else top1_before
        panels.append(_top1(rows, stage=stage, title=title, reference=reference))
        panels.append(_average_precision(rows, stage=stage, title=f"{title}: box AP, %"))
    return [panel for panel in panels if panel]


def _losses(rows: list[dict[str, Any]], *, stage: str, title: str) -> str:
    curves = []
    for colour, (key, name) in zip(COLOURS, LOSSES[stage], strict=False):
        points = series(rows, stage=stage, key=key)
        if points:
            curves.append(svg.Curve(points, colour, name))
    if parts := _parts(rows, stage=stage):
        curves = _named({"total": series(rows, stage=stage, key="loss"), **parts})
    if not curves:
        points = series(rows, stage=stage, key="loss")
        curves = [svg.Curve(points, "c1", "loss")] if points else []
    return _figure(curves, title=title)


def _parts(rows: list[dict[str, Any]], *, stage: str) -> dict[str, list[tuple[float, float]]]:
    """Points of the parts of a detector's loss, each summed over the stages of a cascade; empty for classifiers."""
    found = {}
    for part, names in PARTS.items():
        sums = [
            {**row, part: sum(value or 0 for key, value in row.items() if key.rpartition(".")[2] in names)}
            for row in rows
            if any(key.rpartition(".")[2] in names for key in row)
        ]
        if points := series(sums, stage=stage, key=part):
            found[part] = points
    return found


def _average_precision(rows: list[dict[str, Any]], *, stage: str, title: str) -> str:
    named = {"bbox_mAP": "validation images", "train_bbox_mAP": "training images"}
    curves = _named({name: series(rows, stage=stage, key=key) for key, name in named.items()})
    return _figure(curves, title=title, zero=True)


def _top1(rows: list[dict[str, Any]], *, stage: str, title: str, reference: float | None) -> str:
    """Of images that the network is not trained on, where a run evaluated some, and of its training batches."""
    named = {"top1": "images not trained on", "train_top1": "training batches, augmented"}
    curves = _named({name: series(rows, stage=stage, key=key) for key, name in named.items()})
    what = "accuracy" if len(curves) != 1 or curves[0].name == named["top1"] else "of training batches"
    return _figure(curves, title=f"{title}: top-1 {what}, %", reference=reference)


def _named(found: dict[str, list[tuple[float, float]]]) -> list[svg.Curve]:
    """A curve for each name that has points, each name in a colour of its own."""
    return [svg.Curve(points, c, name) for c, (name, points) in zip(COLOURS, found.items(), strict=False) if points]


def panel_of(
    rows: list[dict[str, Any]], *, stage: str, key: str, title: str, zero: bool = False, reference: float | None = None
) -> str:
    """One column of one stage as a panel; nothing where it has no points."""
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
