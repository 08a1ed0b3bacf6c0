"""What every stage is given, and what is checked before the first of them writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from mmengine.device import get_device
from mmengine.dist import barrier, is_main_process
from torch import Tensor, nn

from ..costs import LatencyTable
from ..engine.data import ImageData, load_data
from ..engine.hooks import Progress
from ..engine.loaders import eval_loader
from ..engine.penalising import check_latency_table
from ..engine.settings import TrainConfig
from ..engine.tasks import Classification, Task
from ..engine.training import Job, evaluate_top1, train
from ..measure import TableConfig, table_key
from ..measure.accuracy import OUTPUTS, evaluate_model
from ..measure.latency import check_backends
from ..measure.models import open_model
from ..plan import UserError, check_figures, sha256
from ..pruning import Budget, Priced, check_reachable
from ..spaces import (
    Card,
    Space,
    load_card,
    load_model,
    load_network,
    load_state,
    make_space,
    read_state,
    save_model,
    sizes,
    weights_of,
)
from .checks import check_batches, check_budget, check_card, check_has_tables, check_searched
from .folder import RunFolder
from .recipe import Recipe
from .working import claim, first_alone

EVAL_BATCH = 250

Stage = Callable[[Any, dict[str, Any]], None]
"""Runs one stage: it is given the context, and a dict for the stage's figures."""


