"""Network Slimming (Liu et al., arXiv 1708.06519): weights and scores trained jointly on all of D, l1 on the scores.

The scores are the scales of the BatchNorms in front of the scored channels' readers, as in the paper; they are part of
the network, so there are no gates. Updates use one optimiser, momentum and weight decay included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..penalties import L1
from .rarts import Loss, Optimizer, apply_gradients, descend_scores


@dataclass(frozen=True)
class NetSlim:
    """NetSlim has no parameters besides the penalty's gamma."""


@dataclass
class OneSet:
    """What a joint step acts on: loss, weights and scores, their optimisers, and the mean over processes."""

    loss: Loss
    w: Sequence[nn.Parameter]
    alpha: Sequence[nn.Parameter]
    opt_w: Optimizer
    opt_alpha: Optimizer
    average: Callable[[list[Tensor]], None] = lambda gradients: None


def netslim_step(s: OneSet, method: NetSlim, penalty: L1) -> dict[str, Tensor]:
    """w' = w - eta_w grad_w L(w, a); a' = a - eta_a (grad_a L(w, a) + gamma sign(a)); returns the loss, detached."""
    loss = s.loss()
    gradients = list(torch.autograd.grad(loss, [*s.w, *s.alpha]))
    s.average(gradients)
    apply_gradients(s.opt_w, s.w, gradients[: len(s.w)])
    descend_scores(s.opt_alpha, s.alpha, gradients[len(s.w) :], penalty)
    return {"loss": loss.detach()}
