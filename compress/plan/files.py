"""Atomic writing of the files that stages hand over; stored.py reads them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import UserError
from .system import SystemRefusal, storing

LONGEST = 200
"""Bytes of a file's name that its temporary name repeats: the rest has room for a process's number."""

LEFTOVER = re.compile(r"\.(.*)\.tmp(\d+)(\.[^.]*)?")
"""Temporary names, as `replacing` makes them."""

NEARLY_FULL = 1 << 16
"""A disk with fewer free bytes is full: writers fail before the last byte is taken."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without an exception.

    A killed process leaves either the old file or the new one, never half of one; after an exception the temporary
    file is gone. Raises SystemRefusal, a UserError that names `path`, where the operating system refuses: a full disk,
    a folder that may not be written to, a name that is too long.

    Example::

        with replacing("plan.json") as tmp:
            tmp.write_text("{}")
    """
    path = Path(path)
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp = temporary(path)
        try:
            yield tmp
            if tmp.stat().st_mode & 0o077 == 0:
                # Some writers (safetensors) make private files; give it what open() would have given.
                umask = os.umask(0)
                os.umask(umask)
                tmp.chmod(0o666 & ~umask)
            os.replace(tmp, path)
        finally:
            with suppress(OSError):
                tmp.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically; SystemRefusal as in `replacing`."""
    with replacing(path) as tmp:
        tmp.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically; SystemRefusal as in `replacing`."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def append_line(path: str | Path, line: str) -> None:
    """Append `line` and a newline to the file `path`, the whole of it or nothing; SystemRefusal as in `replacing`."""
    with storing(path), open(path, "ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        rest = memoryview(f"{line}\n".encode())
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except BaseException:
            file.truncate(end)
            raise


@contextmanager
def scratch(prefix: str = "compress") -> Iterator[Path]:
    """Yield a temporary folder, which goes with all that is in it when the block ends.

    Raises SystemRefusal where there is no room for it: whatever fails inside while its disk is full, fails for that.
    ONNX Runtime's own writers say no cause, or nothing.

    Example::

        with scratch() as folder:
            (folder / "model.onnx").write_bytes(graph)
    """
    import tempfile

    root = os.environ.get("TMPDIR", "/tmp")
    try:
        temporary = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise SystemRefusal(
            f"{root}: takes no temporary files ({error.strerror}); free some space, or set TMPDIR to another folder"
        ) from error
    with temporary as folder:
        try:
            yield Path(folder)
        except Exception as error:
            others = isinstance(error, UserError) and folder not in str(error)
            if others or shutil.disk_usage(folder).free >= NEARLY_FULL:
                raise
            raise SystemRefusal(
                f"{root}: no space left for temporary files; free some, or set TMPDIR to another folder"
            ) from error


def remove_leftovers(folder: str | Path, *, of: Collection[Path] = ()) -> None:
    """Remove the temporary files, and folders, in `folder` that killed processes left, with `of` those of these only.

    Those of living processes stay.
    """
    stems = [path.stem for path in of]
    with suppress(OSError):
        for path in Path(folder).iterdir():
            named = LEFTOVER.fullmatch(path.name)
            if not named or (stems and named[1] not in stems) or _alive(int(named[2])):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def temporary(path: Path) -> Path:
    """The name beside `path` under which this process writes what is to be there; `remove_leftovers` knows it."""
    # The suffix stays last: torch.onnx and matplotlib choose the format by it.
    suffix = path.suffix if len(os.fsencode(path.suffix)) < 20 else ""
    stem = os.fsdecode(os.fsencode(path.stem)[:LONGEST])
    return path.with_name(f".{stem}.tmp{os.getpid()}{suffix}")


def _alive(process: int) -> bool:
    """Whether another process of this number runs: this one has no temporary file that it does not know of."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
