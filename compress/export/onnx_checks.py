"""What an ONNX file must be before anything is done with it: of known operators, whole, and by itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..plan import UserError, inside
from ..plan.errors import shown

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Domains whose operators are known: ONNX's, and those of ONNX Runtime's that its quantiser writes."""
PACKED = ("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2")
"""Types of which a byte holds several numbers."""
AGAIN = "export it again"


def check_structure(proto: Any, path: Path) -> None:
    """UserError unless the `onnx.ModelProto` has inputs, outputs, a known operator set and nodes of known domains, and
    tells no metadata twice."""
    import onnx

    newest = onnx.defs.onnx_opset_version()
    versions = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not 1 <= versions[0] <= newest:
        given = ", ".join(map(str, versions)) or "none"
        raise UserError(f"{path}: operator set {given}; must be one from 1 to {newest}; {AGAIN} with --opset 18 to 22")
    own = {function.domain for function in proto.functions}
    for node in _nodes(proto):
        if node.domain not in DOMAINS and node.domain not in own:
            raise UserError(
                f"{path}: node {shown(node.name)} is a {shown(node.op_type)} of the domain {shown(node.domain)}, which "
                f"is not known here; {AGAIN} with ONNX's own operators"
            )
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [entry for entry in proto.graph.input if entry.name not in weights]
    if not inputs or not proto.graph.output:
        raise UserError(f"{path}: has {len(inputs)} inputs and {len(proto.graph.output)} outputs; {AGAIN}")
    if odd := [entry.name for entry in inputs if not entry.type.tensor_type.HasField("shape")]:
        raise UserError(f"{path}: input {shown(odd[0])} is no tensor of a known shape; {AGAIN}")
    keys = Counter(entry.key for entry in proto.metadata_props)
    if twice := [key for key, count in keys.items() if count > 1]:
        raise UserError(f"{path}: its metadata tell {shown(twice[0])} {keys[twice[0]]} times; {AGAIN}")


def check_one_image(proto: Any, path: str | Path) -> None:
    """UserError unless a file that is no detector's has one input and one output, as classifiers have."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [entry.name for entry in proto.graph.input if entry.name not in weights]
    detector = any(entry.key == "detector" for entry in proto.metadata_props)
    if not detector and (len(inputs) != 1 or len(proto.graph.output) != 1):
        raise UserError(
            f"{path}: has {len(inputs)} inputs and {len(proto.graph.output)} outputs; a classifier has one of each; "
            "give a file that `nncompress export` or a run wrote"
        )


def check_tensors(proto: Any, path: Path) -> None:
    """UserError unless every tensor in the `onnx.ModelProto` has as many numbers as its shape claims, here or in files.

    Files that hold weights must lie in the folder of `path`: a name that leads out of it is never opened.
    """
    from onnx import TensorProto
    from onnx.external_data_helper import uses_external_data

    known = set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
    for tensor in _tensors(proto):
        name = shown(tensor.name)
        if tensor.data_type not in known or min(tensor.dims, default=0) < 0:
            raise UserError(
                f"{path}: weight {name!r} is of type {tensor.data_type} and shape {list(tensor.dims)[:8]}; {AGAIN}"
            )
        claimed = _claimed_bytes(tensor)
        if uses_external_data(tensor):
            _check_file(tensor, path, claimed)
        elif claimed is not None and (stored := _stored_bytes(tensor)) != claimed:
            raise UserError(
                f"{path}: weight {name!r} claims {list(tensor.dims)[:8]}, {claimed} bytes, and {stored} are stored; "
                f"the file is damaged or malicious; {AGAIN}"
            )


def check_numbers(proto: Any, path: str | Path) -> None:
    """UserError where a weight in the `onnx.ModelProto` is not a number; infinities are what masks are made of."""
    import numpy as np
    from onnx import TensorProto, numpy_helper
    from onnx.external_data_helper import uses_external_data

    for tensor in proto.graph.initializer:
        floats = tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
        if floats and not uses_external_data(tensor):
            odd = int(np.isnan(numpy_helper.to_array(tensor)).sum())
            if odd:
                raise UserError(
                    f"{path}: weight {shown(tensor.name)!r} holds NaN, {odd} of {math.prod(tensor.dims)} values; its "
                    "training diverged; export a network from before that"
                )


def _check_file(tensor: Any, path: Path, claimed: int | None) -> None:
    """UserError unless the file that holds `tensor` lies in the folder of `path` and is long enough."""
    from onnx.external_data_helper import ExternalDataInfo

    name = shown(tensor.name)
    try:
        info = ExternalDataInfo(tensor)
        start, length = int(info.offset or 0), int(info.length or claimed or 0)
        file = inside(path.parent, info.location, source=f"{path}: weight {name!r}")
        size = file.stat().st_size if file.is_file() else None
    except UserError:
        raise
    except (ValueError, TypeError, OSError, RuntimeError):  # numbers that are none; names no file can have, link loops
        raise UserError(f"{path}: weight {name!r} does not tell where its numbers lie; {AGAIN}") from None
    if size is None:
        raise UserError(f"{path}: weight {name!r} lies in {shown(file.name)}, which is missing; put it beside")
    if start < 0 or length < 0 or start + length > size or (claimed is not None and claimed != length):
        raise UserError(f"{path}: weight {name!r} lies in {shown(file.name)}, which is cut off; copy it again")


def _claimed_bytes(tensor: Any) -> int | None:
    """Bytes of the numbers that the shape of `tensor` claims; None for texts and packed types."""
    import numpy as np
    from onnx import TensorProto, helper

    if tensor.data_type == TensorProto.STRING or TensorProto.DataType.Name(tensor.data_type) in PACKED:
        return None
    return math.prod(tensor.dims) * int(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize)


def _stored_bytes(tensor: Any) -> int:
    """Bytes of the numbers that `tensor` carries, whichever of its fields they are in."""
    import numpy as np
    from onnx import TensorProto, helper

    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    field = helper.tensor_dtype_to_field(tensor.data_type)
    count = len(getattr(tensor, field))
    if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        count //= 2
    return count * int(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize)


def _nodes(proto: Any) -> Iterator[Any]:
    """Every node of the `onnx.ModelProto`, those of subgraphs and functions too."""
    waiting = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        for entry in node.attribute:
            for graph in (entry.g, *entry.graphs):
                waiting += graph.node


def _tensors(proto: Any) -> Iterator[Any]:
    """Every tensor of the `onnx.ModelProto`: weights, and constants of nodes, of subgraphs too."""
    graphs = [proto.graph]
    for node in _nodes(proto):
        for entry in node.attribute:
            graphs += [graph for graph in (entry.g, *entry.graphs) if graph.initializer or graph.sparse_initializer]
            yield from (entry.t, *entry.tensors) if entry.HasField("t") else entry.tensors
            for sparse in (entry.sparse_tensor, *entry.sparse_tensors):
                if sparse.HasField("values"):
                    yield from (sparse.values, sparse.indices)
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
