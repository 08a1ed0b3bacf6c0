"""Open ONNX files with ONNX Runtime, set up so that timings and results repeat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..plan import UserError, check_threads

if TYPE_CHECKING:
    import onnxruntime


def onnx_session(path: str | Path, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open `path` on the CPU provider with `threads` intra-op threads, sequential, all graph optimisations on.

    Worker threads stop spinning when a call returns: with two sessions timed in turn, the idle one would otherwise
    take cores from the other.

    Raises UserError when `threads` is out of range, or when the file is missing or no valid ONNX model.

    Example::

        session = onnx_session("model.onnx", threads=2)
        (logits,) = session.run(["logits"], {"images": images})
    """
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    check_threads("threads", threads)
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such ONNX file; run the export stage first")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (
        state.InvalidProtobuf,
        state.InvalidGraph,
        state.InvalidArgument,
        state.NotImplemented,
        state.Fail,
    ) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a usable ONNX model ({reason}); export it again") from error
