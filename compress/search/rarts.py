"""RARTS: relaxed architecture search (Xue, Qi and Xin, arXiv 2008.03901), by first derivatives only.

Two weight sets u (primary) and w (auxiliary) share one alpha; D is split into D_p and D_a. Relaxed Lagrangian (2.11):

    L(u, w, alpha) = L_p(u, alpha) + lambda L_a(w, alpha) + beta/2 |u - w|^2 + gamma P(alpha)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..penalties import Penalty
from ..plan import UserError, check_number
from .descent import Gradients, Logs, Optimizer, ProbingLoss, apply_gradients, descend_scores, gradients_of
from .method import METHODS, Iteration, Method
from .sources import Gates


@dataclass(frozen=True)
class Rarts:
    """lambda (`lam`) weighs the auxiliary loss, `beta` ties u to w, `order` is the order of updates.

    `gauss-seidel` is the thesis's Algorithm 2: four passes over half batches; alpha sees the new w and u. `fused` takes
    alpha's gradient from the same two passes as w's and u's: half the cost, and on full batches (SGD, no weight decay)
    the same equilibria (2.19). On mini-batches the thesis's order is biased by O(eta), see `order_bias`.
    """

    lam: float = 1.0
    beta: float = 1.0
    order: Literal["gauss-seidel", "fused"] = "gauss-seidel"

    def __post_init__(self) -> None:
        check_number("search.method.lam", self.lam, at_least=0)
        check_number("search.method.beta", self.beta, at_least=0)
        if self.order not in _ORDERS:
            raise UserError(f"search.method.order = {self.order!r}: must be one of {', '.join(map(repr, _ORDERS))}")


@dataclass
class TwoSets:
    """What a RARTS step acts on: the two losses, the parameters, and one optimiser for each of u, w and alpha.

    With plain SGD (no momentum, no weight decay) the step is exactly (2.12). `gradient(loss, parameters)` are
    gradients, averaged over processes.
    """

    loss_p: ProbingLoss
    loss_a: ProbingLoss
    u: Sequence[nn.Parameter]
    w: Sequence[nn.Parameter]
    alpha: Sequence[nn.Parameter]
    opt_u: Optimizer
    opt_w: Optimizer
    opt_alpha: Optimizer
    gradient: Gradients = gradients_of

    @classmethod
    def of(cls, it: Iteration) -> TwoSets:
        """The two sets of an iteration of a search, u on D_p and w on D_a."""
        return cls(loss_p=it.loss("u", "p"), loss_a=it.loss("w", "a"), **it.sets())


def rarts_step(sets: TwoSets, method: Rarts, penalty: Penalty) -> Logs:
    """One iteration of (2.12) on the present mini-batches; returns the losses of the first two passes, detached.

    Example::

        logs = rarts_step(sets, Rarts(lam=1.0, beta=1.0), L1(1e-4))
    """
    return _ORDERS[method.order](sets, method, penalty)


def _gauss_seidel(s: TwoSets, m: Rarts, penalty: Penalty) -> Logs:
    # w' = w - eta_w (lambda grad_w L_a(w, alpha) + beta (w - u))
    loss_a = s.loss_a()
    _descend(s.opt_w, s.w, s.gradient(m.lam * loss_a, s.w), s.u, m.beta)
    # u' = u - eta_u (grad_u L_p(u, alpha) + beta (u - w'))
    loss_p = s.loss_p()
    _descend(s.opt_u, s.u, s.gradient(loss_p, s.u), s.w, m.beta)
    # a' = a - eta_a (lambda grad_a L_a(w', a) + grad_a L_p(u', a) + gamma grad P(a)); no weight gradients here, and
    # the second pass of each batch, so BatchNorm's statistics have seen it
    grad_a = s.gradient(m.lam * s.loss_a(probe=True), s.alpha)
    grad_p = s.gradient(s.loss_p(probe=True), s.alpha)
    descend_scores(s.opt_alpha, s.alpha, list(torch._foreach_add(grad_a, grad_p)), penalty)
    return {"loss_p": loss_p.detach(), "loss_a": loss_a.detach()}


def _fused(s: TwoSets, m: Rarts, penalty: Penalty) -> Logs:
    # One pass of each loss gives the gradients of its weights and of alpha, all at the present point. The coupling of u
    # still sees the new w', which costs nothing.
    loss_a = s.loss_a()
    grad_wa = s.gradient(m.lam * loss_a, [*s.w, *s.alpha])
    loss_p = s.loss_p()
    grad_up = s.gradient(loss_p, [*s.u, *s.alpha])
    _descend(s.opt_w, s.w, grad_wa[: len(s.w)], s.u, m.beta)
    _descend(s.opt_u, s.u, grad_up[: len(s.u)], s.w, m.beta)
    grad_alpha = list(torch._foreach_add(grad_wa[len(s.w) :], grad_up[len(s.u) :]))
    descend_scores(s.opt_alpha, s.alpha, grad_alpha, penalty)
    return {"loss_p": loss_p.detach(), "loss_a": loss_a.detach()}


_ORDERS = {"gauss-seidel": _gauss_seidel, "fused": _fused}


def _descend(
    optimizer: Optimizer,
    own: Sequence[nn.Parameter],
    gradients: list[Tensor],
    other: Sequence[nn.Parameter],
    beta: float,
) -> None:
    """Step `own` along gradient + beta (own - other)."""
    with torch.no_grad():
        if beta:
            difference = torch._foreach_sub(list(own), list(other))
            # Not in place: autograd may return one tensor for two parameters, or an expanded one.
            gradients = list(torch._foreach_add(gradients, difference, alpha=beta))
    apply_gradients(optimizer, own, gradients)


def _step(it: Iteration) -> Logs:
    return rarts_step(TwoSets.of(it), it.settings, it.penalty)


METHODS.add(Method("rarts", Rarts, step=_step, networks=2, halves=True, source=Gates))
