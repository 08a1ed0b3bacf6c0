"""Who works in a run's folder: one process, or the processes of one launcher, whose first speaks for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from torch import distributed

from ..plan import UserError, check_output_folder
from ..plan.files import remove_leftovers
from ..plan.locking import hold, holds, release

LOCK = ".lock"
"""Is in the run's folder while a process works there, and holds its number; it stays after kill -9, to no effect."""

_PATIENT: list[Any] = []
"""The group of `wait_patiently`, once there are processes."""


def wait_patiently() -> None:
    """Let no timeout end what the first process does alone, such as an export: all processes call this together."""
    _PATIENT.append(distributed.new_group(backend="gloo", timeout=timedelta(days=365)))


@contextmanager
def sole_worker(path: str | Path) -> Iterator[None]:
    """Work alone in the run's folder `path` while the block lasts: its lock is held, by a launcher's first process.

    A folder that exists is locked now, a new one by `claim`. Temporary files that killed processes left are removed.
    Raises UserError when another process works there, or when `path` cannot be a run's folder.
    """
    check_output_folder("--work-dir", path)
    try:
        if Path(path).is_dir():
            first_alone(lambda: _tidy(path))
        yield
    finally:
        release(Path(path) / LOCK)


def claim(path: str | Path) -> bool:
    """Take the lock of the run's folder `path` unless this process holds it; returns whether it did."""
    if holds(Path(path) / LOCK):
        return False
    hold(Path(path) / LOCK, what=f"--work-dir {path}")
    return True


def first_alone(action: Callable[[], None]) -> None:
    """Run `action` on the first process, while the others wait; all raise the UserError that it raises."""
    told: list[str | None] = [None]
    group = _PATIENT[-1] if _PATIENT else None
    if is_main_process():
        try:
            action()
        except UserError as error:
            broadcast_object_list([str(error)], group=group)
            raise
    broadcast_object_list(told, group=group)
    if told[0] is not None:
        raise UserError(told[0])


def _tidy(path: str | Path) -> None:
    claim(path)
    for folder in (Path(path), *(file for file in Path(path).iterdir() if file.is_dir())):
        remove_leftovers(folder)
