"""One exported network at many widths: its ONNX graph is sliced by cutting weights, not by exporting again.

An export takes seconds to half a minute, and a latency table needs dozens of networks that differ in widths alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ..export.onnx_file import onnx_graph
from ..spaces import Group, Layout, Slice, Space, sizes
from ..spaces.groups import PLAIN
from .bypass import bypasses_in, constant_writers, constants, keep_live, take_out
from .owners import MARK, layer_of, name_by_owner, owner_of

LONGEST = -1
"""The axis of a bias that broadcasts along all others, [C] for tokens and [1, C, 1, 1] for maps."""

WRITTEN = {
    "Conv": {1: 0, 2: 0},
    "Gemm": {1: 0, 2: 0},
    "MatMul": {1: 1},
    "Add": {0: LONGEST, 1: LONGEST},
    "BatchNormalization": {1: 0, 2: 0, 3: 0, 4: 0},
}
"""Node type -> {input: axis of that weight which runs over what the layer writes}; Gemm with transB = 1."""

READ = {"Conv": {1: 1}, "Gemm": {1: 1}, "MatMul": {1: 0}}
"""Node type -> {input: axis of that weight which runs over what the layer reads}."""


@dataclass(frozen=True)
class Cut:
    """Axis `axis` of the weight `tensor` holds the channels of `group`, by `layout`."""

    tensor: str
    axis: int
    group: str
    layout: Layout = PLAIN


@dataclass(frozen=True)
class Reshape:
    """The last entry of the target shape `tensor` is `copies` times the width of `group`."""

    tensor: str
    group: str
    copies: int


class WidthGraphs:
    """ONNX graphs of what is timed of `space` at any widths, from one export of `model`, which has all its channels.

    A graph equals the export of the network sliced to the first channels of every group, without the blocks that have
    none, and its nodes are named after operators (`owner_of`). `model` must not hold two equal parameters: the exporter
    would merge them. Raises RuntimeError when a layer that a group names is not in the exported graph.

    Example::

        graphs = WidthGraphs(model, space, input_size=(3, 32, 32))
        session = onnxruntime.InferenceSession(graphs.at({"layer2.0.conv1": 24}))
    """

    def __init__(self, model: nn.Module, space: Space, *, input_size: tuple[int, int, int]) -> None:
        from onnx import numpy_helper

        self.sizes = sizes(space.groups)
        timed = space.timed(model, input_size)
        self.proto, modules = onnx_graph(timed, input_size=input_size, batch=space.timed_batch)
        graph = self.proto.graph
        self.tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        graph.ClearField("initializer")
        operators = {op.name for op in space.operators(input_size)}
        layers = layers_in(graph, modules, timed, operators)
        self._nodes: dict[str, list[int]] = {}
        for index, layer in enumerate(layers):
            self._nodes.setdefault(layer or "", []).append(index)
        self.cuts: list[Cut] = []
        self.heads: list[Reshape] = []
        self.grouped: dict[int, list[str]] = {}  # convolution -> groups whose channels are its own groups
        self.gathers: dict[int, tuple[str, int]] = {}  # node -> group, axis
        self._writers: set[int] = set()
        self._readers: set[int] = set()
        buffers = dict(model.named_buffers())
        for group in space.groups:
            self._plan_layers(group)
            if group.index in buffers:
                layers[self._plan_own_gather(group)] = first_layer(group)
            elif group.index is not None:
                self._plan_gather(group)
            if group.kind == "attention":
                self._plan_heads(group)
        self.bypasses = bypasses_in(graph, layers, space.groups)
        self._forget_shapes()
        self._plan_constants(model, space)
        name_by_owner(graph, layers, {bypass.add for bypass in self.bypasses})

    def at(self, widths: Mapping[str, int]) -> bytes:
        """The serialised model at `widths`, {group: channels}; groups that are not named keep all of theirs."""
        from onnx import ModelProto, helper, numpy_helper

        full = {**self.sizes, **widths}
        model = ModelProto()
        model.CopyFrom(self.proto)
        gone = [bypass for bypass in self.bypasses if full[bypass.group] == 0]
        take_out(model.graph, gone)
        tensors = {**self.tensors, **{name: self.constants[name] for b in gone if (name := b.constant)}}
        lost: dict[tuple[str, int], list[np.ndarray]] = {}
        for cut in self.cuts:
            width, size = full[cut.group], self.sizes[cut.group]
            if width < size and cut.tensor in tensors:
                positions = cut.layout.positions(range(width, size), size).numpy()
                lost.setdefault((cut.tensor, cut.axis), []).append(positions)
        for (name, axis), parts in lost.items():
            tensors[name] = np.delete(tensors[name], np.concatenate(parts), axis=axis)
        for head in self.heads:
            shape = tensors[head.tensor].copy()
            shape[-1] = head.copies * full[head.group]
            tensors[head.tensor] = shape
        for index, groups in self.grouped.items():
            (attribute,) = (a for a in model.graph.node[index].attribute if a.name == "group")
            attribute.i -= sum(self.sizes[group] - full[group] for group in groups)
        for index in sorted(self.gathers, reverse=True):  # from the back, so that indices stay right
            group, axis = self.gathers[index]
            if full[group] < self.sizes[group]:
                node = model.graph.node[index]
                name = f"{owner_of(node.name)}{MARK}gather{index}"
                tensors[f"{name}.index"] = np.arange(full[group])
                made = helper.make_node("Gather", [node.input[0], f"{name}.index"], [name], name, axis=axis)
                node.input[0] = name
                model.graph.node.insert(index, made)
        if gone:
            tensors = keep_live(model.graph, tensors)
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
        return model.SerializeToString()

    def _plan_layers(self, group: Group) -> None:
        """Which weights the group's width cuts, and which convolutions have it as their number of groups."""
        for piece in group.writes:
            self._writers |= self._plan_cuts(piece, group, WRITTEN)
        for piece in group.reads:
            found = self._plan_cuts(piece, group, READ)
            self._readers |= found
            if not found:
                raise RuntimeError(f"{piece.module}: no node of the exported graph reads group {group.name}")

    def _plan_cuts(self, piece: Slice, group: Group, axes: Mapping[str, Mapping[int, int]]) -> set[int]:
        """Plan the cuts of one layer and return its nodes: none for a BatchNorm merged into its convolution."""
        found = set()
        for index in self._nodes.get(piece.module, []):
            node = self.proto.graph.node[index]
            for position, axis in axes.get(node.op_type, {}).items():
                if position < len(node.input) and node.input[position] in self.tensors:
                    tensor = node.input[position]
                    own = int(np.argmax(self.tensors[tensor].shape)) if axis == LONGEST else axis
                    self.cuts.append(Cut(tensor, own, group.name, piece.layout))
                    found.add(index)
            # Copies of a group, one in each of a convolution's own groups, leave their number.
            if (
                axes is WRITTEN
                and piece.layout.copies == 1
                and any(a.name == "group" and a.i > 1 for a in node.attribute)
            ):
                self.grouped.setdefault(index, []).append(group.name)
        return found

    def _plan_constants(self, model: nn.Module, space: Space) -> None:
        """What is left of blocks, as long as what the layers that make it write."""
        self.constants = constants(model, space.groups)
        for tensor, layer in constant_writers(space.groups):
            for group in space.groups:
                own = [piece for piece in group.writes if piece.module == layer]
                self.cuts += [Cut(tensor, 0, group.name, piece.layout) for piece in own]

    def _plan_gather(self, group: Group) -> None:
        """Where the group's channels are gathered from a wider stream: at the first layer that has their width."""
        index = self._first_node(group)
        tokens = self.proto.graph.node[index].op_type in ("MatMul", "Gemm")
        self.gathers[index] = (group.name, -1 if tokens else 1)

    def _plan_own_gather(self, group: Group) -> int:
        """Plan the cut of a gather that the network has already, because it is pruned; returns its node.

        It is the first node of the first layer that has the group's width, or the one before. Equal indices are one
        tensor in the graph: each gather gets its own.
        """
        nodes, first = self.proto.graph.node, self._first_node(group)
        made = {output: index for index, node in enumerate(nodes) for output in node.output}
        for index in (first, made.get(nodes[first].input[0], first)):
            node = nodes[index]
            kept = self.tensors.get(node.input[1]) if node.op_type == "Gather" else None
            if kept is not None and kept.shape == (group.size,):
                own = f"{node.input[1]}.{index}"
                self.tensors[own] = kept
                node.input[1] = own
                self.cuts.append(Cut(own, 0, group.name))
                self._writers.add(index)
                return index
        raise RuntimeError(f"{group.name}: no gather of {group.size} channels in the exported graph")

    def _first_node(self, group: Group) -> int:
        if (first := first_layer(group)) not in self._nodes:
            raise RuntimeError(f"{first}: no node of the exported graph reads the stream of group {group.name}")
        return self._nodes[first][0]

    def _plan_heads(self, group: Group) -> None:
        """The target shapes behind query, key, value (..., heads, size) and before the projection (..., heads * size).

        Equal shapes are one tensor in the graph: these get their own.
        """
        written = {
            name for index in self._nodes[group.writes[0].module] for name in self.proto.graph.node[index].output
        }
        read = {self.proto.graph.node[index].input[0] for index in self._nodes[group.reads[0].module]}
        heads, found = group.reads[0].layout.copies, 0
        for index, node in enumerate(self.proto.graph.node):
            if node.op_type != "Reshape" or node.input[1] not in self.tensors:
                continue
            for copies, fits in ((1, node.input[0] in written), (heads, node.output[0] in read)):
                if fits:
                    own = f"{node.input[1]}.{index}"
                    self.tensors[own] = self.tensors[node.input[1]]
                    node.input[1] = own
                    self.heads.append(Reshape(own, group.name, copies))
                    found += 1
        if found != 2:
            raise RuntimeError(f"{group.name}: {found} reshapes of heads in the exported graph, 2 expected")

    def _forget_shapes(self) -> None:
        """Drop the shapes that depend on widths; engines cannot find all others by themselves."""
        graph, sized = self.proto.graph, set[str]()
        for index, node in enumerate(graph.node):
            if index in self._writers or (index not in self._readers and not sized.isdisjoint(node.input)):
                sized |= set(node.output)
        known = [info for info in graph.value_info if info.name not in sized]
        graph.ClearField("value_info")
        graph.value_info.extend(known)
        used = {name for node in graph.node for name in node.input}
        self.tensors = {name: value for name, value in self.tensors.items() if name in used}


def layers_in(
    graph: Any, modules: Mapping[str, str], network: nn.Module, operators: Collection[str]
) -> list[str | None]:
    """`layer_of` every node of `graph`, which `onnx_graph` made of `network`, with its note of their `modules`.

    Args:
        graph: of the ONNX model.
        modules: {tensor: module that made it}.
        network: what was exported.
        operators: names of those of its space.
    """
    layers = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    return [layer_of(node, modules, operators, layers.difference(operators)) for node in graph.node]


def first_layer(group: Group) -> str:
    """The first layer that has the group's width: where it is gathered from a wider stream, if it is."""
    return group.modules[0]
