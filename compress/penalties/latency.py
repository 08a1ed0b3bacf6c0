"""The latency penalty on scores: P(alpha) is the latency ratio that a measured table predicts for soft widths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..costs import SoftLatency
from ..plan import UserError, check_number

TAU = 0.4


class LatencyPenalty:
    """gamma * latency(n), n_g = sum_i s(alpha_i) the soft width of group g, s(a) = a^2 / (a^2 + tau^2) in [0, 1).

    `latency` is the table's ratio to the unpruned network's latency; `groups` names the groups of the scores, in their
    order. A score of size `tau` counts as half a channel. At the default of 0.4 the scores of a search's start, which
    are 1, count as 0.86 channels and feel a fifth of the pull on scores of size `tau`; a larger `tau` pulls earlier, a
    smaller one counts more exactly.

    The pull on a score is gamma s'(alpha) d latency / d n_g: a channel pays for the time that it costs its producers
    and its readers at the other groups' present widths. Where the table is flat, or a soft width is below its narrowest
    one, there is none; where a narrower layer is slower, the pull is upwards. Tables at multiples of the
    engine's block (16 channels with AVX-512) hardly have either. s'(0) = 0: no score becomes exactly zero, and one that
    is stays so as far as the penalty is concerned.

    Scores that are brought to root mean square 1 after each step (`fixed_scale`) give up the part of the pull that is
    common to a group. s is concave in alpha^2, so what is left drives a group's scores apart, the more the costlier its
    channels, and is zero while they are all equal.

    Raises UserError for a `tau` that is not positive and when `latency` asks for a group that has no scores.

    Example::

        latency = SoftLatency(table, space.operators((3, 32, 32)))
        penalty = LatencyPenalty(0.5, latency, [group.name for group in space.groups])
        penalty.value([torch.ones(group.size) for group in space.groups])  # 0.5 times the ratio, at 0.86 of all widths
    """

    def __init__(self, gamma: float, latency: SoftLatency, groups: Sequence[str], *, tau: float = TAU) -> None:
        check_number("search.latency_tau", tau, above=0)
        if missing := [group for group in latency.groups if group not in groups]:
            raise UserError(f"groups: no scores for {missing[0]!r}, which the latency depends on; give all groups")
        if not latency.groups:
            raise UserError("latency: depends on no group's width, so there is nothing to penalise; score some group")
        self.gamma, self.latency, self.tau = gamma, latency, tau
        position = {group: i for i, group in enumerate(groups)}
        self.order = [position[group] for group in latency.groups]

    def value(self, alphas: Sequence[Tensor]) -> Tensor:
        """gamma times the latency ratio, a scalar, differentiable."""
        square_GC = self._rows(alphas).square()
        return self.gamma * self.latency.at((square_GC / (square_GC + self.tau**2)).sum(1))

    def add_gradient(self, alphas: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Add gamma s'(alpha_i) d latency / d n_g to `gradients` in place."""
        if not self.gamma:
            return
        alpha_GC = self._rows(alphas).detach()
        square_GC = alpha_GC.square()
        sum_GC = square_GC + self.tau**2
        width_G = (square_GC / sum_GC).sum(1).requires_grad_()
        with torch.enable_grad():
            (cost_G,) = torch.autograd.grad(self.latency.at(width_G), width_G)
        slope_GC = 2 * self.tau**2 * alpha_GC / sum_GC.square()
        rows = (self.gamma * cost_G.unsqueeze(1) * slope_GC).unbind()
        own = [gradients[i] for i in self.order]
        torch._foreach_add_(own, [row[: len(g)] for row, g in zip(rows, own, strict=True)])

    def prox(self, alphas: Sequence[Tensor], *, step: float) -> None:
        """Nothing: the penalty is smooth."""

    def strength(self, sum_of_steps: float, momentum: float) -> None:
        """None: how far the penalty alone moves a score depends on the score's group and changes on the way."""

    def _rows(self, alphas: Sequence[Tensor]) -> Tensor:
        """The scores of `latency.groups`, [G, C], filled up with zeros, which count as no channels."""
        return pad_sequence([alphas[i] for i in self.order], batch_first=True)
