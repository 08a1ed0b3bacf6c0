"""Single-level methods: weights and scores, or weights alone, trained on all of D.

`joint`: gates and weights by one gradient with a penalty on the gates. `netslim`: Network Slimming (Liu et al.,
arXiv 1708.06519), the same step with the BatchNorms' scales as scores. `rvsm`: relaxed variable splitting (2.6) of the
thesis, on gates (l0, l1) or on filters (group l1). `grouplasso`: the norm of every filter as a penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..penalties import L1, Penalty, group_soft_threshold, hard_threshold, soft_threshold
from ..plan import UserError, check_number
from .rarts import Loss, Optimizer, apply_gradients, descend_scores, gradients_of


@dataclass(frozen=True)
class Joint:
    """Joint training has no parameters besides the penalty's gamma."""


@dataclass(frozen=True)
class NetSlim:
    """Network Slimming has no parameters besides the penalty's gamma."""


@dataclass(frozen=True)
class GroupLasso:
    """Group lasso has no parameters besides the penalty's gamma."""


@dataclass(frozen=True)
class Rvsm:
    """RVSM: `penalty` on the split variable u, `beta` the strength of the coupling (2.6)."""

    penalty: Literal["l0", "l1", "group"] = "l1"
    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.penalty not in ("l0", "l1", "group"):
            raise UserError(f"search.method.penalty = {self.penalty!r}: must be 'l0', 'l1' or 'group'")
        check_number("search.method.beta", self.beta, above=0)


@dataclass
class OneSet:
    """What a joint step acts on: loss, weights and scores, their optimisers, and the mean over processes."""

    loss: Loss
    w: Sequence[nn.Parameter]
    alpha: Sequence[nn.Parameter]
    opt_w: Optimizer
    opt_alpha: Optimizer
    average: Callable[[list[Tensor]], None] = lambda gradients: None

    def gradients(self, loss: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Gradients of w and of alpha, averaged over processes."""
        gradients = gradients_of(loss, [*self.w, *self.alpha])
        self.average(gradients)
        return gradients[: len(self.w)], gradients[len(self.w) :]


def joint_step(s: OneSet, method: Joint | NetSlim, penalty: Penalty) -> dict[str, Tensor]:
    """w' = w - eta_w grad_w L(w, a); a' = a - eta_a (grad_a L(w, a) + gamma grad P(a)), at the same point."""
    loss = s.loss()
    grad_w, grad_alpha = s.gradients(loss)
    apply_gradients(s.opt_w, s.w, grad_w)
    descend_scores(s.opt_alpha, s.alpha, grad_alpha, penalty)
    return {"loss": loss.detach()}


def rvsm_step(s: OneSet, u: Sequence[Tensor], method: Rvsm, gamma: float) -> dict[str, Tensor]:
    """(2.6), with alpha as the split variable: a' = a - eta (grad L + beta (a - u)); u' = prox of gamma/beta P at a'.

    `u` is updated in place. For l0 the prox keeps |a| > sqrt(2 gamma / beta), for l1 it is soft thresholding by
    gamma / beta, for groups (rows of each tensor) block soft thresholding.
    """
    loss = s.loss()
    grad_w, grad_alpha = s.gradients(loss)
    with torch.no_grad():
        torch._foreach_add_(grad_alpha, torch._foreach_sub(list(s.alpha), list(u)), alpha=method.beta)
    apply_gradients(s.opt_w, s.w, grad_w)
    apply_gradients(s.opt_alpha, s.alpha, grad_alpha)
    prox = {"l0": _l0, "l1": soft_threshold, "group": group_soft_threshold}[method.penalty]
    with torch.no_grad():
        for split, a in zip(u, s.alpha, strict=True):
            split.copy_(prox(a, gamma / method.beta))
    return {"loss": loss.detach()}


def grouplasso_step(s: OneSet, method: GroupLasso, penalty: L1) -> dict[str, Tensor]:
    """Descend L + gamma sum_i |W_i| over the filters W_i (rows of alpha's tensors), by subgradient or prox."""
    loss = s.loss()
    grad_w, grad_filters = s.gradients(loss)
    apply_gradients(s.opt_w, s.w, grad_w)
    with torch.no_grad():
        if penalty.mode == "subgradient":
            for gradient, filters in zip(grad_filters, s.alpha, strict=True):
                gradient.add_(filters / _norms(filters).clamp_min(1e-12), alpha=penalty.gamma)
    apply_gradients(s.opt_alpha, s.alpha, grad_filters)
    if penalty.mode == "proximal":
        step = float(s.opt_alpha.param_groups[0]["lr"])
        with torch.no_grad():
            for filters in s.alpha:
                filters.copy_(group_soft_threshold(filters, step * penalty.gamma))
    return {"loss": loss.detach()}


def _l0(a: Tensor, ratio: float) -> Tensor:
    return hard_threshold(a, (2 * ratio) ** 0.5)


def _norms(filters: Tensor) -> Tensor:
    return filters.flatten(1).norm(dim=1).view(-1, *[1] * (filters.dim() - 1))
