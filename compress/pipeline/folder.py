"""A run's folder: which stages are done, and whether it may be written to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..plan import UserError, check_figures, read_json, read_stored, write_json
from ..plan.files import LEFTOVER
from ..plan.run_files import RECORDS, RecordFile, StagesFile
from ..pruning import Budget
from .stage import Figures
from .working import LOCK

RECIPE, STAGES = "recipe.json", "stages.json"
NOT_OURS = "restore it, or give a new --work-dir"
"""What helps where these files are not as they were written."""


class RunFolder:
    """Paths of a run and the record of its finished stages. `record` below is the plain value that identifies a run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def peek(cls, path: str | Path, record: dict[str, Any], *, resume: bool) -> dict[str, dict[str, Any]]:
        """Finished stages at `path`, nothing written.

        Raises UserError when the folder is occupied and `resume` is False, or holds a run of other settings.
        """
        folder = cls(path)
        if folder.path.exists() and not folder.path.is_dir():
            raise UserError(f"--work-dir {folder.path}: is a file; give a folder")
        if (found := cls.recorded(path)) is not None:
            folder._check_same(found, record, resume=resume)
        elif folder.path.exists() and not _only_begun(folder.path):
            raise UserError(f"--work-dir {folder.path}: not empty, and not a run of ours; give a new folder")
        return folder.stages

    @classmethod
    def recorded(cls, path: str | Path) -> dict[str, Any] | None:
        """The record of the run at `path`, None where there is none; UserError when it is damaged."""
        file = cls(path) / RECIPE
        if not file.exists():
            return None
        record = read_stored(file, RecordFile, remedy=NOT_OURS)
        try:
            for budget in (*([record["budget"]] if "budget" in record else []), *record.get("budgets", [])):
                Budget.from_json(budget)
        except UserError as error:
            raise UserError(f"{file}: {error}; {NOT_OURS}") from None  # the remedy is the file's, not the flag's
        return record

    @classmethod
    def recorded_as(cls, key: str, path: str | Path) -> dict[str, Any]:
        """As `recorded`, {} where there is none; UserError for a run whose recipe is not under `key`."""
        record = cls.recorded(path) or {}
        if record and key not in record:
            (kind,) = (kind for other, kind in RECORDS.items() if other in record)
            raise UserError(f"--work-dir {path}: holds a run of `{kind.tool}`; give a new folder")
        return record

    @classmethod
    def create(cls, path: str | Path, record: dict[str, Any]) -> RunFolder:
        """The folder at `path`, made and given its record where it is new."""
        folder = cls(path)
        if not (folder / RECIPE).exists():
            write_json(folder / RECIPE, record)
        return folder

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """Finished stages with their seconds and figures."""
        return read_stored(self / STAGES, StagesFile, remedy=NOT_OURS) if (self / STAGES).exists() else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Figures]:
        """Time a stage and record it as finished, with the figures put into the yielded dict, unless it raises.

        Raises UserError, and records nothing, when a figure is not a finite number.
        """
        figures: Figures = {}
        started = time.perf_counter()
        yield figures
        check_figures(f"--work-dir {self.path}: {name}", figures, remedy="lower the stage's rates and weights")
        finished = {
            "seconds": round(time.perf_counter() - started, 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        before = read_json(self / STAGES) if self.stages else {}  # its keys stay in their order
        write_json(self / STAGES, {**before, name: {**finished, **figures}})

    def _check_same(self, found: dict[str, Any], record: dict[str, Any], *, resume: bool) -> None:
        theirs, ours = (next(key for key in RECORDS if key in each) for each in (found, record))
        if theirs != ours:
            raise UserError(f"--work-dir {self.path}: holds a run of `{RECORDS[theirs].tool}`; give a new folder")
        if not resume:
            raise UserError(
                f"--work-dir {self.path}: already holds a run; add --resume to go on with it, or give a new folder"
            )
        if odd := differences(found, record):
            raise UserError(
                f"--work-dir {self.path}: that run has other settings ({odd}); give the same ones, or a new --work-dir"
            )


def differences(found: Any, record: Any) -> str:
    """By what two records differ, in words; "" where they do not: None is as good as a key that is not there."""
    there, now = _flat(found), _flat(record)
    odd = [key for key in there.keys() | now.keys() if there.get(key) != now.get(key)]
    odd.sort(key=lambda key: (not key.endswith(".type"), key))  # settings differ because types do
    odd = [key for key in odd if not (key.endswith("sha256") and key.replace("sha256", "path") in odd)]
    shown = "; ".join(f"{key}: {there.get(key)!r:.200} there, {now.get(key)!r:.200} now" for key in odd[:3])
    return shown + (f"; {len(odd) - 3} more" if len(odd) > 3 else "")


def _only_begun(path: Path) -> bool:
    """Whether the folder `path` has no more in it than what a process leaves that is killed while it begins."""
    return all(file.name == LOCK or LEFTOVER.fullmatch(file.name) for file in path.iterdir())


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}.{key}" if prefix else key).items()}
