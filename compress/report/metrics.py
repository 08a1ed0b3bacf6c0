"""Reading `metrics.jsonl`: one row per epoch of training, search and fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..plan.run_files import METRICS_REMEDY, MetricsLine
from ..plan.stored import read_lines


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read the rows of `metrics.jsonl`, in the order in which their epochs first appeared.

    A run that was killed and resumed may have left a half-written last line, which is skipped, and an epoch written
    twice, of which the later row counts.

    Args:
        path: the file; its rows are described in docs/formats.md (losses as logged, `train_top1` and `top1` in percent,
            `seconds`).

    Returns:
        One dictionary per (stage, epoch).

    Raises:
        UserError: the file is missing, or a line before the last is not a JSON object with `stage`, `epoch` and
            finite numbers.

    Example::

        rows = read_metrics("runs/digits/metrics.jsonl")
        losses = [row["loss"] for row in rows if row["stage"] == "finetune"]
        print(f"{len(losses)} epochs, last loss {losses[-1]:.3f}")
    """
    rows = read_lines(path, MetricsLine, remedy=METRICS_REMEDY)
    return list({(row["stage"], row["epoch"]): row for row in rows}.values())


def series(rows: list[dict[str, Any]], *, stage: str, key: str) -> list[tuple[float, float]]:
    """Points (epoch, value) of one column of one stage; rows without a number there are left out."""
    points = []
    for row in rows:
        value = row.get(key)
        if row["stage"] == stage and isinstance(value, int | float):
            points.append((float(row["epoch"]), float(value)))
    return sorted(points)
