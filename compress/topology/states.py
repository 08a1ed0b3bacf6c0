"""The groups of networks made of cells: which states share their channels, and where these stand.

A state is what a node holds, or what a stem or a preprocessing makes. An edge that is a skip connection or a pooling
hands channels on as they are, so both of its ends keep the same ones; everything else writes new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..plan.genotype import Node
from ..spaces import Group, Layout, Slice, columns, rows
from .network import edge_name

Part = Literal["whole", "lower", "upper"]
HALVES: tuple[Part, Part] = ("lower", "upper")
Source = Sequence[tuple[str, int]]
"""States and where each begins in a concatenation."""


@dataclass(frozen=True)
class Use:
    """An axis of `module` on which a state stands from `offset`, or half of it where it takes that half alone."""

    module: str
    axis: int
    offset: int = 0
    part: Part = "whole"

    def slice(self, start: int) -> Slice:
        """Its slice of the channels that begin at `start` of the state; a half has an axis of its own."""
        offset = self.offset + (start if self.part == "whole" else 0)
        return Slice(self.module, self.axis, Layout(offset=offset))


@dataclass(frozen=True)
class Ports:
    """Parts of an operation by what they do with channels: `columns` read and `rows` write them, `along` keeps them.

    `halves`: two parts that write half of the channels each.
    """

    along: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    halves: tuple[str, ...] = ()


RELU_CONV_BN = Ports(columns=("conv",), rows=("conv", "bn"))
FACTORIZED_REDUCE = Ports(columns=("conv1", "conv2"), rows=("bn",), halves=("conv1", "conv2"))
_SEPARABLE = Ports(along=("depthwise1",), columns=("pointwise1",), rows=("pointwise2", "bn2"))
_DILATED = Ports(along=("depthwise",), columns=("pointwise",), rows=("pointwise", "bn"))
PORTS = {
    "sep_conv_3x3": _SEPARABLE, "sep_conv_5x5": _SEPARABLE, "dil_conv_3x3": _DILATED, "dil_conv_5x5": _DILATED,
    "nor_conv_1x1": RELU_CONV_BN, "nor_conv_3x3": RELU_CONV_BN,
}  # fmt: skip
"""Operations that write channels of their own; a skip connection of stride 2 is a FactorizedReduce."""


class States:
    """States, which of them share their channels, and where these stand."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.uses: dict[str, list[Use]] = {}
        self.over: dict[str, str] = {}

    def add(self, *names: str, size: int) -> None:
        """States of `size` channels each."""
        for name in names:
            self.sizes[name], self.uses[name], self.over[name] = size, [], name

    def join(self, one: str, other: str) -> None:
        """`one` and `other` have the same channels; the earlier one names them."""
        first, last = sorted((self._root(one), self._root(other)), key=list(self.over).index)
        self.over[last] = first

    def make(self, module: str, ports: Ports, source: Source, target: str) -> None:
        """`module` reads the states of `source` and writes `target`."""
        for state, offset in source:
            self.uses[state] += [Use(f"{module}.{part}", 0, offset) for part in ports.along]
            self.uses[state] += [Use(f"{module}.{part}", 1, offset) for part in ports.columns]
        self.uses[target] += [Use(f"{module}.{part}", 0) for part in ports.rows]
        for half, part in zip(ports.halves, HALVES, strict=False):
            self.uses[target].append(Use(f"{module}.{half}", 0, part=part))

    def read(self, module: str, source: Source) -> None:
        """`module` reads the states of `source`."""
        for state, offset in source:
            self.uses[state].append(Use(module, 1, offset))

    def write(self, target: str, *modules: str) -> None:
        """`modules` make or normalise `target`."""
        self.uses[target] += [Use(module, 0) for module in modules]

    def cell(self, prefix: str, nodes: Sequence[Node], inputs: Sequence[str], size: int, *, halved: bool) -> list[str]:
        """The edges of a cell, those of the module `prefix`, between `inputs` and nodes of `size` channels: the nodes.

        `halved`: the cell is a reduction, whose edges from the inputs have stride 2.
        """
        states = list(inputs)
        for number, node in enumerate(nodes, start=len(inputs)):
            states.append(target := f"{prefix.removesuffix('.edges')}.node{number}")
            self.add(target, size=size)
            for operation, source in node:
                module, half = f"{prefix}.{edge_name(source, number)}", halved and source < len(inputs)
                self._edge(module, operation, states[source], target, halved=half)
            if all(operation == "none" for operation, _ in node):
                self.join(states[0], target)  # zeros as many as the first input has channels
        return states[len(inputs) :]

    def groups(self) -> tuple[Group, ...]:
        """One group for all states that share their channels, two where something writes the halves of one.

        States that nothing reads, which a genotype with `none` may have, are in no group.
        """
        members: dict[str, list[str]] = {}
        for name in self.sizes:
            members.setdefault(self._root(name), []).append(name)
        return tuple(group for name, states in members.items() for group in self._groups_of(name, states))

    def _edge(self, module: str, operation: str, source: str, target: str, *, halved: bool) -> None:
        if operation in PORTS:
            self.make(module, PORTS[operation], [(source, 0)], target)
        elif operation == "skip_connect" and halved:
            self.make(module, FACTORIZED_REDUCE, [(source, 0)], target)
        elif operation != "none":
            self.join(source, target)

    def _groups_of(self, name: str, states: Iterable[str]) -> list[Group]:
        uses = [use for state in states for use in self.uses[state]]
        if all(use.axis == 0 for use in uses):
            return []
        size, half = self.sizes[name], self.sizes[name] // 2
        if all(use.part == "whole" for use in uses):
            return [_group(name, size, [use.slice(0) for use in uses])]
        return [
            _group(f"{name}.{part}", n, [use.slice(start) for use in uses if use.part in ("whole", part)])
            for part, start, n in zip(HALVES, (0, half), (half, size - half), strict=True)
        ]

    def _root(self, name: str) -> str:
        while (above := self.over[name]) != name:
            name = above
        return name


def inner(module: str, size: int) -> Group:
    """The channels between the halves of the separable convolution `module`."""
    made = rows(f"{module}.pointwise1", f"{module}.bn1", f"{module}.depthwise2")
    return Group(f"{module}.inner", size, made, columns(f"{module}.pointwise2"))


def _group(name: str, size: int, slices: Sequence[Slice]) -> Group:
    written, read = (tuple(each for each in slices if each.axis == axis) for axis in (0, 1))
    return Group(name, size, written, read)
