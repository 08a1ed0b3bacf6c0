"""Networks called with shapes alone: what values decide does not run, and what layers cost needs no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_any, tree_map

META = torch.device("meta")
FILLING = {
    getattr(Tensor, f"{name}_") for name in ("uniform", "normal", "erfinv", "fill", "zero", "add", "mul", "clamp")
}
"""What initial weights are drawn and computed with, in place."""


@contextmanager
def weightless() -> Iterator[None]:
    """Networks that are built in the block lie on the meta device, and nothing is drawn for them.

    PyTorch would take two thirds of the time for initial weights, which have no place there.

    Example::

        with weightless():
            names = [name for name, _ in PreResNetSpace(20, 10).build().named_modules()]
    """
    with META, _Unfilled():
        yield


def shapes_through(network: nn.Module, inputs: Sequence[Any]) -> Any:
    """The outputs of `network` (unchanged, in its mode) for `inputs`, on the meta device: shapes without values.

    Whatever PyTorch raises where the forward pass asks for a value that comes of the inputs or the parameters, such as
    `if x.mean() > 0` or `x.numpy()`, leaves this function. Constants keep their values, wherever the network has them:
    in buffers, in plain attributes, or made on the way.
    """
    with torch.no_grad(), _OneDevice():
        given = tuple(tree_map(_to_meta, value) for value in inputs)
        return torch.func.functional_call(network, _without_values(network), given, tie_weights=False)


def _without_values(network: nn.Module) -> dict[str, Tensor]:
    """{name: parameter without values, or copy of a buffer}, one for what is shared.

    A module under two names has one here: PyTorch would not give it back its own under both.
    """
    made: dict[int, Tensor] = {}
    state: dict[str, Tensor] = {}
    for prefix, module in network.named_modules():
        for name, value in module.named_parameters(prefix, recurse=False, remove_duplicate=False):
            state[name] = made.setdefault(id(value), value.to(META))
        for name, value in module.named_buffers(prefix, recurse=False, remove_duplicate=False):
            state[name] = made.setdefault(id(value), value.clone())
    return state


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """`network` in evaluation mode while the block lasts; then each of its modules has the mode that it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class _Unfilled(TorchFunctionMode):
    """Tensors without values are left as they are by what would fill them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """`func`, or the tensor that it would have filled."""
        if func in FILLING and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


class _OneDevice(TorchFunctionMode):
    """Where a function is given tensors with and without values, all of them lose theirs."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """`func` with its arguments on one device."""
        given = (args, dict(kwargs or {}))
        if tree_any(lambda value: isinstance(value, Tensor) and value.is_meta, given):
            given = tree_map(_to_meta, given)
        return func(*given[0], **given[1])


def _to_meta(value: Any) -> Any:
    return value.to(META) if isinstance(value, Tensor) and not value.is_meta else value