@dataclass
class Context:
    """What every stage is given."""

    recipe: Recipe
    progress: Progress
    budget: Budget = field(default_factory=Budget)
    table: dict[str, Any] | None = None
    checkpoint: str | None = None
    fresh_classifier: bool = False
    """A checkpoint of another number of classes is taken without its classifier."""
    trust: bool = False
    """Pickled checkpoints and version-compatible engines may run the code that they hold."""
    search_from: str | None = None
    resume: bool = False
    launcher: str = "none"
    folder: RunFolder = field(init=False)
    own_stages: ClassVar[Mapping[str, Stage]] = {}
    """Stages that these runs do otherwise than pipeline.stages."""

    def open(self, work_dir: str | Path, record: dict[str, Any]) -> dict[str, Any]:
        """Choose the run's folder and return its finished stages; nothing is written."""
        self.folder = RunFolder(work_dir)
        return RunFolder.peek(work_dir, record, resume=self.resume)

    def check(self, stages: Sequence[str]) -> None:
        """Read and check all that a user can get wrong in what `stages` are given: data, checkpoint, budget, search."""
        if not stages:
            return
        budget = self.budget.latency
        for argument, given in (
            (budget.argument if budget else "", budget),
            ("--latency-table", self.table),
            ("search.latency_table", self.recipe.search.latency_table),
        ):
            if given is not None:
                check_has_tables(self, argument)
        space = self.full_space
        check_batches(self, stages)
        if "measure" in stages:
            check_backends(self.recipe.measure.backends)
        if self.checkpoint is not None and stages[0] in ("train", "finetune"):
            _, space = self.baseline
        if "load" in stages:
            _, space = self.baseline
            operators = space.operators(self.card(space).input_size)
            priced = self.priced(space)
            check_reachable(sizes(space.groups), operators, self.budget, self.recipe.select, priced=priced)
            check_budget(self.recipe, self.budget)
        elif "select" in stages and self.table is not None:
            self.priced(self._start(stages)[1])
        if "search" in stages and self.search_from is not None:
            check_searched(Path(self.search_from), self.recipe, *self._start(stages))
        elif "search" in stages and self.recipe.search.latency_table is not None:
            _, space = self._start(stages)
            check_latency_table(self.recipe.search, space, input_size=self.card(space).input_size)

    def _start(self, stages: Sequence[str]) -> tuple[nn.Module, Space]:
        """The unpruned network that `stages` work on and its space: still the checkpoint's, or already the folder's."""
        return self.baseline if "load" in stages else load_model(self.folder / "baseline")[:2]

    def priced(self, space: Space) -> Priced | None:
        """The run's latency table, for networks of `space`; None without one.

        Raises UserError for a file that is gone or has changed, for another network's table, and, unless it is forced,
        for one of another device, version of its engine, number of threads or batch size than this run measures with
        (`measure.threads`, `measure.batch`), and under a latency budget for one of an engine that it does not measure
        with (`measure.backends`).
        """
        if self.table is None:
            return None
        path, size = self.table["path"], self.card(space).input_size
        try:
            if not Path(path).is_file():
                raise UserError("no such file; where it lies elsewhere today, give it as --latency-table again")
            if sha256(path) != self.table["sha256"]:
                raise UserError("has changed since the run began; restore it, or start a new run")
            table = LatencyTable.load(path)
            table.check_space(space, size)
            measure, backend = self.recipe.measure, str(table.key.get("backend"))
            config = TableConfig(backend=backend, threads=measure.threads, batch=measure.batch)
            table.check_key(table_key(space, size, config), force=self.table["forced"])
            if self.budget.latency and backend not in measure.backends and not self.table["forced"]:
                raise UserError(
                    f"is of {backend!r}, whose latency {self.budget.latency.argument} limits, but measure.backends = "
                    f"{list(measure.backends)} does not have it; add it there, or give a table of one that it has"
                )
        except UserError as error:
            raise UserError(f"--latency-table {path}: {error}") from None
        return Priced(table)

    def create(self, record: dict[str, Any]) -> None:
        """Make the run's folder, once every process has looked at it."""
        barrier()
        first_alone(lambda: self._create(record))

    def _create(self, record: dict[str, Any]) -> None:
        if claim(self.folder.path) and RunFolder.recorded(self.folder.path) is not None:
            raise UserError(f"--work-dir {self.folder.path}: another process has begun a run there; give a new folder")
        RunFolder.create(self.folder.path, record)

    @cached_property
    def baseline(self) -> tuple[nn.Module, Space]:
        """The network of --checkpoint and its space."""
        path = Path(self.checkpoint or "")
        torch.manual_seed(self.recipe.seed)  # for what the checkpoint does not fill
        own = path.suffix in ("", ".json", ".safetensors") and path.with_suffix(".json").is_file()
        if path.is_dir() or own:
            return _load_own(self, path)
        return self._filled(self.full_space, read_state(path, trust=self.trust)), self.full_space

    def _filled(self, space: Space, state: Mapping[str, Tensor]) -> nn.Module:
        """A network of `space` with the weights `state` of --checkpoint."""
        network = space.build()
        load_state(
            network,
            state,
            source=f"--checkpoint {self.checkpoint}",
            classifier=space.classifier,
            fresh_classifier=self.fresh_classifier,
        )
        return network

    @cached_property
    def data(self) -> ImageData:
        """The recipe's data, read once."""
        try:
            return load_data(self.recipe.data, seed=self.recipe.seed, progress=self.progress)
        except UserError as error:
            message = str(error)
            if message.startswith(tuple(f"{spec.name}=" for spec in fields(self.recipe.data))):
                raise UserError(f"recipe: data.{message}") from None
            raise UserError(f"recipe: data.root = {message}") from None

    @cached_property
    def full_space(self) -> Space:
        """The recipe's space with the data's number of classes."""
        arch = {key: value for key, value in self.recipe.space.items() if key != "type"}
        channels = self.data.preprocessing["input_size"][0]
        arch = {"num_classes": len(self.data.classes), "in_channels": channels, **arch}
        try:
            return make_space(self.recipe.space["type"], arch)
        except UserError as error:
            raise UserError(f"recipe: {error}") from None

    @property
    def settled(self) -> tuple[str, ...]:
        """The arguments of the space that the recipe settles, so that a checkpoint's must be equal."""
        return tuple(key for key in self.recipe.space if key not in ("type", "score_inputs", "scored"))

    def card(self, space: Space, plan_sha256: str | None = None) -> Card:
        """The card of a network of `space` trained on this data."""
        return Card(space.name, space.arch, self.data.classes, self.data.preprocessing, plan_sha256)

    @property
    def seen(self) -> dict[str, Any]:
        """What a stage that reads the data first records of them, where image files are not all plain ones."""
        return {"images": dict(self.data.seen)} if self.data.seen else {}

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        """Top-1 and loss on the evaluation split, as stages record them; UserError when they are not finite."""
        figures = self.watch(network)
        check_figures(f"evaluation on {self.data.name}", figures, remedy=OUTPUTS)
        return figures

    def watch(self, network: nn.Module) -> dict[str, float]:
        """As `evaluate`, after an epoch: computed on the device; the network stays where it was."""
        loader = eval_loader(self.data.test, batch_size=EVAL_BATCH, num_workers=self.recipe.data.num_workers)
        home = next(network.parameters()).device
        figures = evaluate_top1(network.to(get_device()), loader)
        network.to(home)
        return figures

    def evaluate_file(self, source: str, *, batch: int, threads: int) -> dict[str, Any]:
        """Figures of a run folder's network, an ONNX file or an engine on the evaluation split."""
        model = open_model(source, threads=threads, trust=self.trust)
        return evaluate_model(model, self.data, batch=batch, num_workers=self.recipe.data.num_workers)

    @cached_property
    def task(self) -> Task:
        """What the search trains for."""
        return Classification(self.data)

    def train(self, network: nn.Module, config: TrainConfig, stage: str, *, teacher: nn.Module | None = None) -> None:
        """Train `network` in place, as the stage `stage`."""
        train(network, self.data.train, config, self.job(stage), evaluate=self.watch, teacher=teacher)

    def counted(self, network: nn.Module) -> nn.Module:
        """What of `network` runs on one image when MACs are counted; its modules keep their names."""
        return network

    def save(self, stem: str, network: nn.Module, card: Card) -> None:
        """Write a network into the run's folder, on the first process."""
        if is_main_process():
            save_model(self.folder / stem, network.cpu(), card)

    def job(self, stage: str) -> Job:
        """Folder and settings of a training stage."""
        return Job(
            folder=self.folder / stage,
            metrics=self.folder / "metrics.jsonl",
            stage=stage,
            seed=self.recipe.seed,
            progress=self.progress,
            resume=self.resume,
            launcher=self.launcher,
            num_workers=self.recipe.data.num_workers,
        )


