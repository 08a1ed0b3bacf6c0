"""Read an ONNX file, with errors that say what is wrong with it, and what its input is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..plan import UserError
from ..plan.errors import reason
from .onnx_checks import check_structure, check_tensors

BROKEN = (ValueError, TypeError, OSError, RuntimeError, MemoryError, LookupError, ArithmeticError)
"""What ONNX's checker and its reader of other files raise, beside errors of their own."""


def read_onnx(path: str | Path, *, weights: bool = False) -> Any:
    """The `onnx.ModelProto` at `path`; with `weights` those in other files too, and the whole is checked.

    Raises UserError when the file is missing, has another extension, is no ONNX model, breaks a rule of `onnx_checks`,
    or when a file that its weights lie in is missing, cut off or in another folder; with `weights` also when the model
    breaks ONNX's rules.
    """
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(path)
    if path.suffix != ".onnx":
        raise UserError(f"{path}: must be an .onnx file; `nncompress export RUN --to onnx` writes one")
    if not path.is_file():
        raise UserError(f"{path}: no such file; `nncompress export RUN --to onnx` writes one")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except (DecodeError, UnicodeError):
        proto = None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); correct its rights") from None
    if proto is None or not proto.graph.node:
        raise UserError(f"{path}: not an ONNX model, or cut off; export it again")
    check_structure(proto, path)
    check_tensors(proto, path)
    if weights:
        try:
            onnx.load_external_data_for_model(proto, str(path.parent))
            onnx.checker.check_model(proto, full_check=True)
        except (*BROKEN, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise UserError(f"{path}: not a valid ONNX model ({reason(error)}); export it again") from error
    return proto


def check_other(path: str | Path, source: str | Path) -> None:
    """UserError when writing `path` would replace `source`, which it is made from."""
    if Path(path).resolve() == Path(source).resolve():
        raise UserError(f"{path}: is the file to read; give another name")


def takes_pixels(proto: Any) -> bool:
    """Whether the input of the `onnx.ModelProto` is uint8, as `export_pixels` makes it."""
    from onnx import TensorProto

    return bool(proto.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8)
