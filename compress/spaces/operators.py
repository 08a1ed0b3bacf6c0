"""Operators: what each layer costs, as a function of widths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from .groups import Group, Slice


@dataclass(frozen=True)
class Sum:
    """The width of a concatenation: `times` the kept channels of each group of `terms`, and `constant` more.

    `terms` are ((group, times), ...).

    Example::

        width_at(Sum((("a", 1), ("b", 4)), constant=16), {"a": 8, "b": 2})  # 32
    """

    terms: tuple[tuple[str, int], ...]
    constant: int = 0


@dataclass(frozen=True)
class Present:
    """`n` channels while anything is kept of `group`; without, the block around it is gone, and there are none.

    Example::

        width_at(Present("layer1.1.conv1", 64), {"layer1.1.conv1": 0})  # 0
    """

    group: str
    n: int


Width = int | str | Sum | Present
"""A fixed number of channels, the name of the group whose kept channels are counted, a sum of those, or a number of
channels that go with a group's last one."""


@dataclass(frozen=True)
class Operator:
    """One layer's cost as a function of widths; a multiply-add is one MAC.

    MACs are `macs * n_in * n_out`, parameters `weights * n_in * n_out + biases * n_out`, with `n_in` and `n_out` the
    widths of the weight's second and first axis. A BatchNorm or a depthwise convolution has `n_in = 1`, any grouped
    convolution the inputs of one of its groups. Entries that a group has several of on an axis are factors of `macs`,
    `weights` and `biases`.
    """

    name: str
    kind: str
    n_in: Width
    n_out: Width
    macs: int
    weights: int
    biases: int = 0

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups whose widths it depends on, each once."""
        return tuple(dict.fromkeys((*groups_of(self.n_in), *groups_of(self.n_out))))


def groups_of(width: Width) -> tuple[str, ...]:
    """The groups that `width` counts channels of."""
    if isinstance(width, Sum):
        return tuple(name for name, _ in width.terms)
    if isinstance(width, Present):
        return (width.group,)
    return (width,) if isinstance(width, str) else ()


def width_at(width: Width, widths: Mapping[str, Any]) -> Any:
    """The number of channels at `widths` {group: int, or a soft width as a scalar tensor: then no block is gone}."""
    if isinstance(width, Sum):
        return sum((times * widths[name] for name, times in width.terms), width.constant)
    if isinstance(width, Present):
        n = widths[width.group]
        return 0 if isinstance(n, Integral) and not n else width.n
    return widths[width] if isinstance(width, str) else width


def read_spatially(operators: Iterable[Operator]) -> set[str]:
    """The groups that a convolution of more than one pixel reads, channel with channel: no depthwise one."""
    wide = (op for op in operators if op.kind == "conv" and op.weights > 1)
    return {name for op in wide for name in groups_of(op.n_in)}


def axis_width(parts: Iterable[tuple[Group, Slice]], n: int) -> tuple[Width, int]:
    """The width of an axis of `n` entries out of the slices on it, and a factor: how often it counts."""
    times: dict[str, int] = {}
    fixed = n
    for group, piece in parts:
        times[group.name] = times.get(group.name, 0) + piece.layout.entries
        fixed -= piece.layout.entries * group.size
    if fixed < 0:
        raise ValueError(f"groups {sorted(times)} have more channels than the {n} entries of their axis")
    if not times:
        return n, 1
    if len(times) == 1 and not fixed:
        return next(iter(times.items()))
    return Sum(tuple(times.items()), fixed), 1


def plain_sides(op: Operator) -> tuple[int | str | Present, int | str | Present]:
    """`n_in` and `n_out` of an operator whose widths are no sums; ValueError for another one."""
    if isinstance(op.n_in, Sum) or isinstance(op.n_out, Sum):
        raise ValueError(f"{op.name}: its widths are sums of groups; see without_sums")
    return op.n_in, op.n_out


def named_sides(op: Operator) -> tuple[int | str, int | str]:
    """The same with the group's name in place of a `Present`: what the operator's cost is a table over."""
    n_in, n_out = (n.group if isinstance(n, Present) else n for n in plain_sides(op))
    return n_in, n_out


def channels_at(width: int | str | Present, n: int) -> int:
    """How many channels a side of an operator has where its group, if it has one, keeps `n`."""
    if isinstance(width, Present):
        return width.n if n else 0
    return n if isinstance(width, str) else width


def never_gone(op: Operator) -> Operator:
    """`op` as if its block had to stay, whatever is kept."""
    n_in, n_out = (n.n if isinstance(n, Present) else n for n in (op.n_in, op.n_out))
    return replace(op, n_in=n_in, n_out=n_out)


def without_sums(op: Operator) -> tuple[Operator, ...]:
    """Operators whose widths are no sums, and whose MACs and parameters add up to those of `op`."""
    return tuple(
        replace(
            op,
            n_in=n_in,
            n_out=n_out,
            macs=op.macs * rows * columns,
            weights=op.weights * rows * columns,
            biases=op.biases * rows * (i == 0),
        )
        for n_out, rows in _terms(op.n_out)
        for i, (n_in, columns) in enumerate(_terms(op.n_in))
    )


def _terms(width: Width) -> tuple[tuple[int | str | Present, int], ...]:
    if not isinstance(width, Sum):
        return ((width, 1),)
    return (*width.terms, *([(width.constant, 1)] if width.constant else []))
