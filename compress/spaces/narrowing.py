"""Layers replaced by narrower ones, for networks that a library builds at full width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from .groups import Group, Slice

SIZES: dict[tuple[type[nn.Module], int], str] = {
    (nn.Linear, 0): "out_features",
    (nn.Linear, 1): "in_features",
    (nn.Conv2d, 0): "out_channels",
    (nn.Conv2d, 1): "in_channels",
    (nn.modules.batchnorm._BatchNorm, 0): "num_features",
}
"""Class of a layer and axis of its weight -> the attribute that holds its length."""


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
    if isinstance(module, nn.Conv2d) and of.axis == 0 and module.groups > 1:
        module.groups = _groups_left(module, lost)
    for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        if of.includes(name, value):
            short = value.narrow(of.axis, 0, value.shape[of.axis] - len(lost)).detach().clone()
            setattr(module, name, _like(value, short))
    if of.parameter not in (None, "weight"):
        return
    attributes = [name for (kind, axis), name in SIZES.items() if axis == of.axis and isinstance(module, kind)]
    if not attributes:
        raise TypeError(f"{of.module}: axis {of.axis} of a {type(module).__name__} cannot be narrowed")
    weight = module.get_parameter("weight")
    setattr(module, attributes[0], weight.shape[of.axis])
    if isinstance(module, nn.Conv2d):
        module.in_channels = weight.shape[1] * module.groups


def _like(value: Tensor, short: Tensor) -> Tensor:
    return nn.Parameter(short, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else short


def _groups_left(module: nn.Conv2d, lost: Tensor) -> int:
    """How many of a convolution's own groups keep outputs when the outputs `lost` go; all must keep equally many."""
    each = module.out_channels // module.groups
    left = each - torch.bincount(lost // each, minlength=module.groups)
    if len(kept := set(left[left > 0].tolist())) != 1:
        raise ValueError(f"a convolution of {module.groups} groups would have groups of {sorted(kept)} outputs")
    return int((left > 0).sum())
