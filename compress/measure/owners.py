"""Which operator of a space each node of an ONNX graph works for, before and after an engine has optimised the graph.

Engines fuse nodes, insert others that change layouts, and keep one of the names they find. So the answer is written
into the names themselves, `operator#index`, before the engine sees the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from .regions import region

REST = "rest"
"""Owner of what belongs to no operator."""

MARK = "#"


class EngineLayer(NamedTuple):
    """A layer of the graph that an engine made of a file: the file's nodes in it, and the tensors that it reads and
    makes, by the engine's names."""

    name: str
    nodes: Sequence[str]
    reads: Sequence[str]
    makes: Sequence[str]


def layer_of(
    node: Any, modules: Mapping[str, str], operators: Collection[str], others: Collection[str] = ()
) -> str | None:
    """The operator that `node` computes itself: by the name of a weight, else by the module that made its output.

    `modules` are those of `onnx_graph`. Layers that are no operators, `others`, such as those of a detector's heads,
    are REST. The exporter merges a BatchNorm into its convolution and says then that the
    BatchNorm made the node; the weight's name still says which convolution. Softmax and the products of tokens belong
    to `<attention module>.products`.
    """
    for name in node.input[1:]:
        owner, _, kind = name.rpartition(".")
        if kind == "weight" and owner in operators:
            return owner
    module = modules[node.output[0]]
    if module in others:
        return REST
    around = module.rpartition(".")[0]
    return next((name for name in (module, f"{module}.products", f"{around}.products") if name in operators), None)


def name_by_owner(graph: Any, layers: Sequence[str | None], ends: Collection[int] = ()) -> None:
    """Rename all nodes of `graph`, and their outputs but the graph's own, to `operator#index`, in place.

    `layers` has an operator for every node, or None for a node that belongs to whatever made its latest input:
    activations to their convolution, sums to the branch that they add, layout changes to what came before. REST where
    nothing did, and behind the sums `ends` of blocks that may go: what follows there stays when the block goes.
    """
    kept = {output.name for output in graph.output}
    names: dict[str, str] = {}
    made: dict[str, tuple[int, str]] = {}  # tensor -> index and owner of the node that made it
    for index, (node, layer) in enumerate(zip(graph.node, layers, strict=True)):
        before = max((made[name] for name in node.input if name in made), default=(-1, REST))
        owner = layer or (REST if before[0] in ends else before[1])
        node.name = f"{owner}{MARK}{index}"
        made |= dict.fromkeys(node.output, (index, owner))
        names |= {o: o if o in kept else f"{node.name}.{i}" for i, o in enumerate(node.output)}
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for info in graph.value_info:
        info.name = names.get(info.name, info.name)


def owner_of(name: str) -> str | None:
    """The operator in the name of a node or tensor; None where the engine made the name up."""
    owner, mark, _ = name.partition(MARK)
    return owner if mark else None


def optimised_owners(graph: Any) -> dict[str, str]:
    """{node: operator} for the graph that an engine made of one whose nodes `name_by_owner` had named.

    A change of layout belongs to the node that reads the result, which is the one that asked for it.
    """
    readers: dict[str, Any] = {}
    for node in reversed(graph.node):
        readers |= dict.fromkeys(node.input, node)
    owners: dict[str, str] = {}
    for node in reversed(graph.node):
        reader = next((readers[name].name for name in node.output if name in readers), "")
        own = next((owner for name in (node.name, *node.output) if (owner := owner_of(name))), None)
        asked = owners.get(reader)
        owners[node.name] = (asked or own if node.op_type.startswith("Reorder") else own or asked) or REST
    return owners


def owners_in(graph: Any) -> dict[str, str]:
    """{node or tensor: operator} of an ONNX graph whose nodes `name_by_owner` has named; for what a node makes, too."""
    return {name: owner_of(node.name) or REST for node in graph.node for name in (node.name, *node.output)}


def layer_regions(layers: Sequence[EngineLayer], owners: Mapping[str, str]) -> dict[str, str]:
    """{layer: region} of an engine's `layers`, in their order; `owners` as `owners_in` gives them.

    A layer that holds no node of the file, such as a change of layout, belongs to the layer that reads its result, else
    to one that it reads.
    """
    known, found = set(owners.values()), dict[str, str]()
    asked, made = dict[str, str](), dict[str, str]()  # tensor -> region of the layer that reads it, that makes it
    for layer in reversed(layers):
        held = {owner for name in layer.nodes if (owner := owners.get(name) or owner_of(name)) in known}
        wanted = next((asked[name] for name in layer.makes if name in asked), None)
        if own := region(held - {REST} or held) if held else wanted:
            found[layer.name] = own
            asked |= dict.fromkeys(layer.reads, own)
    for layer in layers:
        before = next((made[name] for name in layer.reads if name in made), REST)
        made |= dict.fromkeys(layer.makes, found.setdefault(layer.name, before))
    return {layer.name: found[layer.name] for layer in layers}
