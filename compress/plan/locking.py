"""One process at a time: a lock beside what it writes, which dies with its process."""

from __future__ import annotations

import errno
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError
from .system import storing

UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_HELD: dict[Path, int] = {}


PAUSE_SECONDS = 2.0
"""Between two looks at a lock that is waited for."""


@contextmanager
def sole_use(path: str | Path, *, what: str, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock `path`, a file with this process's number, inside the block; the file is gone afterwards.

    Raises UserError, beginning with `what`, where a living process holds it, also of another machine if the folder is
    on NFS of version 4 or with its lock service; with `waiting`, which is told of it once, it is waited for instead.
    The lock of a dead process is taken over. Where the file system has no locks a warning says so.

    Example::

        with sole_use("runs/demo/.lock", what="--work-dir runs/demo"):
            ...
    """
    hold(path, what=what, waiting=waiting)
    try:
        yield
    finally:
        release(path)


def hold(path: str | Path, *, what: str, waiting: Callable[[str], None] | None = None) -> None:
    """Take the lock `path` until `release`; as `sole_use`."""
    import fcntl

    path = Path(path).absolute()
    if path in _HELD:
        raise _taken(what, str(os.getpid()))
    if not _HELD:
        _once()
    told = False
    while True:
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # A link here is no file of ours, and writing through it would change another.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 20).decode("ascii", "replace").strip()
            os.close(descriptor)
            if waiting is None:
                raise _taken(what, owner) from None
            if not told:
                waiting(f"{what}: waiting for {_named(owner)}, which is at work there")
            told = True
            time.sleep(PAUSE_SECONDS)
            continue
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                os.close(descriptor)
                raise
            warnings.warn(
                f"{path.parent}: its file system has no locks; see to it that no other process works there",
                stacklevel=2,
            )
        if _is(path, descriptor):
            break
        os.close(descriptor)  # its holder has just removed it
    with suppress(OSError):  # a full disk is told by what comes next
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
    _HELD[path] = descriptor


def holds(path: str | Path) -> bool:
    """Whether this process holds the lock `path`."""
    return Path(path).absolute() in _HELD


def is_held(path: str | Path) -> bool:
    """Whether a living process, perhaps this one, holds the lock `path`."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in UNSUPPORTED
    finally:
        os.close(descriptor)
    return False


def release(path: str | Path) -> None:
    """Give back the lock `path`, if this process holds it."""
    path = Path(path).absolute()
    if (descriptor := _HELD.pop(path, None)) is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _taken(what: str, owner: str) -> UserError:
    return UserError(f"{what}: {_named(owner)} is at work there; wait for it or stop it, or give another place")


def _named(owner: str) -> str:
    return f"process {owner}" if owner.isdigit() else "another process"


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _once() -> None:
    """See to it that forked workers, which may outlive a killed parent for seconds, do not hold its locks."""
    global _prepared
    if not _prepared:
        os.register_at_fork(after_in_child=_forget)
        _prepared = True


def _forget() -> None:
    for descriptor in _HELD.values():
        with suppress(OSError):
            os.close(descriptor)
    _HELD.clear()


_prepared = False
