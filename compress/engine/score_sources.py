"""Where one-network methods keep their scores: `parameters()` are what alpha's optimiser acts on, `scores()` how they
score, {group: float32 [C]}, at present or at other values of the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..plan import UserError
from ..search import Rvsm, Tas, WidthChoices
from ..spaces import Alphas, Group, Space, norm_scales


class Gates(Alphas):
    """Gates at readers' inputs."""

    def scores(self, values: list[Tensor] | None = None) -> dict[str, Tensor]:
        """The gates."""
        if values is None:
            return super().scores()
        return {g.name: value.detach().cpu().clone() for g, value in zip(self.groups, values, strict=True)}


class Choices(WidthChoices):
    """TAS's logits over candidate widths."""

    def scores(self, values: list[Tensor] | None = None) -> dict[str, Tensor]:
        """Probability that the chosen width covers a channel."""
        return super().scores()


class Scales:
    """BatchNorm scales, part of the network."""

    def __init__(self, scales: Mapping[str, nn.Parameter]) -> None:
        self.scales = dict(scales)

    def parameters(self) -> list[nn.Parameter]:
        """The scales."""
        return list(self.scales.values())

    def scores(self, values: list[Tensor] | None = None) -> dict[str, Tensor]:
        """The scales."""
        found = self.parameters() if values is None else values
        return {name: value.detach().cpu().clone() for name, value in zip(self.scales, found, strict=True)}


class Filters(Scales):
    """The filters that produce each group's channels, scored by their norms."""

    def scores(self, values: list[Tensor] | None = None) -> dict[str, Tensor]:
        """Norm of each filter."""
        return {name: filters.flatten(1).norm(dim=1) for name, filters in super().scores(values).items()}


def score_source(network: nn.Module, space: Space, kind: str, method: Any) -> Any:
    """Where the method `kind` keeps the scores of `network`; UserError for what the space cannot give."""
    if kind == "netslim":
        return Scales(norm_scales(network, space.groups))
    if kind == "grouplasso" or (isinstance(method, Rvsm) and method.penalty == "group"):
        return Filters({group.name: _filters(network, group, kind) for group in space.groups})
    if isinstance(method, Tas) and any(group.kind != "channels" for group in space.groups):
        raise UserError(
            f"search.method.type = {kind!r}: interpolates channels of feature maps, which {space.name} does not have; "
            "use 'rarts' or another method with gates"
        )
    source = Choices(space.groups, method) if isinstance(method, Tas) else Gates(space.groups)
    source.attach(network)
    return source


def _filters(network: nn.Module, group: Group, kind: str) -> nn.Parameter:
    filters = [
        weight
        for weight in (network.get_parameter(f"{each.module}.weight") for each in group.writes)
        if weight.dim() > 1
    ]
    if not filters or len(filters[0]) != group.size:
        raise UserError(
            f"search.method.type = {kind!r}: group {group.name!r} has no filters of its own to score; "
            "use a method with gates such as 'rarts'" + (", or set space.score_inputs=False" if group.index else "")
        )
    return filters[0]
