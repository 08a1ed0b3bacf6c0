"""What a search asks of a penalty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Penalty(Protocol):
    """gamma P(alpha) for scores `alphas`, one tensor for each group, in the order of the space's groups."""

    def value(self, alphas: Sequence[Tensor]) -> Tensor:
        """gamma P, a scalar."""

    def add_gradient(self, alphas: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Add the gradient of gamma P to `gradients` in place."""

    def prox(self, alphas: Sequence[Tensor], *, step: float) -> None:
        """The proximal step of length `step` (eta_alpha), in place, after the optimiser's own."""

    def strength(self, sum_of_steps: float, momentum: float) -> float | None:
        """Distance by which the penalty alone moves a score over a run; None where it differs from score to score."""
