"""Optimisers by their names in a recipe, with arguments that training survives."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..plan import Range, UserError, brief
from ..plan.errors import FAULTS

MOST_RATE, MOST_ARGUMENT = 1e4, 1e9
"""Of an optimiser's lr, and of its and a method's other numbers: larger ones make any network infinite at once."""


def registered(registry: Any, kind: Any, *, name: str, example: str) -> Any:
    """What `registry`, one of MMEngine's, lists as `kind`; a dotted name, which it would import, is in no list.

    Raises UserError, naming `name` and an `example`, for anything else.
    """
    found = None
    while found is None and registry is not None:
        registry.import_from_location()  # the package's own modules
        found = registry.module_dict.get(kind) if isinstance(kind, str) else None
        registry = registry.parent
    if found is None:
        raise UserError(f"{name} = {brief(kind)}: no such type; use {example}, or another that is registered")
    return found


def make_optimizer(settings: Mapping[str, Any], parameters: Iterable[Any], *, name: str) -> Optimizer:
    """The optimiser that `settings` (type, lr, ...) describe, of `parameters` or groups of them, as PyTorch takes them.

    Raises UserError for an unknown type or argument, and for numbers that no training survives.
    """
    from mmengine.optim import OPTIMIZERS  # with the optimisers of torch registered

    kwargs = dict(settings)
    make = registered(OPTIMIZERS, kwargs.pop("type", None), name=f"{name}.type", example="'SGD', 'Adam', 'AdamW'")
    known = inspect.signature(make).parameters
    for key, value in kwargs.items():
        _check_argument(f"{name}.{key}", value, known[key].default if key in known else None, lr=key == "lr")
    try:
        return make(list(parameters), **kwargs)
    except FAULTS as error:
        raise UserError(
            f"{name}: {' '.join(str(error).split())[:300]}; correct the optimiser's arguments; in a recipe, "
            "dict(_delete_=True, type=...) takes none of those that it inherits"
        ) from None


def _check_argument(name: str, value: Any, default: Any, *, lr: bool) -> None:
    """UserError for an optimiser's argument of another kind than its `default`, or out of all bounds."""
    if isinstance(default, bool) and not isinstance(value, bool):
        raise UserError(f"{name} = {brief(value)}: must be True or False; choose one")
    if lr:
        Range(at_least=0, at_most=MOST_RATE, remedy="0.1 is usual for SGD").check(name, value, whole=False)
    elif isinstance(default, int | float) and not isinstance(default, bool) and value is not None:
        Range(at_least=-MOST_ARGUMENT, at_most=MOST_ARGUMENT).check(name, value, whole=False)
    elif isinstance(default, tuple):
        if not isinstance(value, list | tuple) or len(value) != len(default):
            raise UserError(f"{name} = {brief(value)}: must be a list of {len(default)} numbers, like {list(default)}")
        for i, item in enumerate(value):
            Range(at_least=-MOST_ARGUMENT, at_most=MOST_ARGUMENT).check(f"{name}[{i}]", item, whole=False)


def rate_of(settings: Mapping[str, Any]) -> float:
    """The learning rate of the optimiser that `settings` describe, its default where they have none."""
    return float(make_optimizer(settings, [nn.Parameter(torch.zeros(2))], name="optimizer").defaults["lr"])


@dataclass(frozen=True)
class Adapted:
    """A pretrained network whose layers `fresh` are new: all its other weights learn at `factor` times their rate."""

    fresh: tuple[str, ...]
    factor: float

    def optimizer(self, settings: Mapping[str, Any], model: nn.Module, network: nn.Module, *, name: str) -> Optimizer:
        """As `make_optimizer` for the parameters of `model`, in two groups: the fresh ones come first.

        Args:
            settings: of the optimiser.
            model: whose parameters learn; those that are not of `network` are fresh too.
            network: the pretrained one in it.
            name: of the settings, for messages.
        """
        old = {id(value) for key, value in network.named_parameters() if key.rpartition(".")[0] not in self.fresh}
        sides = [[value for value in model.parameters() if (id(value) in old) is slow] for slow in (False, True)]
        optimizer = make_optimizer(settings, [{"params": side} for side in sides], name=name)
        optimizer.param_groups[1]["lr"] *= self.factor
        return optimizer


def check_optimizer(settings: Mapping[str, Any], *, name: str) -> None:
    """Raise UserError unless `settings` make an optimiser that steps as training steps: without a closure, densely."""
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    optimizer = make_optimizer(settings, [parameter], name=name)
    try:
        optimizer.step()
    except FAULTS as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{name}: {settings['type']} cannot make a step as it is ({type(error).__name__}: {reason}); correct its "
            "arguments, or use 'SGD' or 'Adam'"
        ) from None
