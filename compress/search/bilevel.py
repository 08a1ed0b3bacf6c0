"""First- and second-order DARTS (Liu et al., arXiv 1806.09055) and first-order MiLeNAS (He et al., arXiv 2003.12238).

One weight set w and alpha. In the thesis's notation L_a is the loss on the training half D_a, L_p that on the
validation half D_p. Weights descend L_a alone; the methods differ in what alpha follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..penalties import Penalty
from ..plan import check_number
from .descent import Gradients, Logs, Optimizer, ProbingLoss, apply_gradients, descend_scores, gradients_of
from .method import METHODS, Iteration, Method
from .sources import Gates


@dataclass(frozen=True)
class Darts1:
    """First-order DARTS (2.21) has no parameters."""


@dataclass(frozen=True)
class Darts2:
    """Second-order DARTS. `xi`: the virtual step's length, None for the weights' present learning rate; `epsilon`: of
    the finite difference, divided by the norm of the direction (0.01 in the paper)."""

    xi: float | None = None
    epsilon: float = 0.01

    def __post_init__(self) -> None:
        if self.xi is not None:
            check_number("search.method.xi", self.xi, at_least=0)
        check_number("search.method.epsilon", self.epsilon, above=0)


@dataclass(frozen=True)
class MiLeNas1:
    """First-order MiLeNAS (2.23). `lam`: weight of the validation loss in alpha's step."""

    lam: float = 1.0

    def __post_init__(self) -> None:
        check_number("search.method.lam", self.lam, at_least=0)


@dataclass
class Bilevel:
    """What a bilevel step acts on: training and validation loss, w, alpha and their optimisers.

    `gradient(loss, parameters)` are gradients, averaged over processes.
    """

    loss_a: ProbingLoss
    loss_p: ProbingLoss
    w: Sequence[nn.Parameter]
    alpha: Sequence[nn.Parameter]
    opt_w: Optimizer
    opt_alpha: Optimizer
    gradient: Gradients = gradients_of

    @classmethod
    def of(cls, it: Iteration) -> Bilevel:
        """The one set of an iteration of a search, trained on D_a and validated on D_p."""
        return cls(loss_a=it.loss("w", "a"), loss_p=it.loss("w", "p"), **it.sets())


def darts1_step(s: Bilevel, method: Darts1, penalty: Penalty) -> Logs:
    """(2.21): w' = w - eta_w grad_w L_a(w, a); a' = a - eta_a (grad_a L_p(w', a) + gamma grad P)."""
    loss_a = s.loss_a()
    apply_gradients(s.opt_w, s.w, s.gradient(loss_a, s.w))
    loss_p = s.loss_p()
    descend_scores(s.opt_alpha, s.alpha, s.gradient(loss_p, s.alpha), penalty)
    return {"loss_p": loss_p.detach(), "loss_a": loss_a.detach()}


def milenas1_step(s: Bilevel, method: MiLeNas1, penalty: Penalty) -> Logs:
    """(2.23): w' as DARTS; a' = a - eta_a (grad_a L_a(w', a) + lambda grad_a L_p(w', a) + gamma grad P)."""
    loss_a = s.loss_a()
    apply_gradients(s.opt_w, s.w, s.gradient(loss_a, s.w))
    loss_p = s.loss_p()
    validation = s.gradient(loss_p, s.alpha)
    gradients = s.gradient(s.loss_a(probe=True), s.alpha)
    torch._foreach_add_(gradients, validation, alpha=method.lam)
    descend_scores(s.opt_alpha, s.alpha, gradients, penalty)
    return {"loss_p": loss_p.detach(), "loss_a": loss_a.detach()}


def darts2_step(s: Bilevel, method: Darts2, penalty: Penalty) -> Logs:
    """alpha follows grad_a L_p(w - xi grad_w L_a(w, a), a), then w descends L_a at the new alpha.

    By the chain rule grad = grad_a L_p(w~, a) - xi (d^2 L_a / da dw) v with v = grad_w L_p(w~, a); the product with the
    mixed second derivative is a central difference of grad_a L_a at w +- epsilon v / |v|. Weights are restored
    bit by bit after the virtual steps.
    """
    xi = float(s.opt_w.param_groups[0]["lr"]) if method.xi is None else method.xi
    kept = [p.detach().clone() for p in s.w]
    _shift(s.w, kept, s.gradient(s.loss_a(probe=True), s.w), -xi)
    loss_p = s.loss_p(probe=True)
    gradients = s.gradient(loss_p, [*s.alpha, *s.w])
    grad_a, v = gradients[: len(s.alpha)], gradients[len(s.alpha) :]
    norm, tiny = float(torch.stack(torch._foreach_norm(v)).norm()), torch.finfo(torch.float32).tiny
    if norm > tiny:  # not of NaN, which alpha's gradient hands on
        epsilon = max(method.epsilon / norm, tiny)
        _shift(s.w, kept, v, epsilon)
        plus = s.gradient(s.loss_a(probe=True), s.alpha)
        _shift(s.w, kept, v, -epsilon)
        minus = s.gradient(s.loss_a(probe=True), s.alpha)
        torch._foreach_sub_(plus, minus)
        torch._foreach_add_(grad_a, plus, alpha=-xi / (2 * epsilon))
    _shift(s.w, kept, v, 0)
    descend_scores(s.opt_alpha, s.alpha, grad_a, penalty)
    loss_a = s.loss_a()
    apply_gradients(s.opt_w, s.w, s.gradient(loss_a, s.w))
    return {"loss_p": loss_p.detach(), "loss_a": loss_a.detach()}


@torch.no_grad()
def _shift(w: Sequence[Tensor], start: list[Tensor], direction: Sequence[Tensor], length: float) -> None:
    """w = start + length * direction, in place."""
    torch._foreach_copy_(list(w), start)
    if length:
        torch._foreach_add_(list(w), list(direction), alpha=length)


def _method(name: str, settings: type[Any], step: Callable[[Bilevel, Any, Penalty], Logs]) -> Method:
    def one(it: Iteration) -> Logs:
        return step(Bilevel.of(it), it.settings, it.penalty)

    return Method(name, settings, step=one, networks=1, halves=True, source=Gates)


METHODS.add(_method("darts1", Darts1, darts1_step))
METHODS.add(_method("darts2", Darts2, darts2_step))
METHODS.add(_method("milenas1", MiLeNas1, milenas1_step))