CONTEXTS: dict[str, type[Context]] = {}
"""Type of the space -> class of its runs' contexts, where it is not `Context`."""


def make_context(recipe: Recipe, progress: Progress, **options: Any) -> Context:
    """The context of a run of `recipe`; `options` are the fields of Context."""
    return CONTEXTS.get(recipe.space["type"], Context)(recipe, progress, **options)


def _load_own(c: Context, path: Path) -> tuple[nn.Module, Space]:
    """The network saved at `path` and its space: the recipe's at the widths of the card, which is compared only.

    A card may be a stranger's: nothing is built of it.
    """
    try:
        card = load_card(path)
    except UserError as error:
        raise UserError(f"--checkpoint {path}: {error}") from None
    check_card(c, path, card)
    arch, widths = c.full_space.arch, card.arch.get("widths", {})
    if c.fresh_classifier and widths != arch["widths"]:
        raise UserError(
            f"--checkpoint {path}: a pruned network, but this trains the recipe's; give the unpruned one (of a run of "
            "tools/prune.py: baseline.safetensors), or set space.widths to those of its card"
        )
    # What is scored is this run's choice; the widths are the checkpoint's, so a pruned network can be pruned again.
    try:
        space = make_space(card.space, {**arch, "widths": widths})
        if len(card.classes) != len(c.data.classes):
            return c._filled(space, read_state(weights_of(path))), space
        return load_network(path, space), space
    except UserError as error:
        message = str(error)
        raise UserError(message if message.startswith("--checkpoint") else f"--checkpoint {path}: {message}") from None
