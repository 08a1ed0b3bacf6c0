"""Scores that need no search: random, the magnitude of filters, and the first-order Taylor expansion of the loss.

Filter pruning by magnitude: Li et al., arXiv 1608.08710. Taylor: Molchanov et al., arXiv 1906.10771, with gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..plan import UserError
from ..spaces import Alphas, Group, Space


@dataclass(frozen=True)
class RandomScores:
    """Uniform in [0, 1): the baseline every method must beat."""


@dataclass(frozen=True)
class Magnitude:
    """Norm of order `p` (1 or 2) of each channel's filter, over its group's mean, so that groups compare."""

    p: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        if self.p not in (1, 2):
            raise UserError(f"search.method.p = {self.p!r}: the order of the norm must be 1 or 2")


@dataclass(frozen=True)
class Taylor:
    """Mean of (dL/d alpha)^2 at alpha = 1 over `batches` training batches: the squared first-order loss change."""

    batches: int = 20

    def __post_init__(self) -> None:
        if not isinstance(self.batches, int) or self.batches < 1:
            raise UserError(f"search.method.batches = {self.batches!r}: must be a whole number of at least 1")


def random_scores(space: Space, *, seed: int) -> dict[str, Tensor]:
    """Seeded uniform scores, {group: float32 [C]}."""
    generator = torch.Generator().manual_seed(seed)
    return {group.name: torch.rand(group.size, generator=generator) for group in space.groups}


def magnitude_scores(model: nn.Module, space: Space, method: Magnitude) -> dict[str, Tensor]:
    """Normalised filter norms, {group: float32 [C]}; a group that nobody produces alone is scored by its readers."""
    scores = {}
    for group in space.groups:
        rows = channel_rows(model, group)
        norm = rows.detach().float().norm(p=method.p, dim=1).cpu()
        scores[group.name] = norm / norm.mean().clamp_min(1e-12)
    return scores


def channel_rows(model: nn.Module, group: Group) -> Tensor:
    """All weights of each channel of `group`, [C, weights]: rows of its producers, or columns of its readers."""
    producers = [w for w in (_weight(model, name) for name in group.outputs) if w.dim() > 1]
    if producers:
        # Rows are laid out as [copies, C].
        rows = [w.unflatten(0, (group.row_copies, group.size)).transpose(0, 1) for w in producers]
        return torch.cat([row.flatten(1) for row in rows], dim=1)
    return torch.cat([_weight(model, name).transpose(0, 1).flatten(1) for name in group.inputs], dim=1)


def taylor_scores(
    model: nn.Module, space: Space, loss: Callable[[nn.Module, Any], Tensor], batches: Iterable[Any]
) -> dict[str, Tensor]:
    """Mean squared gate gradients of `loss(model, batch)`, {group: float32 [C]}; the model is unchanged."""
    alphas = Alphas(space.groups).to(next(model.parameters()).device)
    handles, training = alphas.attach(model), model.training
    parameters = [alphas[group.name] for group in space.groups]
    sums = [torch.zeros_like(p) for p in parameters]
    model.eval()
    count = 0
    for batch in batches:
        gradients = torch.autograd.grad(loss(model, batch), parameters)
        torch._foreach_add_(sums, [g.square() for g in gradients])
        count += 1
    for handle in handles:
        handle.remove()
    model.train(training)
    return {group.name: (s / max(count, 1)).cpu() for group, s in zip(space.groups, sums, strict=True)}


def _weight(model: nn.Module, name: str) -> Tensor:
    return model.get_parameter(f"{name}.weight")
