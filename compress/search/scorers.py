"""Scores that need no search: random, the magnitude of filters, and the first-order Taylor expansion of the loss.

Filter pruning by magnitude: Li et al., arXiv 1608.08710. Taylor: Molchanov et al., arXiv 1906.10771, with gates; made
aware of latency as in NViT: Yang et al., arXiv 2110.04869.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..costs import LatencyTable
from ..plan import UserError, check_number
from ..spaces import Alphas, Group, Space, sizes
from .method import METHODS, Method, Scoring


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
    """Mean of (dL/d alpha)^2 at alpha = 1 over `batches` training batches: the squared first-order loss change.

    With a `latency_weight` above 0 a channel's share of the latency counts against its share of that; see
    `latency_aware`, and `channel_savings` for where the latency comes from.
    """

    batches: int = 20
    latency_weight: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.batches, int) or self.batches < 1:
            raise UserError(f"search.method.batches = {self.batches!r}: must be a whole number of at least 1")
        check_number("search.method.latency_weight", self.latency_weight, at_least=0)


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
    for side in (group.writes, group.reads):
        weights = [(each, model.get_submodule(each.module)._parameters.get("weight")) for each in side]
        if own := [
            each.per_channel(weight, group.size)
            for each, weight in weights
            if weight is not None and weight.dim() > 1 and each.includes("weight", weight)
        ]:
            break
    return torch.cat(own, dim=1)


def taylor_scores(
    model: nn.Module, space: Space, loss: Callable[[nn.Module, Any], Tensor], batches: Iterable[Any]
) -> dict[str, Tensor]:
    """Mean squared gate gradients of `loss(model, batch)`, {group: float32 [C]}; the model is unchanged.

    Args:
        model: the network; it stays as it is.
        space: its space.
        loss: of the model on a batch.
        batches: what to take the mean over.
    """
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


def latency_aware(importances: Mapping[str, Tensor], savings: Mapping[str, float], weight: float) -> dict[str, Tensor]:
    """NViT's I_c / sum(I) - weight * saving_g for every channel c of group g, {group: float32 [C]}, none below 0.

    `savings` {group: share of the unpruned network's latency that a channel less saves}. Importances are divided by
    their sum over all groups, so both terms are shares of the whole network, and `weight` means the same for every
    network: at 1, a channel that takes a thousandth of the latency has to hold a thousandth of the importance.

    Selection ranks by size, so where a score is negative, all scores are raised by the same amount until the lowest is
    0. Ranks do not change, sums do: a budget of latency, which adds scores up, then also favours many channels over
    few.

    Example::

        latency_aware({"a": torch.tensor([3.0, 1.0])}, {"a": 0.5}, 1.0)  # 0.75 - 0.5, 0.25 - 0.5 -> [0.5, 0]
    """
    total = max(sum(float(importance.double().sum()) for importance in importances.values()), 1e-300)
    scores = {name: value.double() / total - weight * savings[name] for name, value in importances.items()}
    lowest = min(float(score.min()) for score in scores.values())
    return {name: (score - min(lowest, 0.0)).float() for name, score in scores.items()}


def channel_savings(table: LatencyTable, space: Space, input_size: tuple[int, int, int]) -> dict[str, float]:
    """Share of the unpruned network's latency that one channel less of each group saves, {group: share}.

    It is what the group saves between its full width and the narrowest of the table (0, a removed block, does not
    count), over the channels between, with all other groups at their full widths. One step at the full width would not
    do: latency is a staircase, most single channels save nothing, some save a whole step, and a step that is small was
    measured badly. A group that is slower when narrow has a negative saving; one of a single width saves 0.
    Raises UserError when the table lacks a group, its full width, or an operator.
    """
    full, operators = sizes(space.groups), space.operators(input_size)
    if missing := [name for name in full if name not in table.widths]:
        raise UserError(f"latency table: has no group {missing[0]!r}; it is another network's: profile this one")
    whole, savings = table.predict(operators, full).ratio, {}
    for name, n in full.items():
        least = min(width for width in table.widths[name] if width > 0)
        saved = whole - table.predict(operators, {**full, name: least}).ratio
        savings[name] = saved / (n - least) if least < n else 0.0
    return savings


def _random(s: Scoring) -> dict[str, Tensor]:
    return random_scores(s.space, seed=s.seed)


def _magnitude(s: Scoring) -> dict[str, Tensor]:
    return magnitude_scores(s.network, s.space, s.settings)


def _taylor(s: Scoring) -> dict[str, Tensor]:
    method: Taylor = s.settings
    savings = s.savings() if method.latency_weight > 0 else None  # may refuse the table, so before any gradient
    batches = s.batches()
    scores = taylor_scores(s.on_device(), s.space, s.loss, islice(batches, method.batches))
    return scores if savings is None else latency_aware(scores, savings, method.latency_weight)


RANDOM = METHODS.add(Method("random", RandomScores, score=_random, batches=False))
METHODS.add(Method("magnitude", Magnitude, score=_magnitude, batches=False))
METHODS.add(Method("taylor", Taylor, score=_taylor, table_weight="latency_weight"))
