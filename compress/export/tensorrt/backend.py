"""The TensorRT module, imported when it is needed, and a logger that remembers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...plan import UserError


class Flavour(NamedTuple):
    """One of the two TensorRTs.

    `module`: its Python module. `portable`: whether it builds without a GPU, for those that are listed. `lacks`:
    {option of EngineConfig: why it has none, and what to do}.
    """

    module: str
    portable: bool
    lacks: Mapping[str, str]


FLAVOURS = {
    "tensorrt": Flavour(
        "tensorrt",
        portable=False,
        lacks={
            "compute_capabilities": "only tensorrt-rtx builds for GPUs that are not here; leave it out, or choose that "
            "backend"
        },
    ),
    "tensorrt-rtx": Flavour(
        "tensorrt_rtx",
        portable=True,
        lacks={
            "timing_cache": "tensorrt-rtx times no kernels when it builds; leave it out",
            "hardware_compatible": "tensorrt-rtx has no such flag; list GPUs by compute_capabilities instead",
            "version_compatible": "tensorrt-rtx has no such flag; build again with the version that runs",
        },
    ),
}
"""By the name of the backend, and of its pip package."""

ERRORS = ("INTERNAL_ERROR", "ERROR")


def load_backend(name: str) -> Any:
    """Import the module of the backend `name`; UserError, with the package to install, where it cannot be imported.

    Example::

        trt = load_backend("tensorrt-rtx")
        trt.__version__
    """
    if fault := import_fault(name):
        raise UserError(f"backend {name}: {fault}")
    return importlib.import_module(FLAVOURS[name].module)


def import_fault(name: str) -> str | None:
    """Why the module of the backend `name` cannot be imported, and what to install; None where it can."""
    try:
        importlib.import_module(FLAVOURS[name].module)
    except (ImportError, OSError) as error:  # OSError: a library that the package loads itself
        return f"cannot be imported ({_line(error)}); pip install {name}"
    return None


def message_log(trt: Any, *, verbose: bool = False) -> Any:
    """A `trt.ILogger` that keeps (severity, text) in `messages`; with `verbose` it prints warnings and errors as well.

    It must outlive everything made with it.
    """

    class MessageLog(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[tuple[str, str]] = []

        def log(self, severity: Any, msg: str) -> None:
            self.messages.append((severity.name, msg))
            if verbose and severity.name in (*ERRORS, "WARNING"):
                print(f"{severity.name.lower()}: {msg}", file=sys.stderr)

    return MessageLog()


def last_error(log: Any) -> str:
    """The last error that `log` has heard of, in one line."""
    errors = [text for severity, text in log.messages if severity in ERRORS]
    return _line(errors[-1]) if errors else "it gave no reason"


def _line(text: object) -> str:
    return " ".join(str(text).split())
