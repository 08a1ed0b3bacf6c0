"""What the order of RARTS's updates does to the scores where batches are noisy: a model of it, to first order.

One weight, one score, targets y = 1/2 + noise or 1/2 - noise, a fresh one for every step and half:

    L(w, alpha; y) = 1/2 (alpha w - y)^2 + 1/2 (w - 1)^2

On all batches at once the equilibrium (2.19) is w = u = 1, alpha = 1/2, in both orders. Gauss-Seidel takes alpha's
gradient on the batch that w has just stepped on, which shifts its mean by -eta_w lambda^2 Cov(d^2 L/dalpha dw, dL/dw).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ..penalties import L1
from .rarts import Rarts, TwoSets, rarts_step

TARGET = 0.5
EQUILIBRIUM = (1.0, 1.0, TARGET)
"""(u, w, alpha) of all batches at once, whatever lambda and beta are."""
MakeOptimizer = Callable[[list[nn.Parameter]], Any]


def noisy_loss(w: Tensor, alpha: Tensor, y: Tensor) -> Tensor:
    """Sum of L over independent copies of the model, [copies] each, so that one step moves all of them."""
    return (0.5 * (alpha * w - y) ** 2 + 0.5 * (w - 1) ** 2).sum()


class NoisyModel:
    """Independent copies of the model at its equilibrium, moved by RARTS's own step; float64 [copies] each.

    Args:
        method: with its settings.
        copies: how many.
        optimizer: of each set of parameters, made from their list.
    """

    def __init__(self, method: Rarts, *, copies: int, optimizer: MakeOptimizer) -> None:
        self.method = method
        self.u, self.w, self.alpha = (
            nn.Parameter(torch.full((copies,), value, dtype=torch.float64)) for value in EQUILIBRIUM
        )
        self.y = {"p": torch.empty(0), "a": torch.empty(0)}
        self.sets = TwoSets(
            loss_p=lambda *, probe=False: noisy_loss(self.u, self.alpha, self.y["p"]),
            loss_a=lambda *, probe=False: noisy_loss(self.w, self.alpha, self.y["a"]),
            u=[self.u],
            w=[self.w],
            alpha=[self.alpha],
            opt_u=optimizer([self.u]),
            opt_w=optimizer([self.w]),
            opt_alpha=optimizer([self.alpha]),
        )

    def step(self, y_p: Tensor, y_a: Tensor) -> None:
        """One iteration on the batches `y_p` of D_p and `y_a` of D_a, [copies] each."""
        self.y = {"p": y_p, "a": y_a}
        rarts_step(self.sets, self.method, L1(0.0))


def descent(eta: float, *, momentum: float = 0.0, weight_decay: float = 0.0) -> MakeOptimizer:
    """Makes SGD at the rate `eta`."""
    return lambda parameters: torch.optim.SGD(parameters, lr=eta, momentum=momentum, weight_decay=weight_decay)


def score_shift(method: Rarts, *, eta: float, noise: float) -> float:
    """Mean step of alpha from the equilibrium, over all pairs of batches, divided by its rate: exact, nothing is drawn.

    Args:
        method: with its settings.
        eta: rate of every variable.
        noise: distance of the targets from their mean.

    Example::

        score_shift(Rarts(order="fused"), eta=0.01, noise=1.0)  # 0, up to rounding
    """
    pairs = torch.tensor(list(product((-noise, noise), repeat=2)), dtype=torch.float64) + TARGET
    model = NoisyModel(method, copies=len(pairs), optimizer=descent(eta))
    model.step(pairs[:, 0], pairs[:, 1])
    return float((model.alpha.detach() - TARGET).mean()) / eta


def predicted_shift(method: Rarts, *, eta: float, noise: float) -> float:
    """`score_shift` of Gauss-Seidel to first order in eta: eta (1 + lambda^2) Cov, with Cov = alpha noise^2 here.

    Args:
        method: with its settings.
        eta: rate of every variable.
        noise: distance of the targets from their mean.
    """
    return eta * (1 + method.lam**2) * TARGET * noise**2


def predicted_bias(*, eta: float, noise: float) -> float:
    """How far Gauss-Seidel's mean alpha then lies from fused's, to first order, with lambda 1.

    Weights follow alpha: (1 + alpha^2) dw = -alpha dalpha. Alpha's own equation then is
    2 (1 - alpha^2 / (1 + alpha^2)) dalpha = shift.
    """
    stiffness = 2 * (1 - TARGET**2 / (1 + TARGET**2))
    return predicted_shift(Rarts(), eta=eta, noise=noise) / stiffness


def mean_score(
    method: Rarts, *, optimizer: MakeOptimizer, noise: float, steps: int, copies: int, seed: int
) -> tuple[float, float]:
    """Mean alpha of the last half of `steps` over all copies, and its standard error.

    Args:
        method: with its settings.
        optimizer: of each set of parameters, made from their list.
        noise: distance of the targets from their mean.
        steps: how many; the first half is left to settle.
        copies: independent runs.
        seed: of the batches.
    """
    generator = torch.Generator().manual_seed(seed)
    model = NoisyModel(method, copies=copies, optimizer=optimizer)
    total = torch.zeros(copies, dtype=torch.float64)
    for step in range(steps):
        signs = torch.randint(0, 2, (2, copies), generator=generator, dtype=torch.int8).double() * 2 - 1
        model.step(*(TARGET + noise * signs))
        if step >= steps // 2:
            total += model.alpha.detach()
    means = total / (steps - steps // 2)
    return float(means.mean()), float(means.std() / copies**0.5)
