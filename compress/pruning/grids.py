"""From coarse to fine: of many widths first every n-th, then those around the best of these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

FEWEST = 5
"""A group keeps at least so many widths to choose from."""
AROUND = 6
"""So many finer widths on either side of the one found."""
FINER = 4
"""Each grid's steps are so many times smaller than those of the grid before."""


def coarse(
    widths: Mapping[str, Sequence[int]], groups: Iterable[str], few: Callable[[Mapping[str, Sequence[int]]], bool]
) -> dict[str, int]:
    """{group: n}: of which groups only every n-th width is looked at first.

    Args:
        widths: {group: all of its widths}.
        groups: those that may be coarse.
        few: whether grids {group: widths} are small enough; the longest are halved until they are. All are left whole
            where even the shortest are not: then it is the groups that are too many, not their widths.
    """
    steps = dict.fromkeys(widths, 1)
    names = [name for name in groups if len(widths[name]) >= 2 * FEWEST]
    if not few({**widths, **{name: every(widths[name], len(widths[name]) // FEWEST) for name in names}}):
        return steps
    grids = {name: list(own) for name, own in widths.items()}
    while not few(grids):
        longest = max(len(grids[name]) for name in names)
        for name in names:
            if len(grids[name]) == longest:
                steps[name] *= 2
                grids[name] = every(widths[name], steps[name])
    return steps


def every(widths: Sequence[int], step: int) -> list[int]:
    """Each `step`-th width from the widest down, and the smallest: where that is 0, the first above it too."""
    return sorted({*widths[::-step], *widths[: 2 if widths[0] == 0 else 1]})


def around(widths: Sequence[int], width: int, step: int) -> list[int]:
    """`width`, each `step`-th one beside it, AROUND on either side, and the widest and the smallest."""
    at = list(widths).index(width)
    near = [at + step * n for n in range(-AROUND, AROUND + 1)]
    return sorted({*(widths[n] for n in near if 0 <= n < len(widths)), *every(widths, len(widths))})
