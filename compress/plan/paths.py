"""Paths that stored files name: they stay inside the folder of the file, because a stranger may have written it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from .errors import UserError, brief


def path_of(argument: str, given: Any, what: str = "folder") -> Path:
    """The path that `given` is, of a `what`; UserError, naming `argument`, for what is none, or empty.

    Example::

        path_of("work_dir", "runs/demo")
    """
    if not isinstance(given, str | os.PathLike) or not (text := os.fspath(given)) or "\0" in str(text):
        raise UserError(f"{argument} = {brief(given)}: must be the path of a {what}")
    return Path(given)


def inside(folder: str | Path, name: Any, *, source: str | Path, remedy: str = "restore the file") -> Path:
    """The path of what the stored file `source` calls `name`: relative, within `folder`, and not through links out.

    Nothing has to be there. Raises UserError, beginning with `source`, for any other name.

    Args:
        folder: that the path stays in.
        name: relative, of a file in it.
        source: of the name.
        remedy: what the user can do about another name.

    Example::

        inside("runs/demo", "predictions/a_before.jpg", source="runs/demo/predictions.json")
    """
    path, home = Path(folder), Path(folder).resolve()
    refused = (
        f"{source}: {str(name)[:80]!r} must be a path inside {folder}, not absolute, with '..' or by a link out of it"
    )
    if not isinstance(name, str) or not name or "\0" in name:
        raise UserError(f"{refused}; {remedy}")
    parts = PurePosixPath(name)
    odd = parts.is_absolute() or PureWindowsPath(name).drive or ".." in parts.parts or "\\" in name
    if odd or not (path / name).resolve().is_relative_to(home):
        raise UserError(f"{refused}; {remedy}")
    return path / name
