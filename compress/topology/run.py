"""Runs of topology searches: search, read the cells off, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from mmengine.dist import get_world_size
from torch import nn

from ..engine.data import ImageData
from ..engine.hooks import Progress
from ..engine.parallel import share
from ..engine.settings import method_of
from ..engine.tasks import Classification
from ..pipeline.checks import check_batch, check_single
from ..pipeline.context import RunContext
from ..pipeline.folder import RunFolder
from ..pipeline.images import image_figures, recipe_data, with_ends
from ..pipeline.running import alone, start
from ..pipeline.stage import Figures, Stage
from ..pipeline.tables import RunTable, record_table, run_table
from ..plan import Genotype, UserError
from ..spaces import SPACES, Space, make_space
from .bench import Bench, load_bench
from .discretise import discretise
from .latency import REFERENCES, CellTable, open_cells
from .logits import edge_scores
from .recipe import TopologyRecipe
from .stages import PRICED, STAGES
from .supernet import Supernet
from .supernet_space import DartsSupernetSpace, NatsSupernetSpace, SupernetSpace

for _space in (NatsSupernetSpace, DartsSupernetSpace):
    SPACES.add(_space)


@dataclass
class TopologyContext(RunContext):
    """What the stages of a topology search are given.

    Args:
        table: the latency table that the search names.
        trust: the benchmark's own files may run the code they hold.
    """

    recipe: TopologyRecipe
    table: RunTable | None = None
    trust: bool = False

    @property
    def stages(self) -> Mapping[str, Stage[Self]]:
        """Search, discretise, report."""
        return STAGES

    @cached_property
    def data(self) -> ImageData:
        """The recipe's data, read once."""
        return recipe_data(self.recipe, self.progress)

    @cached_property
    def task(self) -> Classification:
        """Cross entropy on the training images."""
        return Classification(self.data)

    @cached_property
    def space(self) -> SupernetSpace:
        """The supernet for the data's classes and channels."""
        try:
            space = make_space(self.recipe.space["type"], with_ends("space", self.recipe.space, self._ends))
        except UserError as error:
            raise error.at("recipe") from None
        assert isinstance(space, SupernetSpace)
        return space

    @property
    def _ends(self) -> dict[str, int]:
        return {"num_classes": len(self.data.classes), "in_channels": self.task.input_size[0]}

    @cached_property
    def bench(self) -> Bench | None:
        """True accuracies of all cells, where the recipe names them; UserError where some cannot be read."""
        if self.recipe.bench is None:
            return None
        try:
            found = load_bench(self.recipe.bench.file, self.recipe.bench.dataset, trust=self.trust)
            found.check_whole()
            return found
        except UserError as error:
            raise error.at("bench.file").at("recipe") from None

    @cached_property
    def costs(self) -> CellTable | None:
        """What `table` holds; UserError where it is gone, has changed, or is not of the target's networks."""
        if self.table is None:
            return None
        reference = self.target(REFERENCES[self.space.cells.name])
        return self.table.opened(lambda path: open_cells(path, reference, self.task.input_size))

    def target(self, genotype: Genotype) -> Space:
        """The space of the network that `genotype` is for."""
        try:
            own = with_ends("space", self.recipe.target, {"in_channels": self.task.input_size[0]})
            return make_space(self.recipe.target_type, {**self._ends, **own, "genotype": genotype.text})
        except UserError as error:
            raise error.at("target").at("recipe") from None

    def check(self, stages: Sequence[str]) -> None:
        """Read and check the data, the supernet, the target and the table."""
        if not stages:
            return
        search = self.recipe.search
        method = method_of(search)
        if method.batches:
            batch_size, size = share(search.batch_size, self.processes), self.task.input_size
            check_batch("search", batch_size, len(self.data.train), halved=method.halves)
            images = {"batch_size": batch_size, "processes": get_world_size()}
            check_single("search", search, self.space, input_size=size, **images)
        genotype = REFERENCES[self.space.cells.name]
        self.target(genotype)
        if self.bench is not None:
            self.bench.accuracy(genotype)
        if PRICED & {*stages} and self.costs is not None:
            self.costs.predict(genotype)

    def watch(self, network: nn.Module) -> dict[str, float]:
        """Figures after an epoch: the supernet's accuracy on images set aside, and the cell that stands there now."""
        assert isinstance(network, Supernet)
        figures = image_figures(
            network, self.data.val, num_workers=self.recipe.data.num_workers, together=self.together
        )
        with torch.no_grad():
            scores = edge_scores(network.weights(torch.device("cpu")))
        genotype = self.discretised(scores)
        return {**figures, **self.judged(genotype)}

    def discretised(self, scores: Mapping[str, torch.Tensor]) -> Genotype:
        """The cells of `scores`, as the recipe reads them off."""
        return discretise(scores, self.space.cells, allow_none=self.recipe.search.allow_none)

    def predicted(self, genotype: Genotype) -> Figures:
        """What the latency table says of the network of `genotype`, and of its reference; nothing without a table."""
        if self.costs is None:
            return {}
        latency = self.costs.predict(genotype)
        figures = {"ms": latency.ms, "ratio": latency.ratio, "reference_network_ms": self.costs.network_ms}
        return {"predicted_latency": {**figures, "reference": self.costs.reference.text, **self.costs.where}}

    def judged(self, genotype: Genotype) -> dict[str, float]:
        """Shares of operations without parameters among the edges, and what the benchmark knows of the cells."""
        pools = [name for name in genotype.cell_space.choices if "pool" in name]
        figures: dict[str, float] = {
            "skip_share": round(genotype.share("skip_connect"), 4),
            "pool_share": round(sum(genotype.share(name) for name in pools), 4),
        }
        if self.bench is not None:
            figures |= {"true_top1": self.bench.accuracy(genotype), "true_rank": self.bench.rank(genotype)}
        return figures


@alone
def search_topology(
    recipe: TopologyRecipe,
    work_dir: str | Path,
    *,
    progress: Progress,
    trust: bool = False,
    stage: str | None = None,
    resume: bool = False,
    launcher: str = "none",
) -> RunFolder:
    """Search cells in `work_dir`; writes genotype.json, scores.safetensors, metrics.jsonl and report.html.

    Args:
        recipe: what is searched.
        work_dir: the run's folder.
        progress: is told what goes on.
        trust: unpickle the benchmark's own files, which may run code.
        stage: run this one only.
        resume: go on with the run in the folder.
        launcher: what started the processes.

    Raises UserError for bad input, before anything is written.

    Example::

        recipe = load_recipe_of(TopologyRecipe, "topology/nats_digits_rarts")
        with TerminalProgress() as progress:
            folder = search_topology(recipe, "runs/cells", progress=progress)
        Genotype.load(folder / "genotype.json").text
    """
    goes_on = resume or stage is not None
    found = RunFolder.recorded_as("topology", work_dir) if goes_on else {}
    table = run_table(recipe.search.latency_table, found=found, place=f"--work-dir {work_dir}")
    context = TopologyContext(recipe, progress, resume=goes_on, launcher=launcher, table=table, trust=trust)
    record: dict[str, Any] = {"topology": recipe.to_json()}
    record_table(record, table, found)
    return start(context, work_dir, record, stage=stage)
