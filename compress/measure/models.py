"""Files that compute: ONNX files, TensorRT engines and run folders, each opened by its backend."""

from __future__ import annotations

from pathlib import Path

import torch

from ..export.onnx_read import read_onnx
from ..plan import UserError
from ..plan.backends import BACKENDS
from .backends import Backend
from .session import Session


def open_model(
    path: str | Path, *, backend: str | None = None, threads: int = 1, batch: int = 1, trust: bool = False
) -> Session:
    """Open an .onnx file, an .engine, or a run folder (a stem or .safetensors file likewise).

    Args:
        path: of the file or folder.
        backend: None: what the file is for. An .onnx file with a TensorRT backend is built first, for `batch` images,
            which takes minutes.
        threads: of backends on the CPU.
        batch: images of a call.
        trust: of engines, as `Engine` has it.

    Raises UserError when the file is missing or broken, has more than one input or output, does not fit `backend`, or
    needs a GPU that is not there.

    Example::

        open_model("model.onnx", threads=4)
    """
    path = Path(path)
    chosen = _chosen(path, file_backend(path), backend)
    return chosen.open(path, threads=threads, batch=batch, trust=trust)


def file_backend(path: Path) -> Backend | None:
    """The backend whose own file `path` is; None for run folders. UserError where the file does not say."""
    return next((found for found in BACKENDS.every() if found.owns(path)), None)


def _chosen(path: Path, own: Backend | None, name: str | None) -> Backend:
    """What opens `path`, a file of the backend `own`, where the user asked for the backend called `name`."""
    if own is None:
        if name not in (None, "pytorch"):
            raise UserError(f"{path}: runs in PyTorch alone; leave --backend {name} out, or give an .onnx file")
        return BACKENDS.need("backend", "pytorch")
    if name in (None, own.name):
        return own
    if own.suffix != ".onnx":
        raise UserError(f"{path}: a file of {own.name}; leave --backend {name} out")
    asked = BACKENDS.need("--backend", name, fits=lambda each: each.takes == "onnx", lacks="runs no ONNX files")
    if reason := asked.missing():
        raise UserError(f"--backend {name}: {reason}; leave it out")
    return asked


def count_weights(path: str | Path) -> int:
    """Numbers in the weights of an ONNX file, floating-point or quantised; scales, zero points and shapes do not count.

    The exporter has merged BatchNorms into convolutions, so that these are fewer than the network's parameters.
    """
    from onnx import TensorProto

    graph = read_onnx(path).graph
    floating = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    coders = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    scales = {name for node in coders for name in node.input[1:]}
    quantised = {node.input[0] for node in coders}
    counted = [
        t for t in graph.initializer if t.name in quantised or (t.data_type in floating and t.name not in scales)
    ]
    return sum(torch.Size(tensor.dims).numel() for tensor in counted)
