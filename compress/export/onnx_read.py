"""Read an ONNX file, with errors that say what is wrong with it, and what its input is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..plan import UserError


def read_onnx(path: str | Path, *, weights: bool = False) -> Any:
    """The `onnx.ModelProto` at `path`; weights that lie in other files are read only when `weights` is set.

    Raises UserError when the file is missing, has another extension, is no ONNX model, or when a file that its weights
    lie in is missing.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    path = Path(path)
    if path.suffix != ".onnx":
        raise UserError(f"{path}: must be an .onnx file; tools/export.py RUN --to onnx writes one")
    if not path.is_file():
        raise UserError(f"{path}: no such file; tools/export.py RUN --to onnx writes one")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except DecodeError:
        proto = None
    if proto is None or not proto.graph.node:
        raise UserError(f"{path}: not an ONNX model, or cut off; export it again")
    tensors = [tensor for tensor in proto.graph.initializer if uses_external_data(tensor)]
    for tensor in tensors:
        file = path.parent / ExternalDataInfo(tensor).location
        if not file.is_file():
            raise UserError(f"{path}: weight {tensor.name!r} lies in {file.name}, which is missing; put it beside")
    if weights and tensors:
        onnx.load_external_data_for_model(proto, str(path.parent))
    return proto


def takes_pixels(proto: Any) -> bool:
    """Whether the input of the `onnx.ModelProto` is uint8, as `export_pixels` makes it."""
    from onnx import TensorProto

    return bool(proto.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8)
