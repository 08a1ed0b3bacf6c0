"""What every step does: gradients of a loss, a descent along them, and the penalty's part in that of the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..penalties import Penalty

Logs = dict[str, Tensor]
"""Losses that a step returns, detached."""
Loss = Callable[[], Tensor]
"""Computes the scalar loss of the present mini-batch at the present values of the parameters."""
Gradients = Callable[[Tensor, Sequence[Tensor]], list[Tensor]]
"""Gradients of a loss, their mean over processes: `gradients_of` where there is one."""


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


def gradients_of(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of `loss`, 0 for parameters that it does not depend on: a detector may have some."""
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return [torch.zeros_like(p) if gradient is None else gradient for gradient, p in pairs]


def apply_gradients(optimizer: Optimizer, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """Give `parameters` their gradients and step; the gradients are released afterwards."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad()


def descend_scores(
    optimizer: Optimizer, alpha: Sequence[nn.Parameter], gradients: list[Tensor], penalty: Penalty
) -> None:
    """Step alpha along gradient + gamma grad P, then the proximal step with alpha's learning rate.

    Args:
        optimizer: alpha's.
        alpha: the scores, changed in place.
        gradients: of the loss, one for each of them; they are changed too.
        penalty: gamma P.
    """
    with torch.no_grad():
        penalty.add_gradient(alpha, gradients)
    apply_gradients(optimizer, alpha, gradients)
    with torch.no_grad():
        penalty.prox(alpha, step=float(optimizer.param_groups[0]["lr"]))
