"""What the operating system refuses a run, such as room on a disk, told in one line that names the file."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError

SPACE = "free some space"
ELSEWHERE = "allow it, or give another place"
DISK = "see to the disk"
FILES = "raise the limit on open files (ulimit -n)"
FOLDER = "a file stands where a folder is needed; give another place"

REMEDIES = {
    errno.ENOSPC: SPACE,
    errno.EDQUOT: SPACE,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: ELSEWHERE,
    errno.EACCES: ELSEWHERE,
    errno.EPERM: ELSEWHERE,
    errno.EBUSY: ELSEWHERE,
    errno.EIO: DISK,
    errno.ESTALE: DISK,
    errno.ENODEV: DISK,
    errno.ENXIO: DISK,
    errno.EMFILE: FILES,
    errno.ENFILE: FILES,
    errno.ENOMEM: "free some memory",
    errno.EAGAIN: "let fewer processes and threads run",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "mend the links",
}
"""What the machine refuses -> what helps."""

NAMED = {
    errno.EISDIR: "is a folder; give the name of a file",
    errno.ENOTDIR: FOLDER,
    errno.EEXIST: FOLDER,
    errno.ENOENT: "its folder has gone; make it again",
    errno.ENOTEMPTY: "give another place",
}
"""The same of the path that is written; of any other path these are faults of the program."""

LASTING = (errno.ENAMETOOLONG, errno.ELOOP, *NAMED)
"""What going on with the run later does not mend."""


class SystemRefusal(UserError):
    """The operating system refused what a run needs; `passing`: it may go on once the cause is mended."""

    def __init__(self, message: str, *, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing


def refusal(error: BaseException, path: str | Path | None = None) -> SystemRefusal | None:
    """What the operating system refused, as one line, where that is behind `error`, raised while `path` was written.

    None for what is no fault of the machine. Writers in other languages raise errors of their own: Rust's end in
    "(os error 28)", and PyTorch's have Python's error as their context.

    Example::

        refusal(OSError(errno.ENOSPC, "No space left on device"), "plan.json")
    """
    found = _system_error(error)
    if found is None or found.errno is None:
        return None
    concerned = [Path(os.fsdecode(name)) for name in (found.filename, found.filename2) if isinstance(name, str | bytes)]
    own = path is not None and (not concerned or any(_beside(name, Path(path)) for name in concerned))
    gone = found.errno == errno.ENOENT and path is not None and Path(path).parent.is_dir()  # then a writer is at fault
    remedy = REMEDIES.get(found.errno) or (NAMED.get(found.errno) if own and not gone else None)
    if remedy is None:
        return None
    place = path if own else concerned[0] if concerned else None
    reason = os.strerror(found.errno)
    if place is None:
        # Python names no file where a write fails: those that have no other name are streams and temporary files.
        return SystemRefusal(f"standard output, or a file in {os.environ.get('TMPDIR', '/tmp')}: {reason}; {remedy}")
    return SystemRefusal(f"{place}: {reason}; {remedy}", passing=found.errno not in LASTING)


@contextmanager
def storing(path: str | Path) -> Iterator[None]:
    """Raise SystemRefusal, which names `path`, for what the operating system refuses in a block that writes it.

    Example::

        with storing("notes.txt"):
            Path("notes.txt").write_text("seen")
    """
    try:
        yield
    except Exception as error:
        if (told := refusal(error, path)) is None:
            raise
        raise told from error


def _system_error(error: BaseException) -> OSError | None:
    if isinstance(error, OSError):
        return error
    if named := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(named[1]), "")
    if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
        return error.__context__
    return None


def _beside(name: Path, path: Path) -> bool:
    """Whether `name` is `path`, its temporary name, or a folder on the way to it."""
    return name.parent == path.parent or name in path.parents or name == path
