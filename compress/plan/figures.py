"""Figures that go into a file are finite: the check before they are written."""

from __future__ import annotations

import math
from typing import Any

from .errors import UserError


def odd_figure(value: Any, name: str = "") -> str | None:
    """'NAME = nan' for the first number of `value` (nested dicts and lists) that is not finite; None: all are.

    Example::

        odd_figure({"loss": 0.1, "top1": [1.0, float("inf")]})  # 'top1[1] = inf'
    """
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{name} = {value}"
    if isinstance(value, dict):
        inside = ((f"{name}.{key}" if name else str(key), item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        inside = ((f"{name}[{i}]", item) for i, item in enumerate(value))
    else:
        return None
    return next((odd for key, item in inside if (odd := odd_figure(item, key))), None)


def check_figures(source: str, figures: Any, *, remedy: str) -> None:
    """UserError, beginning with `source` and ending with `remedy`, unless all numbers of `figures` are finite.

    Example::

        check_figures("runs/demo", {"loss": 0.1}, remedy="train it again at a lower rate")
    """
    if odd := odd_figure(figures):
        raise UserError(f"{source}: {odd}; figures must be finite numbers; {remedy}")
