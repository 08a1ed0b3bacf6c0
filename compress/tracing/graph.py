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
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from ..plan import UserError
from ..plan.errors import FAULTS, reason
from ..spaces import Group, Slice, kind_of
from .layouts import Entries, layouts_of, runs
from .steps import coupled, ends_in

WRITES, READS = "writes", "reads"
CONV, TRANSPOSED = nn.modules.conv._ConvNd, nn.modules.conv._ConvTransposeNd
DENSE = CONV | nn.Linear
ELEMENTWISE = nn.modules.batchnorm._NormBase | nn.PReLU | nn.GroupNorm
UNKNOWN = "its index map is not known"
LOST = "it is not known which layers read it"
OUTPUT = "no convolution or linear layer reads it, as where it is an output"


@dataclass
class Candidate:
    """Channels that seem to live and die together; `reason` says why they cannot be a group, None: to be verified.

    `adds`: an addition joins several layers that write them, as in a residual stream. `doubt`: it may be no fault of
    the network's that they cannot, but of what was found out about it.
    """

    group: Group
    adds: bool = False
    reason: str | None = None
    doubt: bool = False

    @property
    def root(self) -> str:
        """The layer that it was found at, which may be in `writes` no more where its channels are in no order."""
        return self.group.name.partition("[")[0]

    @property
    def writers(self) -> set[str]:
        """The layers and the owners of parameters that write them."""
        return {self.root, *(piece.module for piece in self.group.writes)}

    @property
    def output(self) -> bool:
        """Whether nothing in the network reads them, as far as it is known."""
        return not self.group.reads and not self.doubt


@dataclass
class Trace:
    """What the graph says of a network: candidates in forward order, and layers whose output only a BatchNorm takes."""

    candidates: list[Candidate]
    normalised: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One tensor axis that a channel of the root layer is coupled to."""

    module: str
    kind: type[nn.Module]
    side: str
    axis: int
    entries: Entries
    parameter: str | None = None


def trace(model: nn.Module, example: tuple[Any, ...], shared: Mapping[str, str]) -> Trace:
    """The candidates of `model`, in evaluation mode on the CPU, called with `example`. Its parameters take gradients
    afterwards. UserError where it cannot be traced.

    Args:
        model: the network.
        example: arguments of its forward pass.
        shared: as `shared_layers` gives them.
    """
    for value in model.parameters():
        value.requires_grad_(value.is_floating_point())
    graph = _graph(model, example)
    names = {module: name for name, module in model.named_modules()}
    candidates: list[Candidate] = []
    covered: dict[str, set[int]] = {}
    for name, module in model.named_modules():
        if not isinstance(module, DENSE) or module not in graph.module2node or depthwise(module):
            continue
        if len(covered.get(name, ())) < n_outputs(module):
            for each in _candidates(graph, name, module, names, shared):
                add_new(each, candidates, covered)
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
                model,
                example,
                forward_fn=lambda net, inputs: net(*inputs),
                output_transform=lambda outputs: [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)],
                verbose=False,
            )
        except FAULTS as error:
            raise UserError(
                f"model = {kind_of(model)}: its layers cannot be traced ({reason(error)}); use a network whose forward "
                "pass PyTorch can differentiate"
            ) from None


def _candidates(
    graph: Any, root: str, module: nn.Module, names: dict[nn.Module, str], shared: Mapping[str, str]
) -> Iterable[Candidate]:
    """What the channels that `root` writes are coupled to, in runs."""
    n = n_outputs(module)
    try:
        reached = coupled(graph, module, n).items
    except FAULTS as error:
        group = Group(root, n, (Slice(root, 0),), ())
        yield Candidate(group, reason=f"what reads its channels cannot be traced ({reason(error)})", doubt=True)
        return
    items, reasons, adds, doubt = list[Item](), list[str](), False, False
    for item in reached:
        node = item.dep.target
        function = "" if node.grad_fn is None else node.grad_fn.name()
        adds |= function.startswith("AddBackward")
        found = _items(graph, item, names)
        if isinstance(found, str):
            reasons.append(found)
            doubt |= found == UNKNOWN
        else:
            items += found
    if used := next((item.module for item in items if item.module in shared), None):
        reasons.append(shared[used])
    made = [candidate(root, channels, items, adds, reasons, n) for channels in runs([i.entries for i in items], n)]
    lost = any(not each.group.reads for each in made) and ends_in(graph, module, DENSE)
    for each in made:
        if lost and not each.group.reads:
            each.doubt, each.reason = True, LOST if each.reason == OUTPUT else each.reason
        each.doubt |= doubt
    yield from made


def candidate(root: str, channels: range, items: list[Item], adds: bool, reasons: list[str], n: int) -> Candidate:
    """What `items` say of a run of channels.

    Args:
        root: the layer that writes them first.
        channels: numbers in the entries of `items`.
        items: tensor axes that channels of `root` are coupled to.
        adds: as Candidate has it, where several layers write them.
        reasons: why they cannot be a group.
        n: how many channels `root` has.
    """
    sides: dict[str, list[Slice]] = {WRITES: [], READS: []}
    reasons, writers, doubt = list(reasons), 0, False
    for item in items:
        if channels[0] not in item.entries:
            continue
        layouts = layouts_of(item.entries, channels)
        if layouts is None:
            reasons.append(f"its channels are in no regular order in {item.module}")
            doubt = True
            continue
        writers += item.side == WRITES and issubclass(item.kind, DENSE) and item.parameter != "bias"
        sides[item.side] += [Slice(item.module, item.axis, layout, item.parameter) for layout in layouts]
    if not sides[READS]:
        reasons.append(OUTPUT)
    name = root if len(channels) == n else f"{root}[{channels[0]}:{channels[-1] + 1}]"
    joined = adds and writers > 1
    group = Group(
        name, len(channels), tuple(sides[WRITES]), tuple(sides[READS]), kind="stream" if joined else "channels"
    )
    return Candidate(group, joined, reasons[0] if reasons else None, doubt)


def _items(graph: Any, item: Any, names: dict[nn.Module, str]) -> tuple[Item, ...] | str:
    """The tensor axes of an item of torch-pruning's group, if any; a reason where they are none known here."""
    node = item.dep.target
    if item.root_idxs is None or None in item.root_idxs:
        return UNKNOWN
    entries = _entries(item.idxs, item.root_idxs)
    module = node.module
    if isinstance(module, nn.Parameter):
        owner, _, parameter = graph._param_to_name[module].rpartition(".")
        axis = node.pruning_dim if node.pruning_dim >= 0 else module.dim() + node.pruning_dim
        return (Item(owner, nn.Module, WRITES, axis, entries, parameter),)
    if module not in names:
        return ()
    out = isinstance(module, DENSE) and graph.is_out_channel_pruning_fn(item.dep.handler)
    return ends(names[module], module, entries, out=out)


