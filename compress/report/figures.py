"""What an evaluation found, in the terminal."""

from __future__ import annotations

from typing import Any

from .terminal_table import Line, TerminalTable

APS = {"bbox_mAP": "box AP", "bbox_mAP_50": "box AP50", "segm_mAP": "mask AP", "segm_mAP_50": "mask AP50"}


def print_figures(source: str, figures: dict[str, Any]) -> None:
    """Print one line on `source`, and for a detector the AP of every category that occurs.

    `figures` are in percent, with `backend`, `dataset`, `evaluated_on`, `n_images`, and `top1`, `top5`, `loss` or the
    AP and `per_category`.

    Example::

        print_figures("model.onnx", evaluate_model(model, data))
    """
    shown = [f"{name.replace('top', 'top-')} {figures[name]:.2f} %" for name in ("top1", "top5") if name in figures]
    shown += [f"loss {figures['loss']:.4f}"] if "loss" in figures else []
    shown += [f"{label} {figures[name]:.2f} %" for name, label in APS.items() if name in figures]
    images = f"{figures['n_images']} {figures['evaluated_on']} images of {figures['dataset']}"
    print(f"{source} ({figures['backend']}): {', '.join(shown)} on {images}")
    if "per_category" in figures:
        _print_categories(figures["per_category"])


def _print_categories(per_category: dict[str, dict[str, float | None]]) -> None:
    from rich.console import Console

    kinds, lines = ("bbox_mAP", "segm_mAP"), []
    for name, figures in per_category.items():
        found = [figures.get(kind) for kind in kinds]
        if any(value is not None for value in found):
            lines.append(Line(name, ["" if value is None else f"{value:.2f}" for value in found]))
    TerminalTable([APS[kind] for kind in kinds], lines, name="category").print(Console())
