"""WDPruning: width and depth pruning of vision transformers (Yu et al., AAAI 2022), its learnable widths.

Every group has a saliency s_i per channel and one threshold t. The mask keeps the k = ceil(sigmoid(t) C) channels of
the largest saliencies; gradients pass it straight through: grad_s = grad_mask, grad_t = its sum over what is kept.
Weights, saliencies and thresholds descend

    L + lambda_1 d + lambda_2 d^2,   d = max(R - target, 0)

where R is the share of the costs that is left at the widths sigmoid(t) C; the multipliers ascend it, from 0 (augmented
Lagrangian).

What differs from the paper and its published code: R counts MACs, not parameters; what is scored are the groups of the
space (dimensions of heads, hidden units) instead of whole heads and the rows of every linear layer; the multipliers
ascend by plain gradient steps, where the code has AdamW at the rate 10; the result is fine-tuned as every other. Its
depth part, classifiers behind intermediate blocks of which a user picks one, is left out: blocks go by
`select.floor=0`, for all methods alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..costs import macs
from ..plan import check_number
from ..spaces import Alphas, Group, Operator, sizes
from .descent import Logs, apply_gradients
from .joint import OneSet
from .method import METHODS, Iteration, Method
from .sources import ScoreSource, Site


@dataclass(frozen=True)
class WdPruning:
    """`target`: share of the MACs that may stay; `start`: every threshold at first (10 in the published code: all is
    kept); `multiplier_rate`: of the two multipliers' ascent."""

    target: float = 0.5
    start: float = 10.0
    multiplier_rate: float = 10.0

    def __post_init__(self) -> None:
        check_number("search.method.target", self.target, above=0, at_most=1)
        check_number("search.method.start", self.start, at_least=-20, at_most=20)
        check_number("search.method.multiplier_rate", self.multiplier_rate, above=0)


class KeepLargest(torch.autograd.Function):
    """(saliencies [C], threshold [1]) -> mask [C] of 0 and 1, straight through; of equals the first stay."""

    @staticmethod
    def forward(ctx: Any, saliency: Tensor, threshold: Tensor) -> Tensor:
        """1 for the `kept` largest."""
        order = saliency.sort(descending=True, stable=True).indices
        mask = torch.zeros_like(saliency)
        mask[order[: kept(threshold, len(saliency))]] = 1
        ctx.save_for_backward(mask)
        return mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """The mask's gradient for the saliencies, its sum over what is kept for the threshold."""
        (mask,), (gradient,) = ctx.saved_tensors, gradients
        return gradient, (gradient * mask).sum().view(1)


def kept(threshold: Tensor, n: int) -> int:
    """How many of `n` channels a threshold keeps: ceil(sigmoid(t) n), 1 at least."""
    return max(1, math.ceil(float(threshold.detach().double().sigmoid()) * n))


class Thresholds(Alphas, ScoreSource):
    """Saliencies and thresholds; gates read the masks that they make."""

    place = "thresholds"
    excess: Excess
    """What the search of `of` wants to be 0."""
    multipliers: Tensor

    def __init__(self, groups: Sequence[Group], start: float) -> None:
        super().__init__(groups)
        self.thresholds = nn.ParameterList(torch.full((1,), float(start)) for _ in self.groups)
        self.register_buffer("multipliers", torch.zeros(2))
        self.places = {group.name: i for i, group in enumerate(self.groups)}

    @classmethod
    def of(cls, networks: Sequence[nn.Module], site: Site) -> Self:
        """Masks on every network, which keep all channels unless `start` says otherwise."""
        found = cls(site.space.groups, site.settings.start)
        for network in networks:
            found.attach(network)
        found.excess = Excess(site.space.operators(site.input_size), found, site.settings.target)
        return found

    def __getitem__(self, group: str) -> Tensor:
        mask: Tensor = KeepLargest.apply(super().__getitem__(group), self.thresholds[self.places[group]])
        return mask

    def saliency(self, group: str) -> Tensor:
        """Of every channel, [C]."""
        return super().__getitem__(group)

    def alpha(self) -> list[nn.Parameter]:
        """Saliencies, then thresholds."""
        return list(self.parameters())

    def soft_widths(self) -> dict[str, Tensor]:
        """sigmoid(t) C of each group, 1 at least: scalars, differentiable in the thresholds."""
        pairs = zip(self.groups, self.thresholds, strict=True)
        return {group.name: (t.sigmoid() * group.size).clamp_min(1.0).squeeze(0) for group, t in pairs}

    def scores(self, values: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """k / rank of every channel, the rank from 1 by saliency: those of 1 and more are the learnt widths, and a
        threshold elsewhere keeps all widths in the learnt proportions."""
        scores = {}
        for group, threshold in zip(self.groups, self.thresholds, strict=True):
            order = self.saliency(group.name).detach().cpu().sort(descending=True, stable=True).indices
            ranks, score = torch.arange(1.0, group.size + 1), torch.empty(group.size)
            # Two tensors: a number over a tensor is rounded twice, and k / k has to be 1.
            score[order] = torch.full_like(ranks, kept(threshold, group.size)) / ranks
            scores[group.name] = score
        return scores

    def gating(self) -> dict[str, Tensor]:
        """The masks."""
        return {group.name: self[group.name].detach().cpu() for group in self.groups}


class Excess:
    """d = max(R - target, 0), with R the share of the MACs at the thresholds' widths."""

    def __init__(self, operators: Sequence[Operator], thresholds: Thresholds, target: float) -> None:
        self.operators, self.thresholds, self.target = operators, thresholds, target
        self.full = macs(operators, sizes(thresholds.groups))

    def __call__(self) -> Tensor:
        """d, a scalar, differentiable in the thresholds."""
        widths: Mapping[str, Tensor] = self.thresholds.soft_widths()
        share = macs(self.operators, widths) / self.full
        assert isinstance(share, Tensor)
        return (share - self.target).clamp_min(0.0)


def wdpruning_step(s: OneSet, excess: Callable[[], Tensor], multipliers: Tensor, rate: float) -> Logs:
    """w' = w - eta_w grad_w L; a' = a - eta_a grad_a (L + l_1 d + l_2 d^2); l' = l + rate (d, d^2), at the same point.

    Args:
        s: the network's loss, parameters and optimisers.
        excess: d, differentiable in a.
        multipliers: l, [2], updated in place.
        rate: of the multipliers.
    """
    loss, over = s.loss(), excess()
    powers = torch.stack([over, over**2])
    grad_w, grad_alpha = s.gradients(loss + (multipliers * powers).sum())
    apply_gradients(s.opt_w, s.w, grad_w)
    apply_gradients(s.opt_alpha, s.alpha, grad_alpha)
    with torch.no_grad():
        multipliers.add_(powers.detach(), alpha=rate)
    return {"loss": loss.detach(), "over_target": over.detach()}


def _step(it: Iteration) -> Logs:
    assert isinstance(it.source, Thresholds)
    return wdpruning_step(OneSet.of(it), it.source.excess, it.source.multipliers, it.settings.multiplier_rate)


METHODS.add(Method("wdpruning", WdPruning, step=_step, networks=1, source=Thresholds, penalties=()))
