"""Which networks are profiled for a latency table: widths that cover the range of every group evenly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..spaces import Group

TOGETHER = 0.5
"""Correlation of two groups' widths: networks are narrow or wide as a whole, as pruned networks are."""


def allowed_widths(groups: Iterable[Group], multiple: int) -> dict[str, list[int]]:
    """{group: ascending widths}: the multiples of `multiple`, and the full width.

    Example::

        allowed_widths(space.groups, 16)["blocks.1.0"]  # [16, 32, 48, 64, 80, 96]
    """
    return {group.name: [*range(multiple, group.size, multiple), group.size] for group in groups}


def sample_designs(allowed: Mapping[str, Sequence[int]], n: int, *, seed: int) -> list[dict[str, int]]:
    """`n` sets of widths out of `allowed`, {group: ascending widths}; the same for the same seed.

    A Latin hypercube: each group's allowed widths are cut into `n` even parts, and every part is drawn from once, the
    smallest width too. Which part goes with which of another group's is random, but correlated.

    Example::

        designs = sample_designs(allowed_widths(space.groups, 8), 20, seed=0)
    """
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(n)
    designs: list[dict[str, int]] = [{} for _ in range(n)]
    for group, widths in allowed.items():
        mixed = TOGETHER**0.5 * common + (1 - TOGETHER) ** 0.5 * rng.standard_normal(n)
        parts = (np.argsort(np.argsort(mixed)) + rng.random(n)) / n
        parts[parts.argmin()] = 0
        for design, part in zip(designs, parts, strict=True):
            design[group] = widths[int(part * len(widths))]
    return designs
