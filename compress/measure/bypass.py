"""Residual blocks taken out of an exported graph: of each its shortcut is left, and the constant that it adds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from ..spaces import Group, Rest, constant_of
from .owners import MARK, REST, owner_of

T = TypeVar("T")


@dataclass(frozen=True)
class Bypass:
    """The node `add` adds the block of `group` to its shortcut, which is input number `shortcut` of it.

    Without the block it adds the tensor `constant` of weights instead, or nothing.
    """

    group: str
    add: int
    shortcut: int
    constant: str | None


def bypasses_in(graph: Any, layers: Sequence[str | None], groups: Iterable[Group]) -> list[Bypass]:
    """Where the blocks of `groups` that may go end in `graph`, without its weights, whose nodes compute `layers`.

    It is the first sum of something that the block computes and something computed that it does not. RuntimeError where
    there is none.
    """
    return [_bypass(graph, layers, name, rest) for name, rest in _first(groups).items()]


def constants(model: nn.Module, groups: Iterable[Group]) -> dict[str, Any]:
    """{tensor: value} of what the blocks of `groups` that may go add without channels, as the sums need it."""
    state, found = model.state_dict(), {}
    for rest in _first(groups).values():
        if (name := _constant(rest)) is not None:
            value = constant_of(model, state, rest).cpu()
            maps = isinstance(model.get_submodule(rest.last[0]), nn.modules.batchnorm._BatchNorm)
            found[name] = (value.view(-1, 1, 1) if maps else value).numpy()
    return found


def constant_writers(groups: Iterable[Group]) -> list[tuple[str, str]]:
    """(tensor, layer): the layers that make what the constants are made of."""
    return [(name, rest.last[0]) for rest in _first(groups).values() if (name := _constant(rest)) is not None]


def take_out(graph: Any, bypasses: Sequence[Bypass]) -> None:
    """Put the shortcut of each block in place of its sum, in place; what nobody reads then is left to `keep_live`."""
    made = {name: node for node in graph.node for name in node.output}
    for each in sorted(bypasses, key=lambda each: each.add):
        node = graph.node[each.add]
        shortcut = node.input[each.shortcut]
        owner = owner_of(made[shortcut].name) if shortcut in made else None
        node.name = f"{owner or REST}{MARK}{each.add}"
        node.op_type = "Identity" if each.constant is None else "Add"
        del node.input[:]
        node.input.extend([shortcut] if each.constant is None else [shortcut, each.constant])


def keep_live(graph: Any, tensors: Mapping[str, T]) -> dict[str, T]:
    """Drop nodes of `graph` that change nothing or that nobody reads, in place; those of `tensors` that are read."""
    ends = {output.name for output in graph.output}
    same: dict[str, str] = {}
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "Identity" and node.output[0] not in ends:  # of `take_out`, or the exporter's
            same[node.output[0]] = node.input[0]
    read, kept = set(ends), []
    for node in reversed(graph.node):
        if not read.isdisjoint(node.output):
            kept.append(node)
            read.update(node.input)
    made = {name for node in kept for name in node.output}
    for field, values in (("node", kept[::-1]), ("value_info", [i for i in graph.value_info if i.name in made])):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
    return {name: value for name, value in tensors.items() if name in read}


def _first(groups: Iterable[Group]) -> dict[str, Rest]:
    """{group: what is left}, one group of each block."""
    found = {group.rest.block: (group.name, group.rest) for group in reversed([*groups]) if group.rest is not None}
    return dict(reversed(found.values()))


def _constant(rest: Rest) -> str | None:
    return None if rest.bias is None else f"{rest.block}.rest"


def _bypass(graph: Any, layers: Sequence[str | None], group: str, rest: Rest) -> Bypass:
    computed, inside = {value.name for value in graph.input}, set[str]()
    for index, (node, layer) in enumerate(zip(graph.node, layers, strict=True)):
        own = [name in inside for name in node.input]
        if node.op_type == "Add" and sum(own) == 1 and node.input[own.index(False)] in computed:
            return Bypass(group, index, own.index(False), _constant(rest))
        if any(own) or (layer is not None and rest.holds(layer)):
            inside.update(node.output)
        if not computed.isdisjoint(node.input):
            computed.update(node.output)
    raise RuntimeError(f"{rest.block}: no sum with a shortcut in the exported graph")
