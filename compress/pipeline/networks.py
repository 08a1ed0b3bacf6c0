"""What the stages of runs on networks with widths are given: pruning, and training or fine-tuning alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

from mmengine.dist import is_main_process
from torch import Tensor, nn

from ..engine.penalising import check_latency_table
from ..engine.settings import TrainConfig
from ..engine.tasks import Task
from ..engine.training import Job
from ..measure.latency import check_backends
from ..plan import Shard, UserError, WidthPlan, speaking
from ..plan.budget_kinds import FLAGS
from ..pruning import Budget, Priced, check_reachable
from ..spaces import SPACES, Card, Loaded, Space, blocks_of, load_model, load_space, save_model, sizes
from .checkpoint import fill, load_checkpoint, recorded_adapted
from .checks import check_batches, check_budget, check_has_tables, check_searched
from .context import RunContext
from .latency_kit import check_latency_kit
from .points import OF_A_POINT, in_points
from .recipe import Recipe
from .rounding import select_config
from .rounds import in_rounds
from .speed import check_required
from .stage import CHECKPOINT, Figures, Stage, in_order
from .stages import FINETUNE_ALONE, PLAN, copying, train_alone
from .summary import pruning_summary
from .tables import ARGUMENT, KEY, RunTable, price

Aim = Literal["prune", "round", "front", "train", "finetune"]


class RunData(Protocol):
    """Training and evaluation images, whatever they show."""

    @property
    def name(self) -> str:
        """Of the data set."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the labels."""

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How a network's input comes about, as model cards record it."""

    @property
    def evaluated_on(self) -> str:
        """What the evaluation images are: `test`, `val`, `holdout`."""

    @property
    def seen(self) -> Mapping[str, int]:
        """What was special of image files."""

    @property
    def train(self) -> Sized:
        """Images to train on."""

    @property
    def test(self) -> Sized:
        """Images to evaluate on."""


