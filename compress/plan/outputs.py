"""Whether a file or folder that a run will write can be written, asked before the run has taken its time."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from .errors import UserError

NETWORKS = ("baseline", "searched", "sliced", "model")
OF_RUNS = {
    *(f"{name}.{suffix}" for name in NETWORKS for suffix in ("json", "safetensors")),
    *(f"{name}.json" for name in ("recipe", "stages", "summary", "plan", "parity", "complexity", "harms", "latency")),
    *("scores.safetensors", "metrics.jsonl", "genotype.json", "front.json", "report.html", "front.html"),
}
"""What runs keep in their folders, of which later stages, reports and other runs are made."""
DEPLOYED = {"baseline.onnx", "model.onnx", "model_plugin_free.onnx"}
"""What a run has exported and measured; beside a network that was saved from Python such a file is the user's."""
ORIENTED = ("", "_portrait", "_landscape")
"""What the names of a detector's files for images of one orientation end in: an export writes one beside another."""
KEPT = (("recipe.json", "stages.json"), ("model.json", "model.safetensors"))
"""What a run has in its folder, and a network that was saved from Python."""

ABSENT = (errno.ENOENT, errno.ENOTDIR)


def check_output(argument: str, path: str | Path, *, inputs: Iterable[str | Path | None] = ()) -> None:
    """Raise UserError, naming `argument`, unless the file `path` can be written; it may be there, its folder need not.

    `inputs` are files that it must not replace; what a run has written of itself is none to replace either. Nothing is
    written.

    Example::

        check_output("--json", "figures.json", inputs=["model.onnx"])
    """
    path = Path(path)
    kind = _kind(argument, path)
    if kind is not None and stat.S_ISDIR(kind):
        raise UserError(f"{argument} {path}: is a folder; give the name of a file")
    if kind is not None and not stat.S_ISREG(kind):
        raise UserError(f"{argument} {path}: is not an ordinary file; give the name of one")
    for source in inputs:
        if source is not None and kind is not None and os.path.exists(source) and os.path.samefile(source, path):
            raise UserError(f"{argument} {path}: is read by this command too; give another name")
    run, saved = (all((path.parent / name).is_file() for name in each) for each in KEPT)
    own = kind is not None and path.name in OF_RUNS and (run or saved)
    if own or (run and any(each.exists() for each in _deployed(path))):
        raise UserError(f"{argument} {path}: belongs to the run in that folder; give another name")
    _check_place(argument, path, path.parent)


def _deployed(path: Path) -> list[Path]:
    """The files of a run that `path` is, or is of the other orientation of."""
    stem = path.stem
    for end in ORIENTED[1:]:
        stem = stem.removesuffix(end)
    named = f"{stem}{path.suffix}" in DEPLOYED
    return [path.with_name(f"{stem}{end}{path.suffix}") for end in ORIENTED] if named else []


def check_output_folder(argument: str, path: str | Path) -> None:
    """Raise UserError, naming `argument`, unless files can be written into the folder `path`, which need not exist."""
    path = Path(path)
    kind = _kind(argument, path)
    if kind is not None and not stat.S_ISDIR(kind):
        raise UserError(f"{argument} {path}: is a file; give a folder")
    _check_place(argument, path, path)


def _check_place(argument: str, path: Path, folder: Path) -> None:
    """UserError unless `folder`, or the nearest one above it that exists, takes the names on the way to `path`."""
    place = folder.absolute()
    while (kind := _kind(argument, place)) is None:
        place = place.parent
    other = "another folder" if folder == path else "another place"
    if not stat.S_ISDIR(kind):
        raise UserError(f"{argument} {path}: {place} is a file, not a folder; give {other}")
    longest = os.pathconf(place, "PC_NAME_MAX")
    for name in path.absolute().relative_to(place).parts:
        if len(os.fsencode(name)) > longest:
            raise UserError(f"{argument} {path}: a name of more than {longest} bytes; give a shorter one")
    if not os.access(place, os.W_OK | os.X_OK):
        frozen = os.statvfs(place).f_flag & os.ST_RDONLY
        reason = os.strerror(errno.EROFS if frozen else errno.EACCES)
        raise UserError(f"{argument} {path}: cannot be written to ({reason}); give {other}")


def _kind(argument: str, path: Path) -> int | None:
    """The mode of what is at `path`; None where nothing is."""
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise UserError(f"{argument} {path}: {error.strerror}; give another place") from None
