"""What each operator costs inside a whole network in PyTorch: the clock is read wherever an operator begins or ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..spaces import Space
from .graphs import first_layer
from .owners import REST
from .profiling import steady_mean

PRODUCTS = ".products"
"""What an operator's name adds to that of the module of attention around it."""


class Timeline:
    """The calls of one network as time spans, each owned by an operator: all of the time between first and last.

    `modules`: {module name: the operator that it is, or works for}. A module owns what it does itself. What follows,
    activations and sums, is the last operator's; inside of an attention, where `modules` has the operator of its
    products, all that no layer does is theirs. What comes before the first operator is REST.
    """

    def __init__(self, network: nn.Module, images: Tensor, modules: Mapping[str, str]) -> None:
        self.network, self.images = network, images
        self.owners = _owners(network, images, modules)
        self.nodes: Mapping[str, int] = dict(Counter(self.owners))
        self.stamps: list[int] = []
        note, clock = self.stamps.append, time.perf_counter_ns

        def stamp(*args: object, owner: str) -> None:
            note(clock())

        self.hooks = _hook(network, modules, stamp, stamp)

    def call(self) -> None:
        """Call the network once and note the time at both ends of every module."""
        self.stamps.append(time.perf_counter_ns())
        self.network(self.images)
        self.stamps.append(time.perf_counter_ns())

    def finish(self, calls: int) -> dict[str, float]:
        """{operator: nanoseconds per call} in the last `calls` calls; the clock is not read any more.

        Every operator's time is averaged over calls by `steady_mean`.
        """
        for hook in self.hooks:
            hook.remove()
        spans = np.diff(np.array(self.stamps, dtype=float).reshape(-1, len(self.owners) + 1)[-calls:], axis=1)
        self.stamps.clear()
        operators: dict[str, np.ndarray] = {}
        for owner, span in zip(self.owners, spans.T, strict=True):
            operators[owner] = operators.get(owner, 0) + span
        return {name: steady_mean(span) for name, span in operators.items()}


def owners_of_modules(network: nn.Module, space: Space, operators: Collection[str]) -> dict[str, str]:
    """{module: operator} of all modules of `network` that are an operator, hold an attention's products, or gather.

    A gather works for the first layer that reads what it gathers.
    """
    gathers = {
        str(group.index).rpartition(".")[0]: first_layer(group) for group in space.groups if group.index is not None
    }
    found = {}
    for name, _ in network.named_modules():
        if name in operators:
            found[name] = name
        elif name + PRODUCTS in operators:
            found[name] = name + PRODUCTS
        elif name in gathers:
            found[name] = gathers[name]
    return found


def _owners(network: nn.Module, images: Tensor, modules: Mapping[str, str]) -> list[str]:
    """Who owns each span of a call, from its begin over every begin and end of one of `modules` to its own end."""
    owners, around, last = [REST], list[str](), REST

    def begins(module: nn.Module, args: Any, *, owner: str) -> None:
        if owner.endswith(PRODUCTS):
            around.append(owner)
        owners.append(owner)

    def ends(module: nn.Module, args: Any, output: Any, *, owner: str) -> None:
        nonlocal last
        if owner.endswith(PRODUCTS):
            around.pop()
        else:
            last = owner
        owners.append(around[-1] if around else last)

    hooks = _hook(network, modules, begins, ends)
    network(images)
    for hook in hooks:
        hook.remove()
    return owners


def _hook(
    network: nn.Module, modules: Mapping[str, str], begins: Callable[..., None], ends: Callable[..., None]
) -> list[RemovableHandle]:
    """Have `begins` and `ends` called at both ends of every one of `modules`, with its `owner`."""
    hooks = []
    for name, owner in modules.items():
        module = network.get_submodule(name)
        hooks.append(module.register_forward_pre_hook(partial(begins, owner=owner)))
        hooks.append(module.register_forward_hook(partial(ends, owner=owner)))
    return hooks
