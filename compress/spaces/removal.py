"""Residual blocks that may go whole: which groups they hold, what goes with them, and what is left of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from ..plan import UserError
from .groups import Group, Rest, rows
from .operators import Operator, Present


def blocks_of(groups: Iterable[Group]) -> dict[str, str]:
    """{group: the residual block that goes when nothing of it, and of all others of the block, is kept}.

    Example::

        blocks_of(space.groups)  # {"layer1.1.conv1": "layer1.1", "layer1.1.conv2": "layer1.1", ...}
    """
    return {group.name: group.rest.block for group in groups if group.rest is not None}


def members_of(blocks: Mapping[str, str]) -> list[list[str]]:
    """The groups of each block out of {group: block}."""
    found: dict[str, list[str]] = {}
    for name, block in blocks.items():
        found.setdefault(block, []).append(name)
    return list(found.values())


def removed(groups: Iterable[Group], widths: Mapping[str, int]) -> list[Rest]:
    """What is left of each block out of `groups` that has a group of width 0 in `widths` {group: channels}."""
    rests = (group.rest for group in groups if widths.get(group.name, group.size) == 0)
    return list({rest.block: rest for rest in rests if rest is not None}.values())


def check_whole_blocks(groups: Iterable[Group], widths: Mapping[str, int], *, source: str) -> None:
    """UserError, beginning with `source`, where `widths` empty some of a block's groups but not all of them.

    Widths that are not named are the groups' own.
    """
    groups = tuple(groups)
    full = {group.name: group.size for group in groups} | dict(widths)
    for names in members_of(blocks_of(groups)):
        empty, kept = ([name for name in names if (full[name] == 0) is gone] for gone in (True, False))
        if empty and kept:
            raise UserError(
                f"{source}: nothing kept of {empty[0]!r} but {full[kept[0]]} channels of {kept[0]!r}, of the same "
                "residual block, which goes whole or not at all; keep some of each, or none of all"
            )


def without_removed(groups: Sequence[Group]) -> tuple[Group, ...]:
    """`groups` without those of removed blocks, of size 0; what is left of these is written by whoever wrote there."""
    rests = removed(groups, {})
    if not rests:
        return tuple(groups)
    blocks, present = {rest.block for rest in rests}, []
    for group in groups:
        if group.rest is not None and group.rest.block in blocks:
            continue
        written = {piece.module for piece in group.writes}
        left = [rest.bias.rpartition(".")[0] for rest in rests if rest.bias and rest.last[-1] in written]
        writes, reads = (
            tuple(piece for piece in side if not any(rest.holds(piece.module) for rest in rests))
            for side in (group.writes, group.reads)
        )
        present.append(replace(group, writes=writes + rows(*left), reads=reads))
    return tuple(present)


def within_blocks(operators: Iterable[Operator], groups: Iterable[Group]) -> tuple[Operator, ...]:
    """`operators`, of which those inside of blocks that can go cost nothing when they go, whatever their widths are.

    What makes a block's constant costs its parameters then.
    """
    groups = tuple(groups)
    first = {group.rest.block: group.rest for group in groups if group.rest is not None}
    names = dict(zip(first, members_of(blocks_of(groups)), strict=True))

    def within(op: Operator) -> Operator:
        block = next((block for block, rest in first.items() if rest.holds(op.name)), None)
        if block is None or not {*op.groups}.isdisjoint(names[block]):
            return op
        group = names[block][0]
        if op.name in first[block].last and op.kind == "norm":  # scale and bias, of which the bias stays
            return replace(op, n_in=Present(group, 1), weights=op.biases // 2, biases=op.biases // 2)
        if isinstance(op.n_out, int):
            return replace(op, n_out=Present(group, op.n_out))
        if isinstance(op.n_in, int):
            return replace(op, n_in=Present(group, op.n_in))
        raise ValueError(f"{op.name}: is inside of block {block}, and has the widths of two groups outside")

    return tuple(within(op) for op in operators)


def constant_of(model: nn.Module, state: Mapping[str, Tensor], rest: Rest) -> Tensor:
    """What the last layers of a removed block make of zeros, [C]: a linear layer or a BatchNorm, then scales.

    Their tensors are those in `state`.
    """
    first, *scales = rest.last
    layer, bias = model.get_submodule(first), state[f"{first}.bias"]
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        weight, mean, var = (state[f"{first}.{part}"] for part in ("weight", "running_mean", "running_var"))
        bias = bias - mean * weight / (var + layer.eps).sqrt()
    for name in scales:
        bias = bias * state[f"{name}.gamma"]
    return bias
