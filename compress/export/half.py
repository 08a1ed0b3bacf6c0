"""Rewrite a float32 ONNX network in float16, with float32 where float16 loses too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..plan import UserError, replacing
from .agreement import check_network
from .onnx_read import read_onnx, takes_pixels

NORMS = ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "ReduceMean", "ReduceL2", "Pow", "Sqrt")
SUMS = ("Softmax", "LogSoftmax", "ReduceSum", "Exp", "Log", "Reciprocal")
FLOAT32_OPERATORS = (*NORMS, *SUMS)
"""Operators that stay in float32: they add up or divide many values, or leave float16's range of 6e-8 to 65504."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "Relu")
"""Operators that become float16 in a detector's heads too."""


def half_model(proto: Any) -> Any:
    """A strongly typed float16 copy of the `onnx.ModelProto` `proto`; inputs and outputs stay float32.

    Weights and arithmetic become float16, except for FLOAT32_OPERATORS and those ONNX Runtime's converter always keeps;
    `Cast` nodes stand at the borders. Of a detector what follows the first choice of the best boxes (TopK), or depends
    on a second input, stays in float32 but for WEIGHTED: float16 rounds coordinates and indices beyond 2048, and areas
    are beyond its largest number. The result is checked (`onnx.checker`, with shape
    inference). Raises UserError when the network is quantised, takes pixels or images of any size, or has no float32
    weights.

    Example::

        proto = half_model(onnx.load("model.onnx"))
    """
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    _check_float(proto)
    source = type(proto)()
    source.CopyFrom(proto)
    chosen = _after_choices(source.graph)
    half = convert_float_to_float16(
        source,
        keep_io_types=True,
        op_block_list=[*FLOAT32_OPERATORS, *DEFAULT_OP_BLOCK_LIST],
        node_block_list=chosen,
    )
    ordered = OnnxModel(half)
    if chosen:
        _without_detours(half.graph)
        ordered.prune_graph()
    ordered.topological_sort()  # the converter appends its casts at the end
    del ordered.model.graph.value_info[:]  # and leaves some types as they were
    onnx.checker.check_model(ordered.model, full_check=True)
    return ordered.model


def _check_float(proto: Any) -> None:
    """UserError for a network that is not float32 throughout, or computes what float16 would round."""
    said = None
    if is_quantised(proto):
        said = "is quantised (QuantizeLinear nodes)", "give the float32 network instead"
    elif is_half(proto):
        said = "is float16 already", "leave the option out"
    elif takes_pixels(proto):
        said = "takes pixels (uint8)", "give the float32 one that it was made from"
    elif any(axis.dim_param for axis in proto.graph.input[0].type.tensor_type.shape.dim[1:]):
        said = "computes its anchors, which float16 would round", "give --input-size H W"
    if said is not None:
        raise UserError(f"this ONNX network {said[0]}", argument="fp16", remedy=said[1])


def _after_choices(graph: Any) -> list[str]:
    """Names of the nodes, but for WEIGHTED, that depend on a TopK or on another input than the first."""
    reached, names = {entry.name for entry in list(graph.input)[1:]}, []
    for node in graph.node:
        if node.op_type == "TopK" or not reached.isdisjoint(node.input):
            reached.update(node.output)
            if node.op_type not in WEIGHTED:
                names.append(node.name)
    return names


def _without_detours(graph: Any) -> None:
    """Let float32 pass from node to node: the converter rounds it to float16 and back between nodes it leaves alone."""
    from onnx import TensorProto, helper

    casts = [node for node in graph.node if node.op_type == "Cast"]
    own = [
        node for node in casts if node.name.endswith("_cast_to_fp16_node") or node.name.startswith("graph_input_cast")
    ]
    rounded, kept = {node.output[0]: node.input[0] for node in own}, {}
    for node in casts:
        if node.input[0] in rounded and helper.get_node_attr_value(node, "to") == TensorProto.FLOAT:
            node.input[0] = kept[node.output[0]] = rounded[node.input[0]]
    for node in graph.node:
        node.input[:] = [kept.get(name, name) for name in node.input]


def is_half(proto: Any) -> bool:
    """Whether the weights of the `onnx.ModelProto` are float16 (or bfloat16), rather than float32."""
    from onnx import TensorProto

    types = [tensor.data_type for tensor in proto.graph.initializer]
    return TensorProto.FLOAT16 in types or TensorProto.BFLOAT16 in types


def is_quantised(proto: Any) -> bool:
    """Whether the `onnx.ModelProto` has QuantizeLinear or DequantizeLinear nodes."""
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in proto.graph.node)


def export_half(source: str | Path, path: str | Path) -> Path:
    """Write the float32 ONNX file `source` as a float16 one at `path`; raises as `half_model` and `read_onnx` do.

    Example::

        export_half("model.onnx", "model.fp16.onnx")
    """
    import onnx

    given = read_onnx(source, weights=True)
    check_network(source, given)
    proto = half_model(given)
    with replacing(path) as tmp:
        onnx.save_model(proto, str(tmp))
    return Path(path)