@dataclass
class NetworkContext(RunContext):
    """What the stages of a run on a network of some space are given; `aim` says which stages these are.

    A `round` is a run that prunes and goes no further, because more rounds follow.

    Args:
        checkpoint: weights to start from.
        teacher: the network that fine-tuning alone distils from.
        ema: of a file with both, averaged weights are asked for (True) or plain ones; None: the averaged.
        trust: pickled checkpoints and version-compatible engines may run the code that they hold.
        search_from: a run whose search is taken.
        steps: rounds in which the network is pruned.
        latency_kit: folder for the candidates of a latency budget, which another device times.
        before: folder of the round before, whose network is searched; None: this round is the first.
        points: the budgets of a front, of one kind; `budget` is the first of them.
        require_speedup: how many times as fast the selected network must be for the run to go on.
        shard: which of several jobs that share the points this one is; None: there are no others.
        block: what `select.round_to="auto"` is in the run around this one; None: there is none.
    """

    recipe: Recipe
    aim: Aim = "prune"
    budget: Budget = field(default_factory=Budget)
    table: RunTable | None = None
    checkpoint: str | None = None
    teacher: str | None = None
    ema: bool | None = None
    trust: bool = False
    search_from: str | None = None
    steps: int = 1
    latency_kit: str | None = None
    before: Path | None = None
    points: tuple[Budget, ...] = ()
    require_speedup: float | None = None
    shard: Shard | None = None
    block: int | None = None
    loaded: Loaded = field(init=False, default=Loaded())
    averaged: bool | None = field(init=False, default=None)

    untimed: ClassVar[str | None] = None
    """Why no latency tables are measured of such networks; None: they are."""

    unlearnt: ClassVar[tuple[str, ...]] = ()
    """Keys of the preprocessing that concern exported files alone: a checkpoint may have others."""

    @property
    def stages(self) -> Mapping[str, Stage[Self]]:
        """Those of `aim`."""
        if self.aim == "train":
            return in_order(train_alone(started=self.checkpoint is not None))
        if self.aim == "finetune":
            return in_order(FINETUNE_ALONE)
        if self.aim == "front":
            plain = in_points(self.points, self.shard, measured=self.recipe.select.gain == "measured")
        else:
            plain = in_rounds(self.steps)
        stages = [copying(each) if self.copies and each.name == "search" else each for each in plain]
        return in_order(*stages, *(self.deploying if self.aim == "prune" else ()))

    @property
    def copies(self) -> bool:
        """The search is not done, but taken from another run: that of the first round."""
        return self.search_from is not None and self.before is None

    @property
    def earlier(self) -> WidthPlan:
        """What the rounds before this one have left of the baseline: all of it before the first."""
        if self.before is not None:
            return WidthPlan.load(self.before / PLAN)
        space = load_space(self.folder / "baseline")
        return WidthPlan.whole(space.name, sizes(space.groups))

    @property
    @abstractmethod
    def deploying(self) -> Sequence[Stage[Self]]:
        """What follows when a network has been pruned and fine-tuned: export, measure, report."""

    @property
    @abstractmethod
    def data(self) -> RunData:
        """The recipe's data, read once."""

    @property
    @abstractmethod
    def full_space(self) -> Space:
        """The recipe's space with the data's number of classes."""

    @property
    @abstractmethod
    def task(self) -> Task:
        """What the search trains for."""

    @property
    @abstractmethod
    def watches(self) -> bool:
        """Whether there is anything to evaluate after an epoch."""

    @abstractmethod
    def watch(self, network: nn.Module) -> dict[str, float]:
        """Figures of `network` after an epoch, computed on the device; it stays where it was."""

    @abstractmethod
    def evaluate(self, network: nn.Module) -> dict[str, Any]:
        """Figures of `network` on the evaluation images, as stages record them; it stays where it was."""

    @abstractmethod
    def train(self, network: nn.Module, config: TrainConfig, stage: str, *, teacher: nn.Module | None = None) -> None:
        """Train `network` in place, as the stage `stage`."""

    @abstractmethod
    def evaluate_file(self, source: str, *, batch: int, threads: int, backend: str | None = None) -> dict[str, Any]:
        """Figures of a run folder's network, an ONNX file or an engine on the evaluation images, in `backend`."""

    def check(self, stages: Sequence[str]) -> None:
        """Read and check what `stages` are given: data, checkpoint, budget, tables, another run's search."""
        if not stages:
            return
        for argument in self._tables_named():
            check_has_tables(self, argument)
        check_latency_kit(self)
        check_required(self)
        space = self.full_space
        follow = {*stages, *(OF_A_POINT if self.aim == "front" else ())}
        check_batches(self, follow)
        if "measure" in follow:
            check_backends(self.recipe.measure.backends)
        if any(CHECKPOINT in self.stages[name].reads for name in stages):
            space = self.baseline[1]
        if {"train", "finetune"} & follow:
            self._check_trained(space)
        if "load" in stages:
            self._check_budgets(space)
        elif "select" in follow and self.table is not None:
            self.priced(self._start(stages))
        if ("search" if self.steps == 1 else "steps") in stages:
            self._check_search(stages)

    def _check_budgets(self, space: Space) -> None:
        operators = space.operators(self.card(space).input_size)
        priced, blocks = self.priced(space), blocks_of(space.groups)
        for budget in self.points or (self.budget,):
            with speaking(FLAGS):
                select = select_config(self, space, budget, priced)
                check_reachable(sizes(space.groups), operators, budget, select, blocks=blocks, priced=priced)
                check_budget(self.recipe.search, budget)

    def _check_trained(self, space: Space) -> None:
        try:
            space.check_trained(self.card(space).input_size)
        except UserError as error:
            raise error.at("recipe") from None

    def _tables_named(self) -> list[str]:
        """The arguments that ask for a latency table."""
        budget, searched = self.budget.latency, self.recipe.search.latency_table
        given = (
            budget and budget.limits.flag,
            self.table is not None and self.table.priced and ARGUMENT,
            searched is not None and KEY,
        )
        return [argument for argument in given if argument]

    def _check_search(self, stages: Sequence[str]) -> None:
        if self.search_from is not None:
            network = self.baseline[0] if "load" in stages else load_model(self.folder / "baseline")[0]
            check_searched(Path(self.search_from), self, network, self._start(stages))
        elif self.table is not None and self.table.searched:
            space = self._start(stages)
            size = self.card(space).input_size
            self.table.load(space, size)
            check_latency_table(self.recipe.search, space, input_size=size)

    def _start(self, stages: Sequence[str]) -> Space:
        """The space of the unpruned network that `stages` work on: still the checkpoint's, or already the folder's."""
        return self.baseline[1] if "load" in stages else load_space(self.folder / "baseline")

    def priced(self, space: Space) -> Priced | None:
        """The latency table by which networks of `space` are priced; None without one. UserError as `tables.price`."""
        if self.table is None or not self.table.priced:
            return None
        return price(self.table, self.recipe.measure, self.budget, space, self.card(space).input_size)

    def create(self, record: dict[str, Any]) -> None:
        """As for every run; a new one records at which rates it adapts a checkpoint of other classes."""
        super().create(recorded_adapted(self, record))

    @cached_property
    def baseline(self) -> tuple[nn.Module, Space]:
        """The network of --checkpoint and its space."""
        return load_checkpoint(self)

    def filled(self, space: Space, state: Mapping[str, Tensor]) -> nn.Module:
        """A network of `space` with the weights `state` of --checkpoint; training alone leaves a classifier fresh."""
        return fill(self, space, state)

    @property
    def settled(self) -> tuple[str, ...]:
        """The arguments of the space that the recipe settles, so that a checkpoint's must be equal."""
        choices, arch = getattr(SPACES[self.recipe.space["type"]], "choices", ()), self.full_space.arch
        return tuple(key for key in self.recipe.space if key in arch and key not in choices)

    def card(self, space: Space, plan_sha256: str | None = None) -> Card:
        """The card of a network of `space` trained on this data."""
        return Card(space.name, space.arch, self.data.classes, self.data.preprocessing, plan_sha256)

    @property
    def seen(self) -> dict[str, Any]:
        """What a stage that reads them first records: image files that are not plain, and which weights were taken."""
        images = {"images": dict(self.data.seen)} if self.data.seen else {}
        return images if self.averaged is None else {**images, "weights": "averaged" if self.averaged else "plain"}

    def counted(self, network: nn.Module) -> nn.Module:
        """What of `network` runs on one image when MACs are counted; its modules keep their names."""
        return network

    def save(self, stem: str, network: nn.Module, card: Card) -> None:
        """Write a network into the run's folder, on the first process."""
        if is_main_process():
            save_model(self.folder / stem, network.cpu(), card)

    def job(self, stage: str, *, num_workers: int | None = None) -> Job:
        """Folder and settings of a training stage, which loads images as the recipe says."""
        return super().job(stage, num_workers=self.recipe.data.num_workers if num_workers is None else num_workers)

    def summary(self) -> Figures:
        """The pruned network in numbers."""
        return pruning_summary(self, super().summary())
