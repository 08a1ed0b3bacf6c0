"""Gates: a layer that reads scored channels multiplies them by their scores.

A convolution of alpha * x with W is a convolution of x with W * alpha, so plain layers gate their weights: that costs
nothing beside the convolution, in the forward pass and for alpha's gradient. Other layers gate their input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Score = Callable[[], Tensor]
"""Returns the present scores, [C]."""


class GatedConv2d(nn.Conv2d):
    """A convolution whose weight's columns are multiplied by scores at every call; otherwise an nn.Conv2d."""

    score: Score

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """[B, C, H, W] -> [B, K, H', W'] with the channels of the input scored."""
        weight = self.weight * self.score().to(self.weight.dtype).view(1, -1, 1, 1)
        return self._conv_forward(input, weight, self.bias)


class GatedLinear(nn.Linear):
    """A linear layer whose weight's columns are multiplied by scores at every call; otherwise an nn.Linear."""

    score: Score

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """[..., C] -> [..., K] with the features of the input scored."""
        return F.linear(input, self.weight * self.score().to(self.weight.dtype), self.bias)


class GatedRows(nn.Linear):
    """A linear layer whose outputs are multiplied by scores: query, key and value of all heads, rows [copies, C]."""

    score: Score
    copies: int

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """[..., C] -> [..., copies * K] with the outputs scored."""
        alpha = self.score().to(self.weight.dtype).repeat(self.copies)
        bias = None if self.bias is None else self.bias * alpha
        return F.linear(input, self.weight * alpha.unsqueeze(1), bias)


class GatheredLinear(nn.Linear):
    """A linear layer that reads the features named by its buffer `index` from a wider stream."""

    index: Tensor

    @classmethod
    def of(cls, layer: nn.Module) -> GatheredLinear:
        """`layer`, already narrow, as a gathered one that reads the first features."""
        assert isinstance(layer, nn.Linear)
        made = cls(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        made.weight, made.bias = layer.weight, layer.bias
        made.register_buffer("index", torch.arange(layer.in_features, device=layer.weight.device))
        return made

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """[..., D] -> [..., K]."""
        return super().forward(input.index_select(-1, self.index))


class GatedGatheredLinear(GatheredLinear):
    """A gathered linear layer whose weight's columns are multiplied by scores."""

    score: Score

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """[..., D] -> [..., K] with the gathered features scored."""
        weight = self.weight * self.score().to(self.weight.dtype)
        return F.linear(input.index_select(-1, self.index), weight, self.bias)


GATED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: GatedConv2d,
    nn.Linear: GatedLinear,
    GatheredLinear: GatedGatheredLinear,
}


class Gate:
    """A gate on one layer; `remove` takes it off.

    Plain layers change class in place, which copies of the network keep, and their state dict does not show.
    """

    def __init__(self, module: nn.Module, score: Score, *, row_copies: int | None = None) -> None:
        """`row_copies` set: the gate multiplies the outputs of a linear layer, [row_copies, C], not its inputs."""
        self.module, self.plain = module, type(module)
        self.hook = None
        if row_copies is not None:
            module.__class__ = GatedRows
            module.score, module.copies = score, row_copies  # type: ignore[assignment]
        elif self.plain in GATED:
            module.__class__ = GATED[self.plain]
            module.score = score  # type: ignore[assignment]
        else:
            self.hook = module.register_forward_pre_hook(_multiply(score))

    def remove(self) -> None:
        """Give the layer back as it was."""
        if self.hook is not None:
            self.hook.remove()
        elif isinstance(self.module, (*GATED.values(), GatedRows)):
            if isinstance(self.module, GatedRows):
                del self.module.copies
            self.module.__class__ = self.plain
            del self.module.score


def _multiply(score: Score) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *rest = args
        alpha = score().to(x.dtype)
        # Linear layers have their features last, convolutions their channels second.
        alpha = alpha if isinstance(module, nn.Linear) else alpha.view(-1, *[1] * (x.dim() - 2))
        return (x * alpha, *rest)

    return hook
