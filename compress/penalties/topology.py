"""The latency penalty on topologies (thesis 2.38, section 3.1.4): the expected latency of every edge's operation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..plan import UserError


class ExpectedLatency:
    """gamma * sum over edges e of <p_e, LAT_e>, p_e = softmax(alpha_e): Lipschitz gradient (Prop. 2.9).

    Operations that are `left_out` are left out of p_e, which is the softmax over the others' scores alone: what an edge
    costs given that it is one of those. `none` costs nothing, and with it the penalty would first of all cut edges;
    left out, it is neither pulled nor pushed (its gradient is exactly 0), and latency chooses among connected edges.
    With `weights="sigmoid"` p_e are the sigmoids of the scores over their sum.

    `latency_EO`, [E, O]: what each of the O operations costs on each of the E edges, measured on the target device, in
    milliseconds or shares of a whole; for edges that stand in several cells, in all of these. Scores are E tensors [O],
    tensors [e, O] that together have E rows, or one tensor [E, O], always in the order of `latency_EO`; what follows
    them, such as weights of whole edges, is left alone.

    Raises UserError for latencies that are no table, not finite or negative, for operations that are not there or all
    left out, and for scores of another shape.

    Example::

        penalty = ExpectedLatency(0.002, torch.tensor([[0.0, 0.4, 0.1], [0.0, 0.8, 0.3]]))
        penalty.value([torch.zeros(3), torch.zeros(3)])  # 0.002 * (0.5 + 1.1) / 3
    """

    def __init__(
        self,
        gamma: float,
        latency_EO: Tensor,
        *,
        left_out: Collection[int] = (),
        weights: Literal["softmax", "sigmoid"] = "softmax",
    ) -> None:
        if latency_EO.dim() != 2 or not latency_EO.isfinite().all() or (latency_EO < 0).any():
            raise UserError(
                f"latency_EO: of shape {list(latency_EO.shape)}; must be finite latencies, not negative, [edges, "
                "operations]"
            )
        self.kept = [i for i in range(latency_EO.shape[1]) if i not in left_out]
        if not self.kept or not {*left_out} <= {*range(latency_EO.shape[1])}:
            raise UserError(
                f"left_out = {sorted(left_out)}: must be some of {latency_EO.shape[1]} operations and leave one; "
                "correct it"
            )
        self.gamma, self.latency_EO, self.sigmoid = gamma, latency_EO, weights == "sigmoid"

    def value(self, alphas: Sequence[Tensor]) -> Tensor:
        """gamma times the expected latency, a scalar, differentiable."""
        p_EK, latency_EK, _ = self._shares(torch.cat(self._rows(alphas)))
        return self.gamma * (p_EK * latency_EK).sum()

    def add_gradient(self, alphas: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Add gamma p_eo s_eo (LAT_eo - <p_e, LAT_e>) to `gradients` in place; s is 1, for sigmoids 1 - sigmoid."""
        alpha_EO = torch.cat(self._rows(alphas)).detach()
        p_EK, latency_EK, slope_EK = self._shares(alpha_EO)
        rows_EO = torch.zeros_like(alpha_EO)
        rows_EO[:, self.kept] = self.gamma * p_EK * slope_EK * (latency_EK - (p_EK * latency_EK).sum(1, keepdim=True))
        own = list(gradients)[: len(self._rows(alphas))]
        parts = rows_EO.split([g.numel() // rows_EO.shape[1] for g in own])
        torch._foreach_add_(own, [part.view_as(g) for part, g in zip(parts, own, strict=True)])

    def prox(self, alphas: Sequence[Tensor], *, step: float) -> None:
        """Nothing: the penalty is smooth."""

    def strength(self, sum_of_steps: float, momentum: float) -> None:
        """None: how far the penalty alone moves a score depends on its operation and its edge."""

    def _shares(self, alpha_EO: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """p, latencies and slopes of the K operations that are not left out, [E, K]."""
        alpha_EK, latency_EK = alpha_EO[:, self.kept], self.latency_EO.to(alpha_EO)[:, self.kept]
        if not self.sigmoid:
            return alpha_EK.softmax(1), latency_EK, torch.ones_like(alpha_EK)
        # Of logarithms, so that sigmoids that are all tiny still have a ratio.
        return torch.nn.functional.logsigmoid(alpha_EK).softmax(1), latency_EK, (-alpha_EK).sigmoid()

    def _rows(self, alphas: Sequence[Tensor]) -> list[Tensor]:
        """The tensors that have the scores, as rows of operations."""
        shape, rows = tuple(self.latency_EO.shape), list[Tensor]()
        for alpha in alphas:
            if sum(map(len, rows)) >= shape[0]:
                break
            rows.append(alpha.reshape(-1, alpha.shape[-1]))
        found = sum(map(len, rows)), *{row.shape[1] for row in rows}
        if found != shape:
            raise UserError(
                f"alphas: {list(found)} scores for latencies of shape {list(shape)}; give a latency for each score"
            )
        return rows
