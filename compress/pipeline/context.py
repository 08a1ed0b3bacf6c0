"""What the stages of every run are given, whatever is run: settings, a folder, and stages that the context owns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from mmengine.dist import barrier

from ..engine.hooks import Progress
from ..engine.training import Job
from ..measure import device_name, versions
from ..plan import UserError
from .folder import RunFolder
from .restarts import note_begun
from .stage import Figures, Stage
from .working import claim, first_alone


class RunRecipe(Protocol):
    """The settings of a run, whatever they are."""

    @property
    def name(self) -> str:
        """Of the recipe's file."""

    @property
    def seed(self) -> int:
        """Decides all that is random."""

    def to_json(self) -> dict[str, Any]:
        """All settings as plain values, as recipe.json has them."""


@dataclass
class RunContext(ABC):
    """What the stages of a run are given. A kind of run is a subclass, which owns its stages, checks and summary.

    Example::

        @dataclass
        class CellContext(RunContext):
            stages = in_order(Stage("search", search_cell, writes=("genotype.json",)), Stage("report", tell))
            def check(self, stages): ...

        start(CellContext(recipe, progress), "runs/cells", {"topology": recipe.to_json()})
    """

    recipe: RunRecipe
    progress: Progress
    resume: bool = False
    launcher: str = "none"
    processes: int | None = None
    folder: RunFolder = field(init=False)
    together: bool = field(init=False, default=False)
    """All processes of the launcher are in the present stage, and may share its work."""

    @property
    @abstractmethod
    def stages(self) -> Mapping[str, Stage[Self]]:
        """Name -> stage, in order."""

    @abstractmethod
    def check(self, stages: Sequence[str]) -> None:
        """Read and check all that a user can get wrong in what `stages` are given, before the first of them writes."""

    def open(self, work_dir: str | Path, record: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Choose the run's folder and return its finished stages; nothing is written. `record` identifies the run."""
        self.folder = RunFolder(work_dir)
        return RunFolder.peek(work_dir, record, resume=self.resume)

    def create(self, record: dict[str, Any]) -> None:
        """Make the run's folder, once every process has looked at it."""
        barrier()
        first_alone(lambda: self._create(record))

    def _create(self, record: dict[str, Any]) -> None:
        if claim(self.folder.path) and RunFolder.recorded(self.folder.path) is not None:
            raise UserError(f"--work-dir {self.folder.path}: another process has begun a run there; give a new folder")
        note_begun(self.launcher, self.folder.path)
        RunFolder.create(self.folder.path, record)

    def job(self, stage: str, *, num_workers: int = 0) -> Job:
        """Folder and settings of a training stage."""
        return Job(
            folder=self.folder / stage,
            metrics=self.folder / "metrics.jsonl",
            stage=stage,
            seed=self.recipe.seed,
            progress=self.progress,
            resume=self.resume,
            launcher=self.launcher,
            processes=self.processes,
            num_workers=num_workers,
        )

    def summary(self) -> Figures:
        """What summary.json says of the run; a kind of run adds its results."""
        return {
            "format": 1,
            "recipe": self.recipe.name,
            "seconds": {name: stage["seconds"] for name, stage in self.folder.stages.items()},
            "seed": self.recipe.seed,
            "versions": versions(),
            "device": device_name(),
        }
