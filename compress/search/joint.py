"""Single-level methods: weights and scores, or weights alone, trained on all of D.

`joint`: gates and weights by one gradient with a penalty on the gates. `netslim`: Network Slimming (Liu et al.,
arXiv 1708.06519), the same step with the BatchNorms' scales as scores. `rvsm`: relaxed variable splitting (2.6) of the
thesis, on gates (l0, l1) or on filters (group l1). `grouplasso`: the norm of every filter as a penalty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..penalties import L1, Penalty, group_soft_threshold, hard_threshold, soft_threshold
from ..plan import UserError, check_number
from .descent import Gradients, Logs, Loss, Optimizer, apply_gradients, descend_scores, gradients_of
from .method import METHODS, Iteration, Method
from .sources import Filters, Gates, Scales, ScoreSource, Site


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
    """What a joint step acts on: loss, weights and scores, their optimisers, and gradients as means over processes."""

    loss: Loss
    w: Sequence[nn.Parameter]
    alpha: Sequence[nn.Parameter]
    opt_w: Optimizer
    opt_alpha: Optimizer
    gradient: Gradients = gradients_of

    @classmethod
    def of(cls, it: Iteration) -> OneSet:
        """The one set of an iteration of a search, trained on D."""
        return cls(loss=it.loss("w", None), **it.sets())

    def gradients(self, loss: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Gradients of w and of alpha, averaged over processes."""
        gradients = self.gradient(loss, [*self.w, *self.alpha])
        return gradients[: len(self.w)], gradients[len(self.w) :]


def joint_step(s: OneSet, method: Joint | NetSlim, penalty: Penalty) -> Logs:
    """w' = w - eta_w grad_w L(w, a); a' = a - eta_a (grad_a L(w, a) + gamma grad P(a)), at the same point."""
    loss = s.loss()
    grad_w, grad_alpha = s.gradients(loss)
    apply_gradients(s.opt_w, s.w, grad_w)
    descend_scores(s.opt_alpha, s.alpha, grad_alpha, penalty)
    return {"loss": loss.detach()}


def rvsm_step(s: OneSet, u: Sequence[Tensor], method: Rvsm, gamma: float) -> Logs:
    """(2.6), with alpha as the split variable: a' = a - eta (grad L + beta (a - u)); u' = prox of gamma/beta P at a'.

    `u` is updated in place. For l0 the prox keeps |a| > sqrt(2 gamma / beta), for l1 it is soft thresholding by
    gamma / beta, for groups (rows of each tensor) block soft thresholding.

    Args:
        s: the network's losses, parameters and optimisers.
        u: the shrunk scores, updated in place.
        method: lambda and beta, and which prox.
        gamma: strength of the penalty.
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


def grouplasso_step(s: OneSet, method: GroupLasso, penalty: L1) -> Logs:
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
    norms: Tensor = filters.flatten(1).norm(dim=1)
    return norms.view(-1, *[1] * (filters.dim() - 1))


class Split(nn.Module, ScoreSource):
    """RVSM's scores: a split variable u beside the gates or filters that alpha's optimiser moves, at first equal."""

    place = "split"

    def __init__(self, inner: ScoreSource) -> None:
        super().__init__()
        self.inner = inner
        self.u = nn.ParameterList(nn.Parameter(a.detach().clone(), requires_grad=False) for a in inner.alpha())

    @classmethod
    def of(cls, networks: Sequence[nn.Module], site: Site) -> Split:
        """Beside filters for the group penalty, else beside gates."""
        inner: type[ScoreSource] = Filters if site.settings.penalty == "group" else Gates
        return cls(inner.of(networks, site))

    def alpha(self) -> list[nn.Parameter]:
        """The gates or filters."""
        return self.inner.alpha()

    def scores(self, values: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """What u scores, which the penalty makes exactly zero in places."""
        return self.inner.scores(list(self.u) if values is None else values)

    def gating(self) -> dict[str, Tensor] | None:
        """The scores, where they are gates."""
        return None if self.inner.gating() is None else self.scores()


def _joint(it: Iteration) -> Logs:
    return joint_step(OneSet.of(it), it.settings, it.penalty)


def _rvsm(it: Iteration) -> Logs:
    assert isinstance(it.source, Split)
    return rvsm_step(OneSet.of(it), list(it.source.u), it.settings, it.gamma)


def _grouplasso(it: Iteration) -> Logs:
    assert isinstance(it.penalty, L1)
    return grouplasso_step(OneSet.of(it), it.settings, it.penalty)


METHODS.add(Method("joint", Joint, step=_joint, networks=1, source=Gates))
METHODS.add(Method("netslim", NetSlim, step=_joint, networks=1, source=Scales))
METHODS.add(
    Method(
        "rvsm",
        Rvsm,
        step=_rvsm,
        networks=1,
        source=Split,
        penalties=(),
        own_penalty=lambda settings: str(settings.penalty),
        zeros=True,
    )
)
METHODS.add(
    Method(
        "grouplasso", GroupLasso, step=_grouplasso, networks=1, source=Filters, penalties=("subgradient", "proximal")
    )
)
