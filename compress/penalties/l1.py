"""The l1 penalty on scores, P(alpha) = sum |alpha_i|, as a subgradient or as a proximal step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class L1:
    """gamma * sum |alpha_i|.

    `subgradient` adds gamma * sign(alpha) to the gradient (0 at 0): scores shrink and hover around zero.
    `proximal` applies soft thresholding by eta_alpha * gamma after the step: scores become exactly zero.

    Example::

        penalty = L1(1e-4, "proximal")
        penalty.prox(alphas, step=0.1)  # in place
    """

    gamma: float
    mode: Literal["subgradient", "proximal"] = "subgradient"

    def value(self, alphas: Sequence[Tensor]) -> Tensor:
        """gamma * P, a scalar."""
        return self.gamma * sum((a.abs().sum() for a in alphas), torch.zeros(()))

    def add_gradient(self, alphas: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Add gamma * sign(alpha) to `gradients` in place; nothing in proximal mode."""
        if self.mode == "subgradient" and self.gamma:
            torch._foreach_add_(list(gradients), torch._foreach_sign(list(alphas)), alpha=self.gamma)

    def prox(self, alphas: Sequence[Tensor], *, step: float) -> None:
        """Soft threshold `alphas` by step * gamma in place (step is eta_alpha); nothing in subgradient mode."""
        if self.mode == "proximal" and self.gamma:
            for a in alphas:
                a.copy_(torch.nn.functional.softshrink(a, step * self.gamma))

    def strength(self, sum_of_steps: float, momentum: float) -> float | None:
        """Distance by which the penalty alone moves a score over a run whose eta_alpha sum to `sum_of_steps`.

        A subgradient passes through the optimiser's momentum, which multiplies it by 1 / (1 - momentum); a proximal
        step does not. Below about 1, scores cannot travel from 1 to 0 and their ranking is mostly noise. None where a
        momentum of 1 or more lets the subgradient grow without bound.
        """
        if self.mode == "proximal":
            return self.gamma * sum_of_steps
        return self.gamma * sum_of_steps / (1 - momentum) if momentum < 1 else None
