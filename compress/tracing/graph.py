"""Coupled layers by torch-pruning's dependency graph (Fang et al., arXiv 2301.12900), as candidates for groups.

The graph says which entries of which tensors belong to one channel. Nothing here is believed: `verify` tries every
candidate on the network before it becomes a group.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..plan import UserError
from ..plan.errors import FAULTS, reason
from ..spaces import Group, Slice, kind_of
from .layouts import Entries, layouts_of, runs
from .passes import shared_layers

WRITES, READS = "writes", "reads"
DENSE = nn.Conv2d | nn.Linear
NORMS = nn.LayerNorm | nn.GroupNorm
OUTPUT = "no convolution or linear layer reads it, as where it is an output"


@dataclass
class Candidate:
    """Channels that seem to live and die together; `reason` says why they cannot be a group, None: to be verified.

    `adds`: an addition joins several layers that write them, as in a residual stream.
    """

    group: Group
    adds: bool = False
    reason: str | None = None

    @property
    def output(self) -> bool:
        """Whether nothing in the network reads them."""
        return not self.group.reads


@dataclass
class Trace:
    """What the graph says of a network: candidates in forward order, and layers whose output only a BatchNorm takes."""

    candidates: list[Candidate]
    normalised: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Item:
    """One tensor axis that a channel of the root layer is coupled to."""

    module: str
    kind: type[nn.Module]
    side: str
    axis: int
    entries: Entries
    parameter: str | None = None


def trace(model: nn.Module, example: tuple[Any, ...]) -> Trace:
    """The candidates of `model`, in evaluation mode on the CPU, called with `example`. Its parameters take gradients
    afterwards. UserError where it cannot be traced."""
    for value in model.parameters():
        value.requires_grad_(value.is_floating_point())
    shared = shared_layers(model, example)
    graph = _graph(model, example)
    names = {module: name for name, module in model.named_modules()}
    candidates: list[Candidate] = []
    covered: dict[str, set[int]] = {}
    for name, module in model.named_modules():
        if not isinstance(module, DENSE) or module not in graph.module2node or _depthwise(module):
            continue
        done = covered.setdefault(name, set())
        n = module.weight.shape[0]
        if len(done) < n:
            for each in _candidates(graph, name, module, names, shared):
                if done.isdisjoint(_rows(each.group, name)):
                    candidates.append(each)
                    for piece in each.group.writes:
                        covered.setdefault(piece.module, set()).update(_positions(piece, each.group.size))
    if not candidates:
        raise UserError(
            f"model = {kind_of(model)}: no convolution or linear layer is on the way from its inputs to its "
            "outputs that PyTorch can differentiate; give a network that computes its outputs from its layers"
        )
    return Trace(candidates, _normalised(graph, names))


def _graph(model: nn.Module, example: tuple[Any, ...]) -> Any:
    import torch_pruning

    # What fails inside depends on the network: any of these means that the graph does not fit it.
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        try:
            return torch_pruning.DependencyGraph().build_dependency(
                model, example, forward_fn=lambda net, inputs: net(*inputs), verbose=False
            )
        except FAULTS as error:
            raise UserError(
                f"model = {kind_of(model)}: its layers cannot be traced ({reason(error)}); use a network whose forward "
                "pass PyTorch can differentiate"
            ) from None


def _candidates(
    graph: Any, root: str, module: nn.Conv2d | nn.Linear, names: dict[nn.Module, str], shared: Mapping[str, str]
) -> Iterable[Candidate]:
    """What the channels that `root` writes are coupled to, in runs."""
    n = module.weight.shape[0]
    coupled = graph.get_pruning_group(module, graph.get_pruner_of_module(module).prune_out_channels, list(range(n)))
    items, reasons, adds = [], [], False
    for item in coupled.items:
        node = item.dep.target
        function = "" if node.grad_fn is None else node.grad_fn.name()
        adds |= function.startswith("AddBackward")
        found = _item(graph, item, names)
        if isinstance(found, str):
            reasons.append(found)
        elif found is not None:
            items.append(found)
    if used := next((item.module for item in items if item.module in shared), None):
        reasons.append(shared[used])
    for channels in runs([item.entries for item in items], n):
        yield _candidate(root, channels, items, adds, reasons, n)


def _candidate(root: str, channels: range, items: list[_Item], adds: bool, reasons: list[str], n: int) -> Candidate:
    sides: dict[str, list[Slice]] = {WRITES: [], READS: []}
    reasons = list(reasons)
    writers = 0
    for item in items:
        if channels[0] not in item.entries:
            continue
        layouts = layouts_of(item.entries, channels)
        if layouts is None:
            reasons.append(f"its channels are in no regular order in {item.module}")
            continue
        writers += item.side == WRITES and issubclass(item.kind, nn.Conv2d | nn.Linear)
        sides[item.side] += [Slice(item.module, item.axis, layout, item.parameter) for layout in layouts]
    if not sides[READS]:
        reasons.append(OUTPUT)
    name = root if len(channels) == n else f"{root}[{channels[0]}:{channels[-1] + 1}]"
    joined = adds and writers > 1
    group = Group(
        name, len(channels), tuple(sides[WRITES]), tuple(sides[READS]), kind="stream" if joined else "channels"
    )
    return Candidate(group, joined, reasons[0] if reasons else None)


def _item(graph: Any, item: Any, names: dict[nn.Module, str]) -> _Item | str | None:
    """The tensor axis of an item of torch-pruning's group; a reason where it is none known here; None: no tensor."""
    node = item.dep.target
    if item.root_idxs is None or None in item.root_idxs:
        return "its index map is not known"
    entries = _entries(item.idxs, item.root_idxs)
    module = node.module
    if isinstance(module, nn.Parameter):
        owner, _, parameter = graph._param_to_name[module].rpartition(".")
        axis = node.pruning_dim if node.pruning_dim >= 0 else module.dim() + node.pruning_dim
        return _Item(owner, nn.Module, WRITES, axis, entries, parameter)
    if module not in names:
        return None
    name = names[module]
    if isinstance(module, NORMS):
        return f"{name}, a {type(module).__name__}, normalises over its channels"
    if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.PReLU):
        return _Item(name, type(module), WRITES, 0, entries)
    if isinstance(module, DENSE):
        out = graph.is_out_channel_pruning_fn(item.dep.handler) or _depthwise(module)
        return _Item(name, type(module), WRITES, 0, entries) if out else _Item(name, type(module), READS, 1, entries)
    if next(module.parameters(), None) is not None:
        return f"{name}, a {type(module).__name__}, is no layer that can be sliced"
    return None


def _entries(entries: list[int], channels: list[int]) -> Entries:
    """{channel: its entries}."""
    if len(set(channels)) == len(channels):
        return dict(zip(channels, zip(entries), strict=True))  # tuples of one, made fast: there are very many
    found: dict[int, list[int]] = {}
    for entry, channel in sorted(zip(entries, channels, strict=True)):
        found.setdefault(channel, []).append(entry)
    return found


def _depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups > 1 and module.groups == module.out_channels


def _positions(piece: Slice, size: int) -> set[int]:
    return set(piece.layout.positions(range(size), size).tolist()) if piece.axis == 0 else set()


def _rows(group: Group, module: str) -> set[int]:
    return {row for piece in group.writes if piece.module == module for row in _positions(piece, group.size)}


def _normalised(graph: Any, names: dict[nn.Module, str]) -> dict[str, str]:
    """Convolution without a bias -> the BatchNorm that alone takes its output."""
    found = {}
    for module, node in graph.module2node.items():
        # A bias would not scale with the rest.
        if isinstance(module, nn.Conv2d) and module.bias is None and len(node.outputs) == 1:
            norm = node.outputs[0].module
            if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.weight is not None:
                found[names[module]] = names[norm]
    return found
