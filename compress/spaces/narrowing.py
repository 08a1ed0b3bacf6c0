"""Layers replaced by narrower ones, for networks that a library builds at full width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from .groups import Group, Slice

Convolution = nn.modules.conv._ConvNd
SIZES: dict[tuple[type[nn.Module], int], str] = {
    (nn.Linear, 0): "out_features",
    (nn.Linear, 1): "in_features",
    (nn.modules.batchnorm._NormBase, 0): "num_features",
    (nn.GroupNorm, 0): "num_channels",
    (nn.PReLU, 0): "num_parameters",
}
"""Class of a layer and axis of its weight -> the attribute that holds its length; convolutions have several."""


def narrow(model: nn.Module, groups: Iterable[Group], widths: Mapping[str, int]) -> None:
    """Give every layer of `model` that writes or reads a group the width in `widths`, in place; weights are new.

    Raises TypeError for a layer that has a width of which nothing is known here.
    """
    lost: dict[Slice, list[Tensor]] = {}
    for group in groups:
        width = widths.get(group.name, group.size)
        if width != group.size:
            for piece in group.slices:
                axis = Slice(piece.module, piece.axis, parameter=piece.parameter)
                lost.setdefault(axis, []).append(piece.layout.positions(range(width, group.size), group.size))
    for axis, positions in lost.items():
        _shorten(model.get_submodule(axis.module), axis, torch.cat(positions))


def _shorten(module: nn.Module, of: Slice, lost: Tensor) -> None:
    """Shorten the axis `of` by as many entries as `lost` has; which they are says how many convolution groups stay."""
    if isinstance(module, Convolution) and of.axis == 0 and module.groups > 1 and of.parameter is None:
        module.groups = _groups_left(module.out_channels, module.groups, lost)
    if isinstance(module, nn.GroupNorm):
        module.num_groups = _groups_left(module.num_channels, module.num_groups, lost)
    for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        if of.includes(name, value):
            short = value.narrow(of.axis, 0, value.shape[of.axis] - len(lost)).detach().clone()
            setattr(module, name, _like(value, short))
    if of.parameter not in (None, "weight"):
        return
    if isinstance(module, Convolution):
        ends = [module.weight.shape[0], module.weight.shape[1] * module.groups]
        module.in_channels, module.out_channels = ends if module.transposed else reversed(ends)
    elif size := size_attribute(module, of.axis):
        setattr(module, size, getattr(module, size) - len(lost))
    else:
        raise TypeError(f"{of.module}: axis {of.axis} of a {type(module).__name__} cannot be narrowed")


def size_attribute(module: nn.Module, axis: int) -> str | None:
    """The attribute of `module` that holds the length of an axis, which may have no tensor; None: not known here."""
    return next((name for (kind, on), name in SIZES.items() if on == axis and isinstance(module, kind)), None)


def _like(value: Tensor, short: Tensor) -> Tensor:
    return nn.Parameter(short, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else short


def _groups_left(n: int, groups: int, lost: Tensor) -> int:
    """How many of a layer's own `groups` keep some of its `n` outputs when `lost` go; all must keep equally many."""
    each = n // groups
    left = each - torch.bincount(lost // each, minlength=groups)
    if len(kept := set(left[left > 0].tolist())) != 1:
        raise ValueError(f"a layer of {groups} groups would have groups of {sorted(kept)} outputs")
    return int((left > 0).sum())
