"""A build told step by step, and stopped by Ctrl-C without harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...engine.hooks import Progress

STAGE = "Building the engine"


@contextmanager
def stop_later() -> Iterator[threading.Event]:
    """Inside the block Ctrl-C only sets the event; KeyboardInterrupt follows at the block's end.

    A Python exception in a callback that C++ code makes would end the process at once, with its temporary files.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    former = signal.signal(signal.SIGINT, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, former)
    if stopped.is_set():
        raise KeyboardInterrupt


def build_monitor(trt: Any, progress: Progress | None, stopped: threading.Event) -> Any:
    """A `trt.IProgressMonitor` that tells `progress` of the outermost phase and stops the build once `stopped` is set.

    None where this version has no monitors. Inner phases overlap, and their steps take microseconds or minutes.
    """
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class BuildMonitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.outermost: str | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase and self.outermost is None:
                self.outermost = phase_name
                if progress is not None:
                    progress.start(STAGE, num_steps, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name == self.outermost and progress is not None:
                progress.advance()
            return not stopped.is_set()

        def phase_finish(self, phase_name: str) -> None:
            pass

    return BuildMonitor()
