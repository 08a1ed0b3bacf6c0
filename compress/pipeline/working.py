"""Who works in a run's folder: one process, or the processes of one launcher, whose first speaks for all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from torch import distributed

from ..plan import UserError, check_output_folder
from ..plan.files import remove_leftovers
from ..plan.locking import hold, holds, is_held, release

LOCK = ".lock"
"""Is in the run's folder while a process works there, and holds its number; it stays after kill -9, to no effect."""

_PATIENT: list[Any] = []
"""The group of `wait_patiently`, once there are processes."""


def wait_patiently() -> None:
    """Let no timeout end what the first process does alone, such as an export: all processes call this together."""
    _PATIENT.append(distributed.new_group(backend="gloo", timeout=timedelta(days=365)))


@contextmanager
def sole_worker(path: str | Path, *, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Work alone in the run's folder `path` while the block lasts: its lock is held, by a launcher's first process.

    A folder that exists is locked now, a new one by `claim`. Temporary files that killed processes left are removed.
    Raises UserError when another process works there, or when `path` cannot be a run's folder. With `waiting`, which
    is told of another process, that one is waited for, and a new folder is locked now, too.
    """
    check_output_folder("--work-dir", path)
    try:
        first_alone(lambda: _tidy(path, waiting))
        yield
    finally:
        let_go(path)
        if waiting is not None:
            with suppress(OSError):  # a folder with something in it stays
                os.rmdir(path)


def claim(path: str | Path, *, waiting: Callable[[str], None] | None = None) -> bool:
    """Take the lock of the run's folder `path` unless this process holds it; returns whether it did."""
    if holds(Path(path) / LOCK):
        return False
    hold(Path(path) / LOCK, what=f"--work-dir {path}", waiting=waiting)
    return True


def let_go(path: str | Path) -> None:
    """Give back the lock of the run's folder `path`, if this process holds it."""
    release(Path(path) / LOCK)


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


def _tidy(path: str | Path, waiting: Callable[[str], None] | None) -> None:
    if waiting is None and not Path(path).is_dir():  # here, where one process looks for all
        return
    claim(path, waiting=waiting)
    # A run inside this one may be another machine's, whose processes nothing here knows.
    own = [file for file in Path(path).iterdir() if file.is_dir() and not file.is_symlink()]
    inner = [folder for folder in own if not is_held(folder / LOCK)]
    for folder in (Path(path), *inner):
        remove_leftovers(folder)
