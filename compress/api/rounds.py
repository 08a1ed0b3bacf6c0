"""Search, selection, slicing and fine-tuning of a live network, once or in several rounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ..engine.hooks import Progress
from ..engine.searching import search
from ..engine.settings import FinetuneConfig, SearchConfig
from ..engine.training import Job
from ..engine.tuning import fit, short
from ..plan import WidthPlan
from ..pruning import Budget, SelectConfig, plan_for, slice_model
from ..spaces import Space, sizes
from .data import Data, DataTask, evaluate


@dataclass(frozen=True)
class Left:
    """What a round left: a network and its space, what it kept of the unpruned one, and the scores that said so."""

    network: nn.Module
    space: Space
    plan: WidthPlan
    scores: dict[str, Tensor]


@dataclass(frozen=True)
class Rounds:
    """The settings of all rounds.

    Args:
        network: unpruned, of `space`; it stays as it is.
        space: whose groups are pruned.
        task: loss and training data.
        validation: what figures along the way are of.
        search: of each round.
        finetune: of the last round, a `short` one of those before; None: none.
        limit: of the last round.
        select: how channels are chosen.
        folder: for the trainings' files; rounds before the last have folders in it.
        seed: of all that is random.
        progress: is told what goes on.
    """

    network: nn.Module
    space: Space
    task: DataTask
    validation: Data | None
    search: SearchConfig
    finetune: FinetuneConfig | None
    limit: Budget
    select: SelectConfig
    folder: Path
    seed: int
    progress: Progress

    def prune(self, steps: int) -> Left:
        """What `steps` rounds leave of the network."""
        left = Left(self.network, self.space, WidthPlan.whole(self.space.name, sizes(self.space.groups)), {})
        for number in range(1, steps):
            self.progress.note(f"round {number} of {steps}")
            left = self._round(left, number / steps, self.folder / f"step{number}")
            left.network.cpu().eval()
        return self._round(left, 1, self.folder)

    def _round(self, before: Left, share: float, folder: Path) -> Left:
        """What is left of `before` when the limits are met to a `share`."""
        self.progress.announce("search")
        job = self._job(folder, "search")
        figures = None if self.validation is None else self.figures
        found = search(before.network, before.space, self.task, self.search, job, evaluate=figures)
        scores = before.plan.spread(found.scores)
        plan = plan_for(
            self.space,
            scores,
            self.limit.part(share),
            self.select,
            input_size=self.task.input_size,
            present=before.plan.kept,
        )
        small, space = slice_model(found.network.eval(), before.space, plan.within(before.plan))
        if self.finetune is not None:
            self.progress.announce("finetune")
            config = self.finetune if share == 1 else short(self.finetune)
            job = self._job(folder, "finetune")
            fit(small, self.task, config, job, evaluate=lambda: self.figures(small), teacher=self.network)
        return Left(small, space, plan, scores)

    def figures(self, network: nn.Module) -> dict[str, float]:
        """Those of `network` on the validation data."""
        return evaluate(network, self.validation, self.task)

    def _job(self, folder: Path, stage: str) -> Job:
        (folder / stage).mkdir(parents=True, exist_ok=True)
        return Job(folder / stage, folder / "metrics.jsonl", stage, self.seed, self.progress)
