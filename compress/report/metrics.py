"""Reading `metrics.jsonl`: one row per epoch of training, search and fine-tuning."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ..plan.errors import UserError


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read the rows of `metrics.jsonl`, in the order in which their epochs first appeared.

    A run that was killed and resumed may have left a half-written last line, which is skipped, and an epoch written
    twice, of which the later row counts.

    Args:
        path: the file; its rows are described in docs/formats.md (losses as logged, `top1` in percent, `seconds`).

    Returns:
        One dictionary per (stage, epoch).

    Raises:
        UserError: the file is missing, or a line before the last is not a JSON object with `stage` and `epoch`.

    Example::

        rows = read_metrics("runs/digits/metrics.jsonl")
        losses = [row["loss"] for row in rows if row["stage"] == "finetune"]
        print(f"{len(losses)} epochs, last loss {losses[-1]:.3f}")
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the search and finetune stages write it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error}); restore it or run the stages again") from None
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise UserError(f"{path}: line {number} is not JSON ({error}); remove the line or run again") from None
        if not (isinstance(row, dict) and isinstance(row.get("stage"), str) and isinstance(row.get("epoch"), int)):
            raise UserError(f"{path}: line {number} must be an object with `stage` and `epoch`; remove it or run again")
        rows[row["stage"], row["epoch"]] = row
    return list(rows.values())


def series(rows: list[dict[str, Any]], *, stage: str, key: str) -> list[tuple[float, float]]:
    """Points (epoch, value) of one column of one stage; rows without a finite value are left out."""
    points = []
    for row in rows:
        value = row.get(key)
        if row["stage"] == stage and isinstance(value, int | float) and math.isfinite(value):
            points.append((float(row["epoch"]), float(value)))
    return sorted(points)
