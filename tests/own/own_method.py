"""Scores that move in proportion to their size: what is small fades, what is zero stays zero."""

from dataclasses import dataclass
from typing import Annotated

import torch

from compress.penalties import Penalty
from compress.plan import Range
from compress.search import METHODS, Gates, Iteration, Logs, Method, OneSet, apply_gradients


@dataclass(frozen=True)
class Proportional:
    """`power`: of a score's size, 0 for plain descent."""

    power: Annotated[float, Range(at_least=0, at_most=10)] = 1.0


def proportional_step(s: OneSet, method: Proportional, penalty: Penalty) -> Logs:
    """w' = w - eta_w grad_w L(w, a); a' = a - eta_a |a|^power (grad_a L(w, a) + gamma grad P(a)), then the prox."""
    loss = s.loss()
    grad_w, grad_alpha = s.gradients(loss)
    apply_gradients(s.opt_w, s.w, grad_w)
    with torch.no_grad():
        penalty.add_gradient(s.alpha, grad_alpha)
        for alpha, gradient in zip(s.alpha, grad_alpha, strict=True):
            gradient.mul_(alpha.abs() ** method.power)
    apply_gradients(s.opt_alpha, s.alpha, grad_alpha)
    with torch.no_grad():
        penalty.prox(s.alpha, step=float(s.opt_alpha.param_groups[0]["lr"]))
    return {"loss": loss.detach()}


def step(it: Iteration) -> Logs:
    return proportional_step(OneSet.of(it), it.settings, it.penalty)


METHODS.add(Method("proportional", Proportional, step=step, networks=1, source=Gates))
