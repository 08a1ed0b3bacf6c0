"""The l0 penalty, gamma times the number of scores that are not zero: it has no gradient, only a proximal step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.penalties import PENALTIES, PenaltyType, hard_threshold


@dataclass(frozen=True)
class L0:
    """Scores below sqrt(2 eta_alpha gamma) become zero at every step."""

    gamma: float

    def value(self, alphas: Sequence[Tensor]) -> Tensor:
        return self.gamma * sum((torch.count_nonzero(a) for a in alphas), torch.zeros(()))

    def add_gradient(self, alphas: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        pass

    def prox(self, alphas: Sequence[Tensor], *, step: float) -> None:
        for alpha in alphas:
            alpha.copy_(hard_threshold(alpha, (2 * step * self.gamma) ** 0.5))

    def strength(self, sum_of_steps: float, momentum: float) -> None:
        """None: scores are cut off, not moved."""


PENALTIES.add(PenaltyType("l0", lambda terms: L0(terms.gamma), zeros=True))
