"""FairDARTS's zero-one loss (arXiv 1911.12126): pushes sigmoid weights of operations away from a half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ZeroOne:
    """-gamma * mean over the operations of all edges of (sigmoid(alpha) - 1/2)^2; FairDARTS takes gamma = 10.

    Scores of operations are matrices, [edges, operations]; others, such as those of edges, are left alone.

    Example::

        ZeroOne(10.0).value([torch.zeros(14, 8)])  # 0: every weight is a half
    """

    gamma: float

    def value(self, alphas: Sequence[Tensor]) -> Tensor:
        """gamma * P, a scalar, differentiable."""
        own = [a for a in alphas if a.dim() == 2]
        total = torch.stack([(a.sigmoid() - 0.5).square().sum() for a in own]).sum()
        return -self.gamma * total / _count(own)

    def add_gradient(self, alphas: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Add -gamma * 2 (s - 1/2) s (1 - s) / n, s = sigmoid(alpha), to `gradients` in place."""
        own = [(a, gradient) for a, gradient in zip(alphas, gradients, strict=True) if a.dim() == 2]
        factor = -2 * self.gamma / _count([a for a, _ in own])
        for a, gradient in own:
            s = a.detach().sigmoid()
            gradient.add_((s - 0.5) * s * (1 - s), alpha=factor)

    def prox(self, alphas: Sequence[Tensor], *, step: float) -> None:
        """Nothing: the penalty is smooth."""

    def strength(self, sum_of_steps: float, momentum: float) -> None:
        """None: how far the penalty alone moves a score depends on where it is."""


def _count(alphas: Sequence[Tensor]) -> int:
    return sum(a.numel() for a in alphas)
