"""Parameters and MACs: as formulas of the widths, and counted on a running network. One multiply-add is one MAC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..spaces import Operator

Number = TypeVar("Number", int, Tensor)


def macs(operators: Iterable[Operator], widths: Mapping[str, Number]) -> Number:
    """MACs of one image at `widths` {group: int, or a soft width as a scalar tensor, which is differentiable}.

    Example::

        macs(space.operators((3, 32, 32)), {**sizes(space.groups), "layer1.0.conv1": 9})
    """
    return _total(op.macs * _width(op.n_in, widths) * _width(op.n_out, widths) for op in operators)


def params(operators: Iterable[Operator], widths: Mapping[str, Number]) -> Number:
    """Parameters at `widths`, {group: int or scalar tensor}, as `macs`."""
    return _total((op.weights * _width(op.n_in, widths) + op.biases) * _width(op.n_out, widths) for op in operators)


def count_params(model: nn.Module) -> int:
    """Number of parameters of `model`, buffers not counted."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """MACs of one (C, H, W) image, counted from the shapes that pass through convolutions and linear layers.

    Knows nothing of spaces: it checks `macs`, and counts networks that have no formula. The model's mode is restored.
    """
    total = 0

    def count(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        # Every output value costs the weights of one filter: fan-in per group.
        total += output[0].numel() * weight[0].numel()  # type: ignore[index]

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    training, like = model.training, next(model.parameters())
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, *input_size, dtype=like.dtype, device=like.device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return total


def _total(costs: Iterable[Any]) -> Any:
    return sum(costs)


def _width(width: int | str, widths: Mapping[str, Number]) -> Number | int:
    return widths[width] if isinstance(width, str) else width
