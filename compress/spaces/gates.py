"""Gates: a layer that reads scored channels multiplies them by their scores.

A convolution of alpha * x with W is a convolution of x with W * alpha, so plain layers gate their weights: that costs
nothing beside the convolution, in the forward pass and for alpha's gradient. Other layers gate their input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


GATED: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: GatedConv2d, nn.Linear: GatedLinear}


class Gate:
    """A gate on one layer; `remove` takes it off.

    Plain layers change class in place, which copies of the network keep, and their state dict does not show.
    """

    def __init__(self, module: nn.Module, score: Score) -> None:
        self.module, self.plain = module, type(module)
        self.hook = None
        if self.plain in GATED:
            module.__class__ = GATED[self.plain]
            module.score = score  # type: ignore[assignment]
        else:
            self.hook = module.register_forward_pre_hook(_multiply(score))

    def remove(self) -> None:
        """Give the layer back as it was."""
        if self.hook is not None:
            self.hook.remove()
        elif isinstance(self.module, tuple(GATED.values())):
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
