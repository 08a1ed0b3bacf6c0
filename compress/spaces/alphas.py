"""The scores `alpha`: one container keyed by group, shared by every network whose gates read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from ..plan import UserError
from .axes import Segment, scored_axes, spread
from .gates import Gate
from .groups import Group


class Alphas(nn.Module):
    """Scores of all groups, float32 [C] each, initialised to 1 so that a gated network starts as the original.

    The container owns the parameters; gated networks only read them through gates, so two weight sets attached to one
    container share one `alpha` and their own state dicts do not mention it.

    Example::

        alphas = Alphas(space.groups)
        alphas.attach(u), alphas.attach(w)
        alphas.scores()["layer1.0.conv1"]
    """

    def __init__(self, groups: Iterable[Group]) -> None:
        super().__init__()
        self.groups = tuple(groups)
        for group in self.groups:
            self.register_parameter(_key(group.name), nn.Parameter(torch.ones(group.size)))

    def __getitem__(self, group: str) -> Tensor:
        return self.get_parameter(_key(group))

    def scores(self) -> dict[str, Tensor]:
        """Detached copies of the scores, {group: float32 [C]} on the CPU."""
        return {group.name: self[group.name].detach().cpu().clone() for group in self.groups}

    def load_scores(self, scores: Mapping[str, Tensor]) -> None:
        """Copy `scores`, {group: [C]}, into the parameters."""
        with torch.no_grad():
            for group in self.groups:
                self[group.name].copy_(scores[group.name])

    def attach(self, model: nn.Module) -> list[Gate]:
        """Gate every axis of `model` that scores multiply (`Group.scored`); `remove` takes a gate off."""
        gates = []
        for (name, axis), parts in scored_axes(self.groups).items():
            module = model.get_submodule(name)
            gates.append(Gate(module, self._reading(parts, axis_length(module, axis)), axis=axis))
        return gates

    def _reading(self, parts: list[Segment], n: int | None) -> Callable[[], Tensor]:
        # A function, which deepcopy shares: copies of a gated network read the same scores.
        return lambda: spread(parts, n, self)


def axis_length(module: nn.Module, axis: int) -> int | None:
    """The length of an axis of the weight of `module`; None where it has no such."""
    weight = getattr(module, "weight", None)
    return weight.shape[axis] if isinstance(weight, Tensor) and weight.dim() > axis else None


def norm_scales(model: nn.Module, groups: Iterable[Group]) -> dict[str, nn.Parameter]:
    """The scale of the last BatchNorm in front of each group's readers, {group: [C]}: NetSlim's scores.

    Raises UserError for a group that no BatchNorm normalises, and it alone.
    """
    scales = {}
    for group in groups:
        norms = [
            norm
            for norm in (model.get_submodule(piece.module) for piece in group.writes)
            if isinstance(norm, nn.modules.batchnorm._BatchNorm)
        ]
        scale = norms[-1].weight if norms else None
        if scale is None or scale.shape != (group.size,):
            raise UserError(f"group {group.name!r} has no BatchNorm with a scale to score by")
        scales[group.name] = scale
    return scales


def _key(group: str) -> str:
    # Parameter names may not contain dots.
    return group.replace(".", "/")
