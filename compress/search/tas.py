"""TAS: transformable architecture search (Dong and Yang, arXiv 1905.09717) for widths.

Every group chooses among candidate widths with probabilities softmax(alpha_group). Two candidates are sampled by Gumbel
softmax, whose temperature falls from 10 to 0.1; their feature maps, brought to equal length by channel-wise
interpolation, are added with the sampled weights. Weights descend the training loss, alpha the validation loss plus the
cost of the expected widths, whose sign says whether the network that alpha would give now costs too much or too little.

What differs from the paper: widths alone are searched, not depths; the two are drawn in proportion to the probabilities
at temperature 1, not at the present one, and by each reader of a group for itself; the weights go on to slicing, where
the paper trains the found network anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..costs import macs
from ..plan import UserError, check_number
from ..spaces import Group, Operator, Space, axis_length, sizes
from .bilevel import Bilevel
from .descent import Logs, apply_gradients
from .method import METHODS, Iteration, Method
from .sources import ScoreSource, Site


@dataclass(frozen=True)
class Tas:
    """`ratios`: candidate widths as shares of the full ones (0.3 to 1.0 in the published code); `target`: share of the
    MACs aimed at; `cost_weight`: of the FLOPs loss; `tau`: Gumbel temperature of the first epoch, which falls linearly
    to `tau_end` (the paper's: 10 and 0.1)."""

    ratios: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    target: float = 0.5
    cost_weight: float = 2.0
    tau: float = 10.0
    tau_end: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.ratios, tuple | list) or len(self.ratios) < 2:
            raise UserError(f"search.method.ratios = {self.ratios!r}: must be at least two shares, such as (0.5, 1.0)")
        for ratio in self.ratios:
            check_number("search.method.ratios", ratio, above=0, at_most=1)
        check_number("search.method.target", self.target, above=0, at_most=1)
        check_number("search.method.cost_weight", self.cost_weight, at_least=0)
        check_number("search.method.tau", self.tau, above=0)
        check_number("search.method.tau_end", self.tau_end, above=0, at_most=self.tau)

    def temperature(self, progress: float) -> float:
        """Of the Gumbel softmax when `progress`, a share of the epochs, is over."""
        return self.tau + (self.tau_end - self.tau) * progress


