"""The latency penalty on topologies (thesis 2.38, section 3.1.4): the expected latency of every edge's operation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..plan import UserError


class SoftmaxLatency:
    """gamma * sum over edges e of <softmax(alpha_e), LAT_e>, LAT_e in milliseconds: Lipschitz gradient (Prop. 2.9).

    `latency_EO`, [E, O]: milliseconds of each of the O operations on each of the E edges, measured on the target
    device; for edges that stand in several cells, times the number of these. Scores are E tensors [O], tensors [e, O]
    that together have E rows, or one tensor [E, O], always in the order of `latency_EO`.

    Raises UserError for latencies that are no table, not finite or negative, and for scores of another shape.

    Example::

        penalty = SoftmaxLatency(0.002, torch.tensor([[0.0, 0.4, 0.1], [0.0, 0.8, 0.3]]))
        penalty.value([torch.zeros(3), torch.zeros(3)])  # 0.002 * (0.5 + 1.1) / 3
    """

    def __init__(self, gamma: float, latency_EO: Tensor) -> None:
        if latency_EO.dim() != 2 or not latency_EO.isfinite().all() or (latency_EO < 0).any():
            raise UserError(
                f"latency_EO: of shape {list(latency_EO.shape)}; must be finite milliseconds, not negative, [edges, "
                "operations]"
            )
        self.gamma, self.latency_EO = gamma, latency_EO

    def value(self, alphas: Sequence[Tensor]) -> Tensor:
        """gamma times the expected milliseconds, a scalar, differentiable."""
        alpha_EO = self._rows(alphas)
        return self.gamma * (alpha_EO.softmax(1) * self.latency_EO.to(alpha_EO)).sum()

    def add_gradient(self, alphas: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Add gamma p_eo (LAT_eo - <p_e, LAT_e>), p_e = softmax(alpha_e), to `gradients` in place."""
        alpha_EO = self._rows(alphas).detach()
        p_EO, latency_EO = alpha_EO.softmax(1), self.latency_EO.to(alpha_EO)
        rows_EO = self.gamma * p_EO * (latency_EO - (p_EO * latency_EO).sum(1, keepdim=True))
        own = list(gradients)
        parts = rows_EO.split([g.numel() // rows_EO.shape[1] for g in own])
        torch._foreach_add_(own, [part.view_as(g) for part, g in zip(parts, own, strict=True)])

    def prox(self, alphas: Sequence[Tensor], *, step: float) -> None:
        """Nothing: the penalty is smooth."""

    def strength(self, sum_of_steps: float, momentum: float) -> None:
        """None: how far the penalty alone moves a score depends on its operation and its edge."""

    def _rows(self, alphas: Sequence[Tensor]) -> Tensor:
        alpha_EO = torch.cat([a.reshape(-1, a.shape[-1]) for a in alphas])
        if alpha_EO.shape != self.latency_EO.shape:
            found, rule = list(alpha_EO.shape), list(self.latency_EO.shape)
            raise UserError(f"alphas: {found} scores for latencies of shape {rule}; give a latency for each score")
        return alpha_EO
