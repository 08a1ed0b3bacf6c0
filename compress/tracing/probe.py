"""Which channels reach which entries, found by trying: no graph, so whatever code lies between two layers may do.

The outputs of all convolutions and linear layers are fixed numbers. Where one channel's numbers change, so do those
entries of the next layers' inputs that it reaches, through slices, shuffles and gates alike. Channels are told apart by
the bits of their indices: for each bit those that have it change, then those that lack it, each time up and down, of
which one at least comes through an activation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .graph import CONV, DENSE, ELEMENTWISE, depthwise
from .verify import is_floating

STEP = 10.0
"""By how much fixed numbers, of unit variance, rise and fall."""
PARTS = (2, 3, 4)
"""Into how many equal parts a layer's channels are cut where several of its own meet in one entry, as in a gate."""

NONE, SEVERAL = -1, -2
"""In place of a channel's number: no channel, and more than one."""
Touched = dict[str, Tensor]
"""{layer: [entries of its input], whether they change}."""


@dataclass(frozen=True)
class Source:
    """What has `n` channels: the outputs of the layer `module`, or its own `parameter` along `axis`."""

    module: str
    n: int
    parameter: str | None = None
    axis: int = 0


class Probe:
    """Passes of a copy of `model`, in evaluation mode on the CPU, with `example`, in which layers give fixed numbers.

    Attributes:
        sources: what has channels: layers that are called, parameters of other modules.
        entries: {layer: how many entries its input has}, of layers that read channels or work on each alone.
        readers: {source: layers whose input PyTorch can differentiate by it}.
    """

    def __init__(self, model: nn.Module, example: tuple[Any, ...], generator: torch.Generator) -> None:
        self.model = deepcopy(model).float()
        for value in self.model.parameters():
            value.requires_grad_(value.is_floating_point())
        self.example = tree_map(lambda x: x.float() if is_floating(x) else x, example)
        self.generator = generator
        self.modules = dict(self.model.named_modules())
        self.entries: dict[str, int] = {}
        self._fixed: dict[str, list[Tensor]] = {}
        self._inputs: dict[str, list[Tensor]] = {}
        self._added: Mapping[str, Tensor] = {}
        self._touched: Touched | None = None
        self._replace()
        with torch.enable_grad():
            self._pass()
        self.sources = [*self._layers(), *self._parameters()]
        self.readers = self._readers()

    def reach(self, which: Mapping[Source, Tensor]) -> Touched:
        """The entries that change where the channels `which` [n] of sources do."""
        found = {name: torch.zeros(n, dtype=torch.bool) for name, n in self.entries.items()}
        for sign in (STEP, -STEP):
            with torch.no_grad(), self._changed({each: on * sign for each, on in which.items()}):
                self._touched = found
                self._pass()
                self._touched = None
        return found

    def numbers(self, sources: Sequence[Source], part: tuple[int, int] = (0, 1)) -> dict[str, Tensor]:
        """{layer: [entries]}: the number of the one channel that an entry changes with, NONE or SEVERAL.

        Args:
            sources: whose channels change, those of one number together.
            part: (i, k): of k equal parts of the channels the i-th alone, numbered from 0.
        """
        which, of = part
        n = max(each.n // of for each in sources)
        ones = {name: torch.zeros(length, dtype=torch.long) for name, length in self.entries.items()}
        both = {name: torch.zeros(length, dtype=torch.bool) for name, length in self.entries.items()}
        neither = {name: torch.ones(length, dtype=torch.bool) for name, length in self.entries.items()}
        for bit in range(max(1, (n - 1).bit_length())):
            hits = []
            for value in (1, 0):
                masks = {}
                for each in sources:
                    numbers = torch.arange(each.n) - which * (each.n // of)
                    inside = (numbers >= 0) & (numbers < each.n // of)
                    masks[each] = (inside & ((numbers >> bit & 1) == value)).float()
                hits.append(self.reach(masks))
            for name in self.entries:
                one, zero = hits[0][name], hits[1][name]
                ones[name] += one.long() << bit
                both[name] |= one & zero
                neither[name] &= ~(one | zero)
        return {
            name: torch.where(both[name], SEVERAL, torch.where(neither[name], NONE, ones[name]))
            for name in self.entries
        }

    def _layers(self) -> Iterator[Source]:
        for name, module in self.modules.items():
            if name in self._fixed:
                yield Source(name, self._fixed[name][0].shape[_axis(module)])

    def _parameters(self) -> Iterator[Source]:
        for name, module in self.modules.items():
            if isinstance(module, DENSE | ELEMENTWISE | nn.LayerNorm):
                continue
            for key, value in module.named_parameters(recurse=False):
                axes = [i for i, length in enumerate(value.shape) if length > 1]
                if axes and value.is_floating_point():
                    yield Source(name, value.shape[axes[-1]], key, axes[-1])

    def _readers(self) -> dict[Source, set[str]]:
        own = {id(self.modules[s.module].get_parameter(s.parameter)): s for s in self.sources if s.parameter}
        own |= {id(self._fixed[s.module][0]): s for s in self.sources if not s.parameter}
        found: dict[Source, set[str]] = {each: set() for each in self.sources}
        for name, inputs in self._inputs.items():
            for leaf in _leaves(inputs):
                if id(leaf) in own:
                    found[own[id(leaf)]].add(name)
        self._inputs = {name: [each.detach() for each in inputs] for name, inputs in self._inputs.items()}
        return found

    def _pass(self) -> None:
        self._calls = dict.fromkeys(self.modules, 0)
        self.model(*self.example)

    def _replace(self) -> None:
        """Let the copy's layers give fixed numbers, and norms of several channels leave them as they are."""
        for name, module in self.modules.items():
            if isinstance(module, ELEMENTWISE | nn.LayerNorm) or depthwise(module):
                module.register_forward_pre_hook(partial(self._watch, name), with_kwargs=True)
            elif isinstance(module, DENSE):
                module.forward = self._fixing(name, module)
            if isinstance(module, nn.GroupNorm) and module.num_groups > 1:
                module.forward = _as_it_is  # type: ignore[method-assign]

    def _fixing(self, name: str, module: nn.Module) -> Any:
        compute = module.forward

        def forward(*given: Any, **named: Any) -> Tensor:
            call = self._see(name, _input(given, named))
            if call == len(self._fixed.setdefault(name, [])):
                with torch.no_grad():
                    like = compute(*given, **named)
                self._fixed[name].append(torch.randn(like.shape, generator=self.generator).requires_grad_())
            fixed = self._fixed[name][call]
            return fixed + self._added[name] if name in self._added else fixed.clone()

        return forward

    def _watch(self, name: str, _: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        self._see(name, _input(given, named))

    def _see(self, name: str, x: Tensor) -> int:
        """Note the input of a layer, or where it differs from the first one; which of its calls this is."""
        call, self._calls[name] = self._calls[name], self._calls[name] + 1
        seen = self._inputs.setdefault(name, [])
        if call == len(seen):
            seen.append(x.clone())
            self.entries[name] = x.shape[_axis(self.modules[name])]
        elif self._touched is not None:
            differs = (x != seen[call]).movedim(_axis(self.modules[name]), 0).flatten(1).any(1)
            self._touched[name] |= differs
        return call

    @contextmanager
    def _changed(self, by: Mapping[Source, Tensor]) -> Iterator[None]:
        """With numbers added to the channels of sources."""
        kept = []
        added = {}
        for source, values in by.items():
            module = self.modules[source.module]
            if source.parameter is None:
                fixed = self._fixed[source.module][0]
                added[source.module] = _along(values, fixed.dim(), _axis(module)).to(fixed)
            else:
                own = module.get_parameter(source.parameter)
                kept.append((own, own.detach().clone()))
                own.data += _along(values, own.dim(), source.axis).to(own)
        self._added = added
        try:
            yield
        finally:
            self._added = {}
            for own, value in kept:
                own.data.copy_(value)


def _leaves(tensors: list[Tensor]) -> Iterator[Tensor]:
    """What PyTorch would give gradients on the way back from `tensors`."""
    nodes = [each.grad_fn for each in tensors if each.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if hasattr(node, "variable"):
            yield node.variable
        more = {each for each, _ in node.next_functions if each is not None} - seen
        seen |= more
        nodes += more


def _as_it_is(*given: Any, **named: Any) -> Tensor:
    return _input(given, named)


def _input(given: Sequence[Any], named: Mapping[str, Any]) -> Tensor:
    """What a layer of PyTorch's works on, of the arguments that it is called with."""
    x: Tensor = given[0] if given else named["input"]
    return x


def _axis(module: nn.Module) -> int:
    """Of the channels, in inputs and outputs."""
    if isinstance(module, CONV):
        return -len(module.kernel_size) - 1
    return -1 if isinstance(module, nn.Linear | nn.LayerNorm) else 1


def _along(values: Tensor, dims: int, axis: int) -> Tensor:
    """`values` [n] along one of `dims` axes."""
    return values.view([-1 if i == axis % dims else 1 for i in range(dims)])
