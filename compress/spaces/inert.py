"""What MMEngine's training checkpoints hold beside weights, read as nothing.

`epoch_12.pth` of MMDetection 3 keeps its logs: HistoryBuffers, with NumPy's arrays and numbers, and the methods of
HistoryBuffer that pickles of protocol 2 name by `getattr`; and parts of its config. None of these is imported or called
when such a file is read.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, cast

import torch


class Nothing:
    """Stands for an object of a pickle: made of anything, given any state, it keeps nothing and does nothing."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


NUMPY = ("_reconstruct", "scalar")
LOGS = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.config.config.ConfigDict",
    "builtins.getattr",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in NUMPY),
)
"""Names in a pickle that are read as `Nothing`, whatever they are called with."""


def without_logs() -> AbstractContextManager[None]:
    """Within, `torch.load(weights_only=True)` also reads files with MMEngine's logs, which become `Nothing`.

    PyTorch's own allow-list holds by name: each of `LOGS` stands for `Nothing`, so that no code but `Nothing`'s runs.
    """
    return cast(AbstractContextManager[None], torch.serialization.safe_globals([(Nothing, name) for name in LOGS]))
