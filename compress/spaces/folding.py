"""Scores folded into weights: the network without gates that computes what the gated one did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from .axes import scored_axes, spread
from .groups import Group

TINY = 1e-12
"""Scores below it are as good as zero: their squares leave the range of float32."""


class Folded(Protocol):
    """What folding needs of a space."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """The scored groups."""

    @property
    def normalised(self) -> Mapping[str, str]:
        """Layer -> the BatchNorm that takes its output and nothing else."""


@torch.no_grad()
def fold_scores(model: nn.Module, space: Folded, scores: Mapping[str, Tensor]) -> None:
    """Multiply the weights of every layer that a gate would sit at by the scores, in place.

    The gated network and the folded one without gates compute the same function. Where a BatchNorm follows a reader,
    the scores' common scale means nothing, but small weights would make every later training step large: there the
    scores are brought to root mean square 1, and the BatchNorm's statistics and scale take up the difference, exactly
    in evaluation mode.

    Example::

        fold_scores(u, space, alphas.scores())
    """
    normalised = space.normalised
    for (module, axis), parts in scored_axes(space.groups).items():
        layer = model.get_submodule(module)
        weight = layer.get_parameter("weight")
        alpha = spread(parts, weight.shape[axis], scores).to(weight)
        reads = axis == reading_axis(layer)
        norm = normalised.get(module) if reads else None
        if norm is not None and bool(alpha.abs().max() > TINY):
            size = alpha.square().mean().sqrt()
            alpha = alpha / size
            _rescale(model.get_submodule(norm), 1 / size)
        for name, value in layer.named_parameters(recurse=False):
            fits = value.dim() > axis and value.shape[axis] == len(alpha)
            if fits and not (reads and name == "bias"):
                value.mul_(along(alpha, axis, value.dim()))


def reading_axis(layer: nn.Module) -> int:
    """The axis of a layer's weight along which it reads: a transposed convolution's is [C, K, ...]."""
    return 0 if isinstance(layer, nn.modules.conv._ConvTransposeNd) else 1


def along(alpha: Tensor, axis: int, dims: int) -> Tensor:
    """`alpha` [n] as a factor of a tensor with `dims` dimensions whose `axis` has n entries."""
    return alpha.view([-1 if i == axis else 1 for i in range(dims)])


def _rescale(norm: nn.Module, factor: Tensor) -> None:
    """Make BatchNorm `norm`, fed `factor` times its old input, give its old output in evaluation mode."""
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    old = (var + norm.eps).sqrt()
    mean.mul_(factor)
    var.mul_(factor**2)
    # Without eps this would be 1.
    norm.weight.mul_((var + norm.eps).sqrt() / (factor * old))
