"""The scores `alpha`: one container keyed by group, shared by every network whose gates read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from ..plan import UserError
from .base import Group
from .gates import Gate


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

    def __getitem__(self, group: str) -> nn.Parameter:
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
        """Gate every layer of `model` that reads a group (an attention group's q, k, v); `remove` takes a gate off."""
        return [
            Gate(model.get_submodule(name), self._reading(group.name), row_copies=group.row_copies)
            if group.kind == "attention"
            else Gate(model.get_submodule(name), self._reading(group.name))
            for group in self.groups
            for name in (group.outputs if group.kind == "attention" else group.inputs)
        ]

    def _reading(self, group: str) -> Callable[[], Tensor]:
        # A function, which deepcopy shares: copies of a gated network read the same scores.
        return lambda: self[group]


def norm_scales(model: nn.Module, groups: Iterable[Group]) -> dict[str, nn.Parameter]:
    """The scale of the last BatchNorm in front of each group's readers, {group: [C]}: NetSlim's scores.

    Raises UserError for a group that no BatchNorm normalises.
    """
    scales = {}
    for group in groups:
        norms = [m for m in map(model.get_submodule, group.outputs) if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if not norms or norms[-1].weight is None:
            raise UserError(f"group {group.name!r} has no BatchNorm with a scale to score by")
        scales[group.name] = norms[-1].weight
    return scales


def _key(group: str) -> str:
    # Parameter names may not contain dots.
    return group.replace(".", "/")
