"""Layers that an engine has fused: each belongs to the set of operators whose nodes it holds, its region.

A region is named by its operators, so that of one operator by that operator: engines that fuse nothing are a special
case.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from ..plan import UserError
from ..spaces import Operator

JOINT = " + "
"""Between operators in a region's name."""

MOST_OPERATORS = 6
"""In a region whose time is fitted: the two dozen networks of a table do not tell more of them apart."""


class Block(NamedTuple):
    """Operators whose time is fitted together: that of `regions`, the layers that hold them."""

    operators: tuple[Operator, ...]
    regions: tuple[str, ...]


def region(operators: Collection[str]) -> str:
    """The name of the region of `operators`, one or more.

    Example::

        region({"layer1.0.downsample.0", "layer1.0.conv3"})  # 'layer1.0.conv3 + layer1.0.downsample.0'
    """
    return JOINT.join(sorted(operators))


def members(name: str) -> list[str]:
    """The operators of a region.

    Example::

        members("layer1.0.conv3 + layer1.0.downsample.0")  # ['layer1.0.conv3', 'layer1.0.downsample.0']
    """
    return name.split(JOINT)


def check_regions(names: Iterable[str]) -> None:
    """UserError for the region of a network that holds more than MOST_OPERATORS.

    Example::

        check_regions(["layer1.0.conv1", "layer1.0.conv3 + layer1.0.downsample.0"])
    """
    for name in names:
        _check_few(members(name))


def _check_few(operators: Sequence[str]) -> None:
    if len(operators) > MOST_OPERATORS:
        raise UserError(
            f"latency table: the engine tells one time for {len(operators)} layers ({operators[0]}, {operators[1]}, "
            "...), so theirs cannot be told apart; make it of whole calls, with --way totals"
        )


def blocks(operators: Sequence[Operator], networks: Sequence[Collection[str]]) -> list[Block]:
    """The finest blocks of `operators` whose time every one of `networks` tells, each given by its regions.

    A region that some network has not, because layers are fused at some widths only, is put together with those that
    hold one of its operators, until all networks have one of them. Operators without a layer have a block of no
    regions. Raises UserError for a block of more than MOST_OPERATORS: the engine does not tell its layers apart.

    Example::

        blocks(space.operators((3, 32, 32)), [profile.operators for profile in profiles])
    """
    found = _joined(operators, networks, lambda regions: not all(regions & set(each) for each in networks))
    for block in found:
        _check_few([op.name for op in block.operators])
    return found


def components(operators: Sequence[Operator], networks: Sequence[Collection[str]]) -> list[Block]:
    """Blocks of `operators` of which no two share one.

    Example::

        components(space.operators((3, 32, 32)), [profile.operators for profile in profiles])
    """
    return _joined(operators, networks, bool)


def _joined(
    operators: Sequence[Operator], networks: Sequence[Collection[str]], joins: Callable[[set[str]], bool]
) -> list[Block]:
    """Regions of the same `operators`, with those that share one where `joins` says so of either side's regions."""
    place = {op.name: i for i, op in enumerate(operators)}
    apart: dict[frozenset[int], set[str]] = {}
    for name in sorted(set[str]().union(*networks)):
        if held := frozenset(place[each] for each in members(name) if each in place):
            apart.setdefault(held, set()).add(name)
    done: list[tuple[frozenset[int], set[str]]] = []
    waiting = list(apart.items())
    while waiting:
        held, names = waiting.pop()
        near = [each for each in (*waiting, *done) if held & each[0] and (joins(names) or joins(each[1]))]
        if near:
            waiting = [each for each in waiting if each not in near]
            done = [each for each in done if each not in near]
            waiting.append((held.union(*(each[0] for each in near)), names.union(*(each[1] for each in near))))
        else:
            done.append((held, names))
    alone = set(range(len(operators))).difference(*(held for held, _ in done))
    found = [*done, *((frozenset({i}), set[str]()) for i in alone)]
    return [
        Block(tuple(operators[i] for i in sorted(held)), tuple(sorted(names)))
        for held, names in sorted(found, key=lambda each: sorted(each[0]))
    ]
