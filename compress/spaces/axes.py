"""Axes that groups share: whose channels stand where, what scores make of them, and where they stand when sliced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from .groups import Group, Slice


class ByGroup(Protocol):
    """Scores of groups by their names."""

    def __getitem__(self, name: str, /) -> Tensor:
        """The scores of group `name`, [C]."""


@dataclass(frozen=True)
class Segment:
    """A part of an axis, from `start`: `count` times all channels of `group`, each `inner` entries long."""

    start: int
    group: str
    size: int
    inner: int = 1
    count: int = 1

    @property
    def end(self) -> int:
        """Where the next one may begin."""
        return self.start + self.count * self.size * self.inner


def segments(parts: Iterable[tuple[Group, Slice]]) -> list[Segment]:
    """The parts of one axis in order, equal neighbours as one; ValueError where two groups claim the same entry."""
    singles = sorted(
        (
            Segment(start, group.name, group.size, piece.layout.inner)
            for group, piece in parts
            for start in piece.layout.starts(group.size)
        ),
        key=lambda each: each.start,
    )
    runs: list[Segment] = []
    for each in singles:
        last = runs[-1] if runs else None
        if last is not None and each.start < last.end:
            raise ValueError(f"groups {last.group!r} and {each.group!r} both have entry {each.start} of an axis")
        if last is not None and each == replace(last, start=last.end, count=1):
            runs[-1] = replace(last, count=last.count + 1)
        else:
            runs.append(each)
    return runs


def scored_axes(groups: Iterable[Group]) -> dict[tuple[str, int], list[Segment]]:
    """{(module, axis): parts of it} of all axes that scores multiply."""
    axes: dict[tuple[str, int], list[tuple[Group, Slice]]] = {}
    for group in groups:
        for piece in group.scored:
            axes.setdefault((piece.module, piece.axis), []).append((group, piece))
    return {axis: segments(parts) for axis, parts in axes.items()}


def spread(parts: Iterable[Segment], n: int | None, scores: ByGroup) -> Tensor:
    """The scores along an axis of `n` entries (None: that ends with the last part), [n]; 1 where nothing is scored."""
    pieces: list[Tensor] = []
    at = 0
    for part in parts:
        score = scores[part.group]
        if part.start > at:
            pieces.append(score.new_ones(part.start - at))
        if part.inner > 1:
            score = score.unsqueeze(1).expand(-1, part.inner).flatten()
        pieces.append(score.repeat(part.count) if part.count > 1 else score)
        at = part.end
    if n is not None and n > at:
        pieces.append(pieces[-1].new_ones(n - at))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def resized(groups: Iterable[Group], widths: Mapping[str, int]) -> tuple[Group, ...]:
    """`groups` in the network sliced to `widths`: their sizes, and where their channels stand then.

    What stands behind a narrower group moves forward. Groups that `widths` does not name keep their size.
    """
    groups = tuple(groups)
    new = {group.name: widths.get(group.name, group.size) for group in groups}
    if all(group.size == new[group.name] for group in groups):
        return groups
    gone: dict[tuple[str, str | None, int], list[tuple[int, int]]] = {}
    for group in groups:
        if (width := new[group.name]) != group.size:
            for piece in group.slices:
                inner = piece.layout.inner
                gone.setdefault((piece.module, piece.parameter, piece.axis), []).extend(
                    (start + width * inner, start + group.size * inner) for start in piece.layout.starts(group.size)
                )

    def moved(piece: Slice) -> Slice:
        lost = gone.get((piece.module, piece.parameter, piece.axis), [])

        def place(entry: int) -> int:
            return entry - sum(min(max(entry - low, 0), high - low) for low, high in lost)

        layout = piece.layout
        offset, stride = place(layout.offset), layout.stride
        if stride is not None:
            stride = place(layout.offset + stride) - offset
        return piece if not lost else replace(piece, layout=replace(layout, offset=offset, stride=stride))

    return tuple(
        replace(
            group,
            size=new[group.name],
            writes=tuple(moved(piece) for piece in group.writes),
            reads=tuple(moved(piece) for piece in group.reads),
        )
        for group in groups
    )
