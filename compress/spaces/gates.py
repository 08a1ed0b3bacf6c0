"""Gates: a layer that reads scored channels multiplies them by their scores, or one that writes them does.

A convolution of alpha * x with W is a convolution of x with W * alpha, so plain layers gate their weights: that costs
nothing beside the convolution, in the forward pass and for alpha's gradient. Other layers gate their input, or output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .folding import along, reading_axis

Score = Callable[[], Tensor]
"""Returns the present scores along an axis, [n]."""


class Gated(nn.Module):
    """A layer whose weight is multiplied by scores at every call, along the axes of `scores`."""

    weight: Tensor
    bias: Any
    scores: dict[int, Score]

    def gated(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias with what the layer reads (axis 1) or writes (axis 0) scored."""
        weight, bias = self.weight, self.bias
        for axis, score in self.scores.items():
            alpha = score().to(weight.dtype)
            weight = weight * along(alpha, axis, weight.dim())
            if axis == 0 and bias is not None:
                bias = bias * alpha
        return weight, bias


class GatedConv2d(Gated, nn.Conv2d):
    """A convolution with gates; otherwise an nn.Conv2d."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """[B, C, H, W] -> [B, K, H', W'], scored."""
        output: Tensor = self._conv_forward(input, *self.gated())
        return output


class GatedLinear(Gated, nn.Linear):
    """A linear layer with gates; otherwise an nn.Linear."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """[..., C] -> [..., K], scored."""
        return F.linear(input, *self.gated())


class GatheredLinear(nn.Linear):
    """A linear layer that reads the features named by its buffer `index` from a wider stream."""

    index: Tensor

    @classmethod
    def of(cls, layer: nn.Module) -> GatheredLinear:
        """`layer`, already narrow, as a gathered one that reads the first features."""
        assert isinstance(layer, nn.Linear)
        gathered = cls(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        gathered.weight, gathered.bias = layer.weight, layer.bias
        gathered.register_buffer("index", torch.arange(layer.in_features, device=layer.weight.device))
        return gathered

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """[..., D] -> [..., K]."""
        return F.linear(input.index_select(-1, self.index), self.weight, self.bias)


class GatedGatheredLinear(Gated, GatheredLinear):
    """A gathered linear layer with gates."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """[..., D] -> [..., K], scored."""
        return F.linear(input.index_select(-1, self.index), *self.gated())


GATED: dict[type[nn.Module], type[Gated]] = {
    nn.Conv2d: GatedConv2d,
    nn.Linear: GatedLinear,
    GatheredLinear: GatedGatheredLinear,
}
PLAIN: dict[type[nn.Module], type[nn.Module]] = {gated: plain for plain, gated in GATED.items()}


class Gate:
    """A gate on one axis of one layer: its `reading_axis`, or 0, what it writes; `remove` takes it off.

    Plain layers change class in place, which copies of the network keep, and their state dict does not show. Raises
    ValueError where the axis of a plain layer has a gate already.
    """

    def __init__(self, module: nn.Module, score: Score, *, axis: int = 1) -> None:
        self.module, self.axis = module, axis
        if type(module) in GATED:
            module.__class__ = GATED[type(module)]
            module.scores = {}  # type: ignore[assignment]
        if isinstance(module, Gated):
            if axis in module.scores:
                raise ValueError(f"a gate on axis {axis} of a {type(module).__name__}, which has one already")
            module.scores[axis] = score
            # PyTorch's fused encoder layer takes the weights past this module, unless it has a hook.
            self.hook = module.register_forward_pre_hook(_nothing)
        elif axis == reading_axis(module):
            self.hook = module.register_forward_pre_hook(
                lambda layer, args: (_scored(layer, args[0], score), *args[1:])
            )
        else:
            self.hook = module.register_forward_hook(lambda layer, args, output: _scored(layer, output, score))

    def remove(self) -> None:
        """Give the layer back as it was."""
        self.hook.remove()
        if isinstance(module := self.module, Gated):
            module.scores.pop(self.axis)
            if not module.scores:
                del module.scores
                self.module.__class__ = PLAIN[type(module)]


def _nothing(*_: Any) -> None:
    """Changes nothing."""


def _scored(module: nn.Module, x: Tensor, score: Score) -> Tensor:
    alpha = score().to(x.dtype)
    # Linear layers have their features last, convolutions their channels second.
    return x * (alpha if isinstance(module, nn.Linear) else along(alpha, 1, x.dim()))
