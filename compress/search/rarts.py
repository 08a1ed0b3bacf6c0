"""RARTS: relaxed architecture search (Xue, Qi and Xin, arXiv 2008.03901), by first derivatives only.

Two weight sets u (primary) and w (auxiliary) share one alpha; D is split into D_p and D_a. Relaxed Lagrangian (2.11):

    L(u, w, alpha) = L_p(u, alpha) + lambda L_a(w, alpha) + beta/2 |u - w|^2 + gamma P(alpha)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from ..penalties import Penalty
from ..plan import UserError, check_number

Loss = Callable[[], Tensor]
"""Computes the scalar loss of the present mini-batch at the present values of the parameters."""


class ProbingLoss(Protocol):
    """A loss that can be asked again or at virtual weights: with `probe`, the pass leaves no trace in the network.

    BatchNorm's running statistics count every batch once: all passes of a batch but the one that trains are probes.
    """

    def __call__(self, *, probe: bool = False) -> Tensor:
        """The scalar loss of the present mini-batch."""


class Optimizer(Protocol):
    """What a step needs of an optimiser: torch's own and MMEngine's wrappers have it."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameters and their settings, `lr` among them."""

    def step(self) -> Any:
        """Update the parameters from their gradients."""

    def zero_grad(self) -> None:
        """Release the gradients."""


@dataclass(frozen=True)
class Rarts:
    """lambda (`lam`) weighs the auxiliary loss, `beta` ties u to w, `order` is the order of updates.

    `gauss-seidel` is the thesis's Algorithm 2: four passes over half batches; alpha sees the new w and u. `fused` takes
    alpha's gradient from the same two passes as w's and u's: half the cost, the same equilibria (2.19).
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

    With plain SGD (no momentum, no weight decay) the step is exactly (2.12). `average` turns gradients into their
    mean over processes, in place.
    """

    loss_p: ProbingLoss
    loss_a: ProbingLoss
    u: Sequence[nn.Parameter]
    w: Sequence[nn.Parameter]
    alpha: Sequence[nn.Parameter]
    opt_u: Optimizer
    opt_w: Optimizer
    opt_alpha: Optimizer
    average: Callable[[list[Tensor]], None] = lambda gradients: None


def rarts_step(sets: TwoSets, method: Rarts, penalty: Penalty) -> dict[str, Tensor]:
    """One iteration of (2.12) on the present mini-batches; returns the losses of the first two passes, detached.

    Example::

        logs = rarts_step(sets, Rarts(lam=1.0, beta=1.0), L1(1e-4))
    """
    return _ORDERS[method.order](sets, method, penalty)


def _gauss_seidel(s: TwoSets, m: Rarts, penalty: Penalty) -> dict[str, Tensor]:
    # w' = w - eta_w (lambda grad_w L_a(w, alpha) + beta (w - u))
    loss_a = s.loss_a()
    _descend(s.opt_w, s.w, _gradients(s, m.lam * loss_a, s.w), s.u, m.beta)
    # u' = u - eta_u (grad_u L_p(u, alpha) + beta (u - w'))
    loss_p = s.loss_p()
    _descend(s.opt_u, s.u, _gradients(s, loss_p, s.u), s.w, m.beta)
    # a' = a - eta_a (lambda grad_a L_a(w', a) + grad_a L_p(u', a) + gamma grad P(a)); no weight gradients here, and
    # the second pass of each batch, so BatchNorm's statistics have seen it
    grad_a = torch.autograd.grad(m.lam * s.loss_a(probe=True), s.alpha)
    grad_p = torch.autograd.grad(s.loss_p(probe=True), s.alpha)
    descend_scores(s.opt_alpha, s.alpha, _averaged(s, torch._foreach_add(grad_a, grad_p)), penalty)
    return {"loss_p": loss_p.detach(), "loss_a": loss_a.detach()}


def _fused(s: TwoSets, m: Rarts, penalty: Penalty) -> dict[str, Tensor]:
    # One pass of each loss gives the gradients of its weights and of alpha, all at the present point. The coupling of u
    # still sees the new w', which costs nothing.
    loss_a = s.loss_a()
    grad_wa = _gradients(s, m.lam * loss_a, [*s.w, *s.alpha])
    loss_p = s.loss_p()
    grad_up = _gradients(s, loss_p, [*s.u, *s.alpha])
    _descend(s.opt_w, s.w, grad_wa[: len(s.w)], s.u, m.beta)
    _descend(s.opt_u, s.u, grad_up[: len(s.u)], s.w, m.beta)
    grad_alpha = list(torch._foreach_add(grad_wa[len(s.w) :], grad_up[len(s.u) :]))
    descend_scores(s.opt_alpha, s.alpha, grad_alpha, penalty)
    return {"loss_p": loss_p.detach(), "loss_a": loss_a.detach()}


_ORDERS = {"gauss-seidel": _gauss_seidel, "fused": _fused}


def gradients_of(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of `loss`, 0 for parameters that it does not depend on: a detector may have some."""
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return [torch.zeros_like(p) if gradient is None else gradient for gradient, p in pairs]


def _gradients(s: TwoSets, loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return _averaged(s, gradients_of(loss, parameters))


def _averaged(s: TwoSets, gradients: Sequence[Tensor]) -> list[Tensor]:
    grads = list(gradients)
    s.average(grads)
    return grads


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


def descend_scores(
    optimizer: Optimizer, alpha: Sequence[nn.Parameter], gradients: list[Tensor], penalty: Penalty
) -> None:
    """Step alpha along gradient + gamma grad P, then the proximal step with alpha's learning rate."""
    with torch.no_grad():
        penalty.add_gradient(alpha, gradients)
    apply_gradients(optimizer, alpha, gradients)
    with torch.no_grad():
        penalty.prox(alpha, step=float(optimizer.param_groups[0]["lr"]))


def apply_gradients(optimizer: Optimizer, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """Give `parameters` their gradients and step; the gradients are released afterwards."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad()
