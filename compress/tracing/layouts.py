"""Index maps as layouts: which channels of a group stand at which entries of an axis."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch

from ..spaces import Layout

Entries = Mapping[int, Sequence[int]]
"""Channel -> its entries along an axis, ascending."""


def runs(maps: Sequence[Entries], n_channels: int) -> list[range]:
    """Longest ranges of `n_channels` channels that each of `maps` has whole or not at all, in order.

    A group's channels live and die together everywhere, so a part of it that some tensor lacks is a group of its own,
    as where a concatenation is added to something.
    """
    partial = [each for each in maps if len(each) < n_channels]
    members = [[channel in each for each in partial] for channel in range(n_channels)]
    starts = [c for c in range(n_channels) if c == 0 or members[c] != members[c - 1]]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], n_channels], strict=True)]


def layouts_of(entries: Entries, channels: range) -> list[Layout] | None:
    """Layouts that together place `channels` (numbered anew from 0) at `entries`; None where there are none.

    Copies that are equally far apart are one layout, others one each.
    """
    first = list(entries[channels[0]])
    if any(len(entries[c]) != len(first) for c in channels):
        return None
    inner = _side_by_side(entries, channels)
    if len(first) % inner:
        return None
    starts = first[::inner]
    steps = {b - a for a, b in itertools.pairwise(starts)}
    if len(steps) == 1:
        size, step = len(channels), steps.pop()
        stride = None if step == size * inner else step
        found = [Layout(offset=starts[0], copies=len(starts), stride=stride, inner=inner)]
    else:
        found = [Layout(offset=start, inner=inner) for start in starts]
    return found if _agree(found, entries, channels) else None


def _side_by_side(entries: Entries, channels: range) -> int:
    """How many entries each channel has in a row."""
    first = entries[channels[0]]
    if len(channels) > 1:
        return max(entries[channels[1]][0] - first[0], 1)
    return next((i for i, (a, b) in enumerate(itertools.pairwise(first), 1) if b != a + 1), len(first))


def _agree(layouts: Sequence[Layout], entries: Entries, channels: range) -> bool:
    """Whether `layouts` place each of `channels` at its entries."""
    size = len(channels)
    placed = torch.cat([each.positions(range(size), size).view(-1, size, each.inner) for each in layouts])
    wanted = torch.tensor([list(entries[c]) for c in channels])
    return bool((placed.transpose(0, 1).flatten(1).sort(1).values == wanted).all())