class WidthChoices(nn.Module, ScoreSource):
    """Logits over candidate widths for every group; attached networks sample from them at every forward pass."""

    place = "choices"
    cost: MacsLoss
    """What the search of `of` adds to its validation loss."""

    def __init__(self, groups: Sequence[Group], method: Tas) -> None:
        super().__init__()
        self.groups, self.method, self.tau = tuple(groups), method, method.tau
        self.widths = {g.name: [max(1, round(g.size * ratio)) for ratio in method.ratios] for g in groups}
        self.logits = nn.ParameterList(torch.zeros(len(method.ratios)) for _ in groups)

    @classmethod
    def of(cls, networks: Sequence[nn.Module], site: Site) -> Self:
        """Even logits; UserError for groups that are no channels of feature maps."""
        if any(group.kind != "channels" for group in site.space.groups):
            raise UserError(
                f"search.method.type = {site.method!r}: interpolates channels of feature maps, which {site.space.name} "
                "does not have; use 'rarts' or another method with gates"
            )
        choices = cls(site.space.groups, site.settings)
        for network in networks:
            choices.attach(network)
        choices.cost = MacsLoss(site.space, site.space.operators(site.input_size), choices)
        return choices

    def alpha(self) -> list[nn.Parameter]:
        """The logits."""
        return list(self.logits)

    def probabilities(self) -> dict[str, Tensor]:
        """Softmax of each group's logits, {group: [candidates]}."""
        return {g.name: logits.softmax(0) for g, logits in zip(self.groups, self.logits, strict=True)}

    def expected_widths(self) -> dict[str, Tensor]:
        """Mean width of each group, scalars, differentiable."""
        return {name: (p * p.new_tensor(self.widths[name])).sum() for name, p in self.probabilities().items()}

    def chosen_widths(self) -> dict[str, int]:
        """The most probable width of each group: what the search would end with now. Of equals the widest."""
        return {
            name: max(zip(p.tolist(), self.widths[name], strict=True))[1] for name, p in self.probabilities().items()
        }

    def scores(self, values: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Probability that the chosen width covers channel i, {group: float32 [C]}: falls with i. Selection breaks
        ties by index, so the first channels stay."""
        scores = {}
        for group in self.groups:
            p = self.probabilities()[group.name].detach().cpu()
            covers = torch.tensor(self.widths[group.name])[:, None] > torch.arange(group.size)[None, :]
            scores[group.name] = (p[:, None] * covers).sum(0)
        return scores

    def attach(self, model: nn.Module) -> None:
        """Let every reader of a group of `model` see the sampled mixture of widths."""
        for i, group in enumerate(self.groups):
            for reader in group.reads:
                module = model.get_submodule(reader.module)
                if axis_length(module, reader.axis) != group.size:
                    raise UserError(
                        f"search.method.type = 'tas': {reader.module} reads more than the channels of {group.name!r}, "
                        "which it cannot interpolate alone; use 'rarts' or another method with gates"
                    )
                module.register_forward_pre_hook(self._mix(i, group.name))

    def _mix(self, i: int, name: str) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            x, *rest = args
            if not module.training:
                return args  # evaluated at full width: a sample would make the accuracy noise
            return (mix_widths(x, self.widths[name], self.logits[i], self.tau), *rest)

        return hook


def mix_widths(x: Tensor, widths: Sequence[int], logits: Tensor, tau: float) -> Tensor:
    """Two sampled candidates of x [B, C, ...], interpolated to the wider one and mixed, zero-padded to C channels."""
    noise = -torch.empty_like(logits).exponential_().log()
    weights, chosen = ((logits.log_softmax(0) + noise) / tau).softmax(0).topk(2)
    weights = weights / weights.sum()
    picked = [widths[int(j)] for j in chosen]
    longest = max(picked)
    mixed = sum(weight * interpolate_channels(x[:, :n], longest) for weight, n in zip(weights, picked, strict=True))
    assert isinstance(mixed, Tensor)
    return torch.cat([mixed, x.new_zeros(x.shape[0], x.shape[1] - longest, *x.shape[2:])], dim=1)


def interpolate_channels(x: Tensor, n: int) -> Tensor:
    """Channel-wise interpolation of x [B, C, ...] to n channels by adaptive average pooling over channels."""
    if x.shape[1] == n:
        return x
    flat = x.reshape(x.shape[0], x.shape[1], -1).transpose(1, 2)
    return F.adaptive_avg_pool1d(flat, n).transpose(1, 2).reshape(x.shape[0], n, *x.shape[2:])


def tas_step(s: Bilevel, cost: Callable[[], Tensor]) -> Logs:
    """w' = w - eta_w grad_w L_a(w, a); a' = a - eta_a grad_a (L_p(w', a) + cost(a))."""
    loss_a = s.loss_a()
    apply_gradients(s.opt_w, s.w, s.gradient(loss_a, s.w))
    loss_p = s.loss_p()
    apply_gradients(s.opt_alpha, s.alpha, s.gradient(loss_p + cost(), s.alpha))
    return {"loss_p": loss_p.detach(), "loss_a": loss_a.detach()}


class MacsLoss:
    """TAS's FLOPs loss: log E[MACs] where the network that the scores would give now costs more than 1.05 of the
    target, - log E[MACs] where it costs less than 0.95, 0 between. E is over the candidates' probabilities."""

    def __init__(self, space: Space, operators: Sequence[Operator], choices: WidthChoices) -> None:
        self.operators, self.choices = operators, choices
        self.full = macs(operators, sizes(space.groups))

    def __call__(self) -> Tensor:
        """cost_weight times the loss, a scalar, differentiable in the logits."""
        method = self.choices.method
        widths: Mapping[str, Tensor] = self.choices.expected_widths()
        share = macs(self.operators, widths) / self.full
        assert isinstance(share, Tensor)
        value = macs(self.operators, self.choices.chosen_widths()) / self.full
        sign = 1 if value > 1.05 * method.target else -1 if value < 0.95 * method.target else 0
        return method.cost_weight * sign * share.log()


def _step(it: Iteration) -> Logs:
    assert isinstance(it.source, WidthChoices)
    it.source.tau = it.settings.temperature(it.progress)
    return tas_step(Bilevel.of(it), it.source.cost)


METHODS.add(Method("tas", Tas, step=_step, networks=1, halves=True, source=WidthChoices, penalties=()))
