"""Open ONNX files with ONNX Runtime, set up so that timings and results repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plan import Threads, UserError, check_setting
from ..plan.errors import reason

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

    path, options = Path(path), session_options(threads)
    if not path.is_file():
        raise UserError(f"{path}: no such ONNX file; run the export stage first")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _refusals() as error:
        raise UserError(f"{path}: not a usable ONNX model ({reason(error)}); export it again") from error


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """The options of `onnx_session`; UserError when `threads` is out of range."""
    import onnxruntime as ort

    check_setting("threads", threads, Threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 4  # errors come as exceptions
    return options


def run_session(
    path: str | Path, session: onnxruntime.InferenceSession, outputs: Sequence[str], feed: Mapping[str, Any]
) -> list[Any]:
    """`session.run(outputs, feed)`; UserError where the graph of `path` fails on the way.

    Args:
        path: the session's file, for the message.
        session: as `onnx_session` opens it.
        outputs: names of what is wanted.
        feed: arrays by the names of the inputs.

    Example::

        (logits,) = run_session("model.onnx", session, ["logits"], {"images": images})
    """
    try:
        return list(session.run(outputs, feed))
    except _refusals() as error:
        raise UserError(f"{path}: fails in ONNX Runtime ({reason(error)}); export it again") from error


def _refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for files and feeds that it cannot work with."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile", "NotImplemented")
    return (*(getattr(state, name) for name in (*names, "EPFail", "RuntimeException")), RuntimeError, MemoryError)
