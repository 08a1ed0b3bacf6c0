"""ONNX file -> TensorRT network, with errors that name the node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...plan import UserError

SHOWN = 3  # errors of one file

DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT64": "int64",
    "INT32": "int32",
    "INT8": "int8",
    "UINT8": "uint8",
    "BOOL": "bool",
}
"""TensorRT's name of a type -> PyTorch's and NumPy's."""


def parse_onnx(trt: Any, builder: Any, log: Any, path: Path, *, strongly_typed: bool) -> Any:
    """The network of the ONNX file at `path`. The caller must hold it: neither parser nor builder does.

    With `strongly_typed` the file's own types hold; TensorRT 11 and TensorRT-RTX know nothing else.
    Raises UserError naming each node that this version cannot take, its operator and the reason.
    """
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None) if strongly_typed else None
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(path.read_bytes(), str(path.resolve())):
        found = [_describe(parser.get_error(index)) for index in range(min(parser.num_errors, SHOWN))]
        more = f" and {parser.num_errors - SHOWN} more" if parser.num_errors > SHOWN else ""
        raise UserError(
            f"{path}: {trt.__name__} {trt.__version__} cannot take {'; '.join(found)}{more}; "
            "write that part of the network with other operators"
        )
    return network


def _describe(error: Any) -> str:
    """One error of the parser: node, operator, reason."""
    kind = error.code().name.lower().replace("_", " ")
    detail = " ".join(error.desc().split())
    reason = kind if detail in ("", "false") else f"{kind}, {detail}"  # the checkers' own words may be just "false"
    if not error.node_operator():
        return f"the file ({reason})"
    return f"node {error.node_name() or error.node()!r} (operator {error.node_operator()}: {reason})"


def add_profile(builder: Any, builder_config: Any, network: Any, batch: tuple[int, int, int]) -> dict[str, Any]:
    """Let every input with a free first axis take the batch sizes (min, opt, max); returns {input: its shapes}.

    Raises UserError when another axis is free, or when the network is bound to another batch size.
    """
    profile = builder.create_optimization_profile()
    shapes: dict[str, Any] = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        first, *rest = tuple(tensor.shape)
        if min(rest, default=1) < 1:
            raise UserError(f"input {tensor.name!r} has the shape {(first, *rest)}: only the batch may be free; fix it")
        if first > 0 and (first, first, first) != tuple(batch):
            raise UserError(
                f"batch = {':'.join(map(str, batch))}: input {tensor.name!r} is bound to batches of {first}; "
                f"use {first}:{first}:{first}, or export with a free batch axis"
            )
        sizes = [(size, *rest) for size in batch]
        profile.set_shape(tensor.name, *sizes)
        shapes[tensor.name] = dict(zip(("min", "opt", "max"), map(list, sizes), strict=True))
    if builder_config.add_optimization_profile(profile) < 0:
        raise UserError(f"batch = {':'.join(map(str, batch))}: refused as an optimisation profile; try other sizes")
    return shapes


def describe_tensors(network: Any) -> dict[str, list[dict[str, Any]]]:
    """{"inputs", "outputs"}: name, dtype and shape (-1: free) of each, in order."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    return {"inputs": [_describe_tensor(t) for t in inputs], "outputs": [_describe_tensor(t) for t in outputs]}


def _describe_tensor(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": DTYPES[tensor.dtype.name], "shape": list(tensor.shape)}
