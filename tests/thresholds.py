"""Thresholds that rounding cannot cross: they stand in the widest gap between the values that they divide."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def in_widest_gap(values: Iterable[float], *, low: float = 0.25, high: float = 0.75) -> float:
    """The middle of the widest gap between neighbouring `values` of ranks `low` to `high` (shares of their number).

    Example::

        in_widest_gap([0.1, 0.2, 0.6, 0.7])  # 0.4
    """
    ordered = np.sort(np.asarray(list(values), dtype=np.float64))
    first, last = int(low * (len(ordered) - 1)), int(np.ceil(high * (len(ordered) - 1)))
    middle = ordered[first : last + 1]
    gaps = np.diff(middle)
    assert len(gaps), "a threshold needs two values to stand between"
    widest = int(gaps.argmax())
    assert gaps[widest] > 0, "all of these values are equal"
    return float(middle[widest] + gaps[widest] / 2)
