"""The TensorRT module, imported when it is needed, and a logger that remembers."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from ...plan import UserError

RTX = "tensorrt-rtx"
BACKENDS = {"tensorrt": "tensorrt", RTX: "tensorrt_rtx"}
"""Name of a backend, and of its pip package -> name of its Python module."""

ERRORS = ("INTERNAL_ERROR", "ERROR")


def load_backend(name: str) -> Any:
    """Import the module of the backend `name`; UserError, with the package to install, where it cannot be imported.

    Example::

        trt = load_backend("tensorrt-rtx")
        trt.__version__
    """
    try:
        return importlib.import_module(BACKENDS[name])
    except (ImportError, OSError) as error:  # OSError: a library that the package loads itself
        raise UserError(f"backend {name}: cannot be imported ({_line(error)}); pip install {name}") from error


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
