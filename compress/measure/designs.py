"""Which networks are profiled for a latency table: widths that cover the range of every group evenly."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..spaces import Group

TOGETHER = 0.5
"""Correlation of two groups' widths: networks are narrow or wide as a whole, as pruned networks are."""

GONE = 0.25
"""Share of the blocks that are removed where some are."""

DRAWN = 8
"""Networks of a draw, out of which `next_design` takes one after the other."""


def allowed_widths(groups: Iterable[Group], multiple: int) -> dict[str, list[int]]:
    """{group: ascending widths}: the multiples of `multiple`, and the full width.

    Example::

        allowed_widths(space.groups, 16)["layer3.0.conv1"]  # [16, 32, 48, 64]
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


def with_blocks_gone(
    designs: Sequence[Mapping[str, int]], blocks: Sequence[Sequence[str]], *, seed: int
) -> list[dict[str, int]]:
    """`designs`, every third without some of the residual `blocks`, named by their groups; the same for the same seed.

    Whole calls do not tell what a block takes at any width, such as its norms and its sum; networks without it do.

    Example::

        from compress.spaces import blocks_of, members_of

        designs = sample_designs(allowed_widths(space.groups, 8), 20, seed=0)
        with_blocks_gone(designs, members_of(blocks_of(space.groups)), seed=0)[2]  # {"layer1.1.conv1": 0, ...}
    """
    rng = np.random.default_rng([seed, len(blocks)])
    found = [dict(design) for design in designs]
    for design in found[2::3] if blocks else ():
        for i in rng.permutation(len(blocks))[: max(1, round(GONE * len(blocks)))]:
            design |= dict.fromkeys(blocks[i], 0)
    return found


def next_design(
    allowed: Mapping[str, Sequence[int]],
    measured: Sequence[Mapping[str, int]],
    errors: Mapping[str, np.ndarray],
    *,
    seed: int,
) -> dict[str, int]:
    """One set of widths more, {group: width}, for the groups that were predicted worst; the same for the same input.

    The groups that together make half of all errors get one of their widths that were measured least often: the one
    beside the largest error, in the middle of those that are all beside it. All others are drawn.

    Args:
        allowed: {group: ascending widths}.
        measured: the widths of the networks so far.
        errors: {group: absolute errors of its prediction in each of them}.
        seed: of what is drawn.

    Example::

        next_design(allowed, [p.widths for p in profiles], group_errors(operators, grids, profiles), seed=0)
    """
    turn, place = divmod(len(measured), DRAWN)
    design = sample_designs(allowed, DRAWN, seed=seed + 1 + turn)[place]
    means = {group: float(np.mean(errors[group])) for group in allowed}
    left = sum(means.values()) / 2
    for group in sorted(means, key=lambda name: (-means[name], name)):
        design[group] = _wanted(allowed[group], [widths[group] for widths in measured], errors[group])
        left -= means[group]
        if left <= 0:
            break
    return design


def _wanted(grid: Sequence[int], measured: Sequence[int], errors: np.ndarray) -> int:
    """The width of `grid` to measure next. Its last one, the full width, is measured beside every network."""
    at: dict[int, list[float]] = {grid.index(width): [] for width in (*measured, grid[-1])}
    for width, error in zip(measured, errors, strict=True):
        at[grid.index(width)].append(float(error))
    known = sorted(at)
    mean = [float(np.mean(at[i] or [0.0])) for i in known]

    def rank(i: int) -> tuple[int, float, int]:
        number = len(measured) if i == len(grid) - 1 else len(at.get(i, ()))
        above = bisect_left(known, i)
        beside = [above] if known[above] == i else [max(above - 1, 0), above]
        return -number, max(mean[k] for k in beside), min(abs(known[k] - i) for k in beside)

    return grid[max(range(len(grid)), key=rank)]
