"""Where scores live: gates at what layers read, BatchNorm scales, filters; a place of your own is one class more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..plan import UserError
from ..spaces import Alphas, Group, Space, norm_scales


@dataclass(frozen=True)
class Site:
    """What a search is of, beside its networks: the method's name and settings, the space, images of (C, H, W)."""

    method: str
    settings: Any
    space: Space
    input_size: tuple[int, int, int]


class ScoreSource(ABC):
    """A place where a method's scores live: the tensors `alpha` that its optimiser moves, and what they score.

    A source that is an nn.Module as well becomes part of the search's state: it is saved, moved and broadcast with it.
    """

    place: ClassVar[str]
    """What its scores are, in one word; penalties that read scores as channels or edges ask for it."""
    direct: ClassVar[bool] = False
    """The scores are alpha's own numbers, so that a penalty on alpha moves them and nothing else."""
    scalable: ClassVar[bool] = False
    """The common scale of a group's scores means nothing, so that `normalise` may choose it."""

    @classmethod
    @abstractmethod
    def of(cls, networks: Sequence[nn.Module], site: Site) -> Self:
        """The source of `networks`, which share it, attached to them; UserError for a space that has no such place."""

    @abstractmethod
    def alpha(self) -> list[nn.Parameter]:
        """The tensors that alpha's optimiser moves."""

    @abstractmethod
    def scores(self, values: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Scores on the CPU, {group: float32 [C]}, at alpha's present values or at others in their place."""

    def gating(self) -> dict[str, Tensor] | None:
        """The scores by which the networks multiply what is scored, to be folded into weights; None: by nothing."""
        return None

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring every tensor of alpha to root mean square 1, in place; one of zeros stays."""
        for alpha in self.alpha():
            size = alpha.square().mean().sqrt()
            if size > 0:
                alpha.div_(size)


class Gates(Alphas, ScoreSource):
    """Gates at readers' inputs."""

    place = "gates"
    direct = scalable = True

    @classmethod
    def of(cls, networks: Sequence[nn.Module], site: Site) -> Self:
        """One gate per channel, at 1, on every network."""
        gates = cls(site.space.groups)
        for network in networks:
            gates.attach(network)
        return gates

    def alpha(self) -> list[nn.Parameter]:
        """The gates."""
        return list(self.parameters())

    def scores(self, values: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """The gates."""
        if values is None:
            return super().scores()
        return {g.name: value.detach().cpu().clone() for g, value in zip(self.groups, values, strict=True)}

    def gating(self) -> dict[str, Tensor]:
        """The gates."""
        return self.scores()


class Scales(ScoreSource):
    """BatchNorm scales, part of the one network."""

    place = "scales"
    direct = True

    def __init__(self, scales: Mapping[str, nn.Parameter]) -> None:
        self.scales = dict(scales)

    @classmethod
    def of(cls, networks: Sequence[nn.Module], site: Site) -> Self:
        """The scales in front of each group's readers."""
        (network,) = networks
        try:
            return cls(norm_scales(network, site.space.groups))
        except UserError as error:
            raise UserError(
                f"search.method.type = {site.method!r}: {error}; use 'rarts' or 'joint', whose scores need none"
            ) from None

    def alpha(self) -> list[nn.Parameter]:
        """The scales."""
        return list(self.scales.values())

    def scores(self, values: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """The scales."""
        found = self.alpha() if values is None else values
        return {name: value.detach().cpu().clone() for name, value in zip(self.scales, found, strict=True)}


class Filters(Scales):
    """The filters that produce each group's channels, scored by their norms."""

    place = "filters"
    direct = False

    @classmethod
    def of(cls, networks: Sequence[nn.Module], site: Site) -> Self:
        """The first producer's weight of each group."""
        (network,) = networks
        return cls({group.name: _filters(network, group, site.method) for group in site.space.groups})

    def scores(self, values: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Norm of each filter."""
        return {name: filters.flatten(1).norm(dim=1) for name, filters in super().scores(values).items()}


def _filters(network: nn.Module, group: Group, method: str) -> nn.Parameter:
    producers = [network.get_parameter(f"{each.module}.weight") for each in group.writes]
    filters = [weight for weight in producers if weight.dim() > 1]
    if not filters or len(filters[0]) != group.size:
        raise UserError(
            f"search.method.type = {method!r}: group {group.name!r} has no filters of its own to score; "
            "use a method with gates such as 'rarts'" + (", or set space.score_inputs=False" if group.index else "")
        )
    return filters[0]
