"""What `knapsack` says where no widths keep the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .choices import Choices
from .elimination import Pair
from .multiple_choice import smallest

if TYPE_CHECKING:
    from .knapsack import Limit

SLACK = 1e-6
"""HiGHS keeps a limit to 1e-6 of it: it is told one that is smaller by as much."""


def refusal(
    classes: Sequence[Choices],
    pairs: Mapping[Pair, np.ndarray],
    fixed: np.ndarray,
    limits: Sequence[Limit],
    most: np.ndarray,
    lower: str,
) -> str:
    """The limit that no choice keeps, with the least that it could be; else that they cannot be kept together.

    `lower` are the settings that leave more choices when they are lower.
    """
    for j, limit in enumerate(limits):
        least, proven = smallest(classes, pairs, fixed, j)
        if len(limits) == 1 or least > fixed[j] + most[j]:
            reached = f"no widths {'' if proven else 'were found that '}take less than {_up(least):.6g}{limit.unit}"
            remedy = "raise it to that, or lower" if _up(least) < limit.whole else "lower"
            return (
                f"{limit.name}: out of reach; allowed are {limit.most:.6g}{limit.unit}, and with this floor and "
                f"rounding {reached}; {remedy} {lower}"
            )
    return (
        f"{named(limits)}: no widths found that keep them together, though each alone could be kept; raise one of them"
    )


def named(limits: Sequence[Limit]) -> str:
    """As messages name limits: "macs_ratio = 0.5 and latency_ratio = 0.6"."""
    return " and ".join(limit.name for limit in limits)


def _up(value: float) -> float:
    """Rounded up to four digits, and by more than SLACK, so that the value named can be chosen."""
    step = 10.0 ** (math.floor(math.log10(value)) - 3) if value > 0 else 1.0
    return math.ceil(value * (1 + 2 * SLACK) / step) * step
