"""Grouped convolutions and norms: what they read and what they write is pruned by whole groups of theirs.

A convolution of g groups of a inputs and b outputs each loses a group together with its a inputs and b outputs, which
is what a depthwise convolution does with a = 1. Convolutions that follow each other share their groups. A GroupNorm's
groups are normalised each for itself, so they too go whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd, lcm

from torch import nn

from ..spaces import Group, Layout, Slice
from .graph import OUTPUT, Candidate


def joined(network: nn.Module, candidates: Sequence[Candidate]) -> list[Candidate]:
    """`candidates` with those on both sides of a grouped convolution made one, in units of its groups and of norms'."""
    found = list(candidates)
    for name, module in network.named_modules():
        if isinstance(module, nn.GroupNorm):
            _in_norm_groups(name, module, found)
        if (
            not isinstance(module, nn.modules.conv._ConvNd)
            or module.groups == 1
            or module.groups == module.out_channels
        ):
            continue
        before = [each for each in found if any(p.module == name and p.axis == 1 for p in each.group.reads)]
        after = [each for each in found if any(p.module == name and p.axis == 0 for p in each.group.writes)]
        involved = list({id(each): each for each in (*before, *after)}.values())
        made = _joined(name, module, before, after)
        if isinstance(made, str):
            for each in involved:
                each.reason = each.reason or made
            continue
        at = min(found.index(each) for each in involved)
        found = [each for each in found if all(each is not other for other in involved)]
        found.insert(at, made)
    return found


def _in_norm_groups(name: str, norm: nn.GroupNorm, candidates: Sequence[Candidate]) -> None:
    """Make the units of those of `candidates` that `norm` takes whole groups of it, or say why they stay."""
    each_has = norm.num_channels // norm.num_groups
    for each in candidates:
        layouts = [piece.layout for piece in each.group.writes if piece.module == name]
        width = max((lcm(each_has, layout.inner) // layout.inner for layout in layouts), default=1)
        starts = [start for layout in layouts for start in layout.starts(each.group.size)]
        whole = all(start % each_has == 0 for start in starts)
        if not whole or each.group.size % width or any(layout.inner * width % each_has for layout in layouts):
            each.reason = each.reason or f"{name}, a GroupNorm, normalises {each_has} channels together"
        elif width > 1:
            each.group = _in_units(each.group, width)


def _joined(
    name: str, module: nn.modules.conv._ConvNd, before: list[Candidate], after: list[Candidate]
) -> Candidate | str:
    n = module.groups
    if len(before) != 1 or len(after) != 1:
        return f"{name}, a convolution of {n} groups, has no one group on either side"
    parts = before if before[0] is after[0] else [before[0], after[0]]
    for group, axis, length in ((before[0].group, 1, module.in_channels), (after[0].group, 0, module.out_channels)):
        pieces = [piece for piece in group.slices if piece.module == name and piece.axis == axis]
        if [piece.layout for piece in pieces] != [Layout(inner=length // group.size)] or length % group.size:
            return f"{name}, a convolution of {n} groups, reads or writes only a part of it"
    size = gcd(n, *(each.group.size for each in parts))
    units = [_in_units(each.group, each.group.size // size) for each in parts]
    writes = tuple(dict.fromkeys(piece for group in units for piece in group.writes))
    reads = tuple(
        dict.fromkeys(
            piece for group in units for piece in group.reads if not (piece.module == name and piece.axis == 1)
        )
    )
    reason = next((each.reason for each in parts if each.reason not in (None, OUTPUT)), None if reads else OUTPUT)
    kind = units[-1].kind
    return Candidate(Group(units[0].name, size, writes, reads, kind=kind), any(each.adds for each in parts), reason)


def _in_units(group: Group, width: int) -> Group:
    """`group` with `width` neighbouring channels as one."""

    def wide(piece: Slice) -> Slice:
        return replace(piece, layout=replace(piece.layout, inner=piece.layout.inner * width))

    return replace(
        group,
        size=group.size // width,
        writes=tuple(wide(piece) for piece in group.writes),
        reads=tuple(wide(piece) for piece in group.reads),
    )
