"""What theory says of RARTS: Theorem 2.2's step bounds, and the solvable model (Example 2.4, figure 2.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..penalties import L1
from ..plan import UserError
from .bilevel import Darts1, Darts2, MiLeNas1
from .descent import ProbingLoss
from .method import METHODS, Iteration
from .rarts import Rarts
from .sources import Scales

OPTIMUM = (1.0, 1.0)
"""(w, alpha) that solves the bilevel problem of the solvable model."""


@dataclass(frozen=True)
class StepBounds:
    """Largest learning rates for which Theorem 2.2 guarantees descent of the Lagrangian."""

    eta_u: float
    eta_w: float
    eta_alpha: float


def step_bounds(lipschitz: float, *, lam: float, beta: float, gamma: float = 0.0) -> StepBounds:
    """(2.15): 1/2 (beta/2 + L)^-1, 1/2 (beta/2 + lambda L)^-1, 1/2 ((1 + lambda + gamma/2) L)^-1.

    UserError unless it is positive.

    Args:
        lipschitz: L, of the gradients of L_p, L_a and P.
        lam, beta, gamma: as the method's.

    Example::

        bounds = step_bounds(2.0, lam=10, beta=10)
    """
    if lipschitz <= 0:
        raise UserError(f"lipschitz = {lipschitz}: must be positive; it bounds how fast the gradients change")
    return StepBounds(
        eta_u=0.5 / (beta / 2 + lipschitz),
        eta_w=0.5 / (beta / 2 + lam * lipschitz),
        eta_alpha=0.5 / ((1 + lam + gamma / 2) * lipschitz),
    )


def equilibrium(lam: float, beta: float) -> tuple[float, float, float]:
    """RARTS's limit (u, w, alpha) on the solvable model: Example 2.4 in closed form; (1, 1) up to O(1/beta + 1/lambda).

    Raises UserError where 4 beta lambda - beta - 2 lambda = 0: there is no equilibrium.
    """
    q = 4 * beta * lam - beta - 2 * lam
    if q == 0:
        raise UserError(f"lam = {lam}, beta = {beta}: 4 beta lam - beta - 2 lam must not be 0; change either")
    w = (4 * beta * lam - 2 * beta) / q
    return w - 4 * lam / q, w, 4 * beta * lam / q


def toy_loss_p(w: Tensor, alpha: Tensor) -> Tensor:
    """L_p = alpha w - 2 alpha + 1."""
    return alpha * w - 2 * alpha + 1


def toy_loss_a(w: Tensor, alpha: Tensor) -> Tensor:
    """L_a = (w - alpha)^2."""
    return (w - alpha) ** 2


def toy_trajectory(
    method: Rarts | Darts1 | Darts2 | MiLeNas1, *, start: tuple[float, float], eta: float = 0.01, steps: int = 5000
) -> Tensor:
    """Path of (w, alpha) on the solvable model under plain gradient steps of rate `eta`, float64 [steps + 1, 2].

    Args:
        method: with its settings.
        start: (w, alpha); RARTS's u starts where w does.
        eta: rate of every variable.
        steps: how many.

    Example::

        path = toy_trajectory(Rarts(lam=10, beta=10), start=(0.0, 0.0), eta=0.04, steps=500)
    """
    w, u = (nn.Parameter(torch.tensor(start[0], dtype=torch.float64)) for _ in range(2))
    alpha = nn.Parameter(torch.tensor(start[1], dtype=torch.float64))
    step = _stepper(method, w, u, alpha, eta)
    path = [torch.stack([w.detach(), alpha.detach()])]
    for _ in range(steps):
        step()
        path.append(torch.stack([w.detach(), alpha.detach()]))
    return torch.stack(path)


def _stepper(method: Any, w: nn.Parameter, u: nn.Parameter, alpha: nn.Parameter, eta: float) -> Callable[[], Any]:
    listed = next(other for other in METHODS.values() if other.settings is type(method))
    assert listed.step is not None
    source, points, losses = Scales({"alpha": alpha}), {"u": u, "w": w}, {"p": toy_loss_p, "a": toy_loss_a}

    def loss(name: str, half: str | None) -> ProbingLoss:
        assert half is not None, "the model has two losses, of two halves"
        return lambda *, probe=False: losses[half](points[name], alpha)

    sets = {**{name: [points[name]] for name in listed.weight_sets}, "alpha": source.alpha()}
    optimizers = {name: torch.optim.SGD(parameters, lr=eta) for name, parameters in sets.items()}
    it = Iteration(method, L1(0.0), 0.0, source, loss, sets, optimizers)
    return partial(listed.step, it)