def ends(name: str, module: nn.Module, entries: Entries, *, out: bool) -> tuple[Item, ...] | str:
    """The tensor axes of the layer `name` where it has channels at `entries` of what it writes (`out`) or reads, if
    any; a reason where they are none known here."""
    kind = type(module)
    if isinstance(module, nn.LayerNorm) or (isinstance(module, nn.GroupNorm) and module.num_groups == 1):
        return f"{name}, a {kind.__name__}, normalises over its channels"
    if parametrize.is_parametrized(module) or (isinstance(module, DENSE) and "weight" not in module._parameters):
        remedy = "remove_parametrizations or remove_spectral_norm of torch.nn.utils helps"
        return f"the weight of {name} is computed of others; {remedy}"
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return ()
    if isinstance(module, ELEMENTWISE):
        return (Item(name, kind, WRITES, 0, entries),)
    if isinstance(module, DENSE):
        return _dense_ends(name, module, entries, out=out or depthwise(module))
    if next(module.parameters(), None) is not None:
        return f"{name}, a {kind.__name__}, is no layer that can be sliced"
    return ()


def _dense_ends(name: str, module: nn.Module, entries: Entries, *, out: bool) -> tuple[Item, ...] | str:
    """Where the layer `name` writes (`out`) or reads channels: of a transposed convolution the axes are swapped."""
    kind = type(module)
    if not isinstance(module, TRANSPOSED) or depthwise(module):
        return (Item(name, kind, WRITES, 0, entries) if out else Item(name, kind, READS, 1, entries),)
    if module.groups > 1:
        return f"{name}, a transposed convolution of {module.groups} groups, is no layer that can be sliced"
    if not out:
        return (Item(name, kind, READS, 0, entries, "weight"),)
    bias = () if module.bias is None else (Item(name, kind, WRITES, 0, entries, "bias"),)
    return (Item(name, kind, WRITES, 1, entries, "weight"), *bias)


def _entries(entries: list[int], channels: list[int]) -> Entries:
    """{channel: its entries}."""
    if len(set(channels)) == len(channels):
        return dict(zip(channels, zip(entries), strict=True))  # tuples of one, made fast: there are very many
    found: dict[int, list[int]] = {}
    for entry, channel in sorted(zip(entries, channels, strict=True)):
        found.setdefault(channel, []).append(entry)
    return found


def n_outputs(module: nn.Module) -> int:
    """How many channels or features a layer writes."""
    n: int = getattr(module, "out_channels" if isinstance(module, CONV) else "out_features")
    return n


def add_new(each: Candidate, candidates: list[Candidate], covered: dict[str, set[int]]) -> None:
    """Append a candidate to `candidates` unless some of what its root writes is theirs, {layer: rows} in `covered`."""
    if covered.setdefault(each.root, set()).isdisjoint(rows_of(each.group, each.root)):
        candidates.append(each)
        for piece in each.group.writes:
            covered.setdefault(piece.module, set()).update(_positions(piece, each.group.size))


def depthwise(module: nn.Module) -> bool:
    """Whether it is a convolution of each channel for itself."""
    return isinstance(module, CONV) and module.groups > 1 and module.groups == module.out_channels


def _positions(piece: Slice, size: int) -> set[int]:
    writes = piece.axis == 0 or piece.parameter == "weight"
    return set(piece.layout.positions(range(size), size).tolist()) if writes else set()


def rows_of(group: Group, module: str) -> set[int]:
    """The rows of the weights of `module` that are channels of `group`."""
    return {row for piece in group.writes if piece.module == module for row in _positions(piece, group.size)}


def _normalised(graph: Any, names: dict[nn.Module, str]) -> dict[str, str]:
    """Convolution without a bias -> the BatchNorm that alone takes its output."""
    found = {}
    for module, node in graph.module2node.items():
        # A bias would not scale with the rest.
        if isinstance(module, nn.Conv2d) and module.bias is None and len(node.outputs) == 1:
            norm = node.outputs[0].module
            batch = isinstance(norm, nn.modules.batchnorm._BatchNorm)
            if batch and norm.weight is not None and norm.running_mean is not None:
                found[names[module]] = names[norm]
    return found
