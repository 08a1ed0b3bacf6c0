"""Make a latency table of cells: time whole networks of random genotypes beside a reference network, and fit."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch

from ..costs.latency import read_table
from ..export import export_onnx
from ..measure import prediction_error, table_key, versions
from ..measure.backends import Backend, Network, opens_at_once
from ..measure.fitting import FOLDS
from ..measure.latency import time_reference
from ..measure.networks import timing_network
from ..measure.plan_timer import PlanTimer
from ..measure.profiling import steady_mean
from ..measure.table import MOST_DESIGNS, lock_of, shown
from ..measure.timing import Batch
from ..plan import Genotype, Range, Seed, Threads, UserError, check_settings, scratch, write_json
from ..plan.backends import BACKENDS
from ..plan.files import remove_leftovers
from ..plan.genotype import CellSpace
from ..plan.locking import sole_use
from ..plan.table_file import FORMAT
from ..spaces import Space
from .discretise import discretise
from .latency import REFERENCES, CellTable, DesignsFile, MeasuredCells
from .latency_fit import fit_costs, held_out

if TYPE_CHECKING:
    from ..engine.hooks import Progress

STAGE = "Timing networks"
SAMPLE_MS, WARMUP_SECONDS = 0.5, 0.1
"""Small cells run for a tenth of a millisecond. Samples are short and many: where something else runs, a long one is
always interrupted, and of the short ones most are not."""


@dataclass(frozen=True)
class CellTableConfig:
    """How a table of cells is measured.

    `backend`: any that need not compile a network first; whole calls are timed. `threads`, `batch`: of one call.
    `designs`: networks that are timed, of random genotypes of `seed`. `rounds`: timed samples of each network, and of
    the reference network in turn with it.
    Raises UserError for values out of range.

    Example::

        CellTableConfig(designs=60)
    """

    backend: str = "onnxruntime"
    threads: Threads = 1
    batch: Batch = 1
    designs: Annotated[int, Range(at_least=2 * FOLDS, at_most=MOST_DESIGNS)] = 40
    rounds: Annotated[int, Range(at_least=4, at_most=10**6)] = 150
    seed: Seed = 0

    def __post_init__(self) -> None:
        lacks = "compiles every network that it times, and here are hundreds"
        BACKENDS.need("backend", self.backend, fits=opens_at_once, lacks=lacks)
        check_settings(self)


class CellNetworks:
    """The networks of genotypes as `backend` takes them, with random weights; `target` gives a genotype's space.

    `unpruned` is the reference network, beside which the others are timed on `images`.
    """

    def __init__(
        self, target: Callable[[Genotype], Space], reference: Genotype, folder: Path, *, backend: Backend, images: Any
    ) -> None:
        self.target, self.folder, self.backend, self.images = target, folder, backend, images
        self.unpruned = self._network("reference", reference)

    def at(self, genotype: Genotype) -> Network:
        """The network of `genotype`; it stands in for the one before."""
        return self._network("cells", genotype)

    def _network(self, name: str, genotype: Genotype) -> Network:
        size = tuple(self.images.shape[1:])
        network = timing_network(self.target(genotype), size)
        if self.backend.takes == "module":
            return network
        return export_onnx(network, self.folder / f"{name}.onnx", input_size=size)


def random_genotypes(cells: CellSpace, n: int, *, seed: int) -> list[Genotype]:
    """`n` genotypes of `cells`, the same for the same seed; every edge is offered every operation equally often.

    Example::

        random_genotypes(NATS, 40, seed=0)[0].text
    """
    rng = np.random.default_rng(seed)
    choices = [cells.operations.index(name) for name in cells.choices]
    keys = [f"{cell}.{i}" for cell in cells.cells for i in range(len(cells.edges))]
    offered = {key: rng.permutation(np.resize(choices, n)) for key in keys}
    found = []
    for i in range(n):
        scores = {key: torch.zeros(len(cells.operations)) for key in keys}
        for key in keys:
            scores[key][int(offered[key][i])] = float(rng.random()) + 1e-3
        found.append(discretise(scores, cells, allow_none=True))
    return found


def build_cell_table(
    target: Callable[[Genotype], Space],
    cells: CellSpace,
    path: str | Path,
    *,
    input_size: tuple[int, int, int],
    config: CellTableConfig = CellTableConfig(),
    resume: bool = False,
    progress: Progress | None = None,
) -> CellTable:
    """Measure a table of what the operations of `cells` cost, write it to `path`, return it.

    Weights are random: they do not matter for the time. Every network is kept at once in a file beside `path`, which
    goes when the table is written; `resume` goes on with it, and leaves a finished table. Nothing else should run.

    Args:
        target: gives the space of the network that a genotype is for.
        cells: whose genotypes are timed.
        path: the table to write.
        input_size: (C, H, W).
        config: how they are measured, and how many.
        resume: go on with those of a stopped run.
        progress: is told of every network.

    Raises UserError for a stopped run's networks without `resume`, for those of other settings with it, and for a
    table that another process measures.

    Example::

        table = build_cell_table(context.target, NATS, "cells.json", input_size=(3, 32, 32))
        table.record["residual"]  # {"median": 0.02, "p90": 0.05, "rank_correlation": 0.99, "n": 40}
    """
    path, reference = Path(path), REFERENCES[cells.name]
    key = table_key(target(reference), input_size, config)
    settings = {"format": FORMAT, "key": key, "cells": cells.name, "rounds": config.rounds}
    wanted = _designs(cells, config)
    kept = path.with_name(f"{path.stem}.designs.json")
    with sole_use(lock_of(path), what=str(path)):
        remove_leftovers(path.parent, of=(path, kept))
        if kept.exists() and not resume:
            raise UserError(f"{kept}: networks of a stopped run; give --resume to go on with them, or delete it")
        designs = _resumed(kept if kept.exists() else path, settings, wanted) if resume else []
        found = _measured(target, reference, input_size, config, wanted[len(designs) :])
        for design in shown(_told(found), progress, stage=STAGE, total=len(wanted), done=len(designs)):
            designs.append(design)
            write_json(kept, {**settings, "designs": designs})
        if kept.exists():  # else nothing was missing
            _fitted(cells, settings, designs).save(path)
            kept.unlink()
        return CellTable.load(path)


def _told(found: Iterable[MeasuredCells]) -> Iterator[tuple[MeasuredCells, str]]:
    return ((design, f"{design['ratio']:.3f} of the reference network's latency") for design in found)


def _designs(cells: CellSpace, config: CellTableConfig) -> list[Genotype]:
    """The networks to time, each once: one that others predict must not be among them, nor the reference network."""
    drawn = random_genotypes(cells, config.designs, seed=config.seed)
    return [genotype for genotype in dict.fromkeys(drawn) if genotype != REFERENCES[cells.name]]


def _resumed(path: Path, settings: Mapping[str, Any], wanted: Sequence[Genotype]) -> list[MeasuredCells]:
    """The networks in the file `path`, none where there is none; UserError where they are of other settings."""
    if not path.exists():
        return []
    value = read_table(path, DesignsFile)
    odd = [name for name in settings if value[name] != settings[name]]
    found: list[MeasuredCells] = value["designs"]
    texts = [genotype.text for genotype in wanted[: len(found)]]
    if not odd and [each["genotype"] for each in found] != texts:
        odd = ["designs or seed"]
    if odd:
        raise UserError(f"{path}: networks of other settings ({', '.join(odd)}); give the same ones, or delete it")
    return found


def _measured(
    target: Callable[[Genotype], Space],
    reference: Genotype,
    input_size: tuple[int, int, int],
    config: CellTableConfig,
    wanted: Sequence[Genotype],
) -> Iterator[MeasuredCells]:
    """The networks of `wanted`, timed one by one; nothing is made ready where there are none."""
    if not wanted:
        return
    backend = BACKENDS.here("backend", config.backend)
    images = torch.randn(config.batch, *input_size, generator=torch.Generator().manual_seed(0))
    with scratch("latency") as folder:
        networks = CellNetworks(target, reference, folder, backend=backend, images=images)
        timer = PlanTimer(networks, backend, threads=config.threads)
        for genotype in wanted:
            reference_ms = time_reference()
            ratio, network_ms = compared(timer, genotype, rounds=config.rounds)
            yield MeasuredCells(genotype=genotype.text, ratio=ratio, network_ms=network_ms, reference_ms=reference_ms)


def compared(timer: PlanTimer, genotype: Genotype, *, rounds: int) -> tuple[float, float]:
    """The latency of the network of `genotype` over the reference network's, and that in milliseconds.

    Interruptions add time, to half of the samples at most: they are left out of both before the two are divided.
    """
    turns = timer.turns(genotype, repeats=rounds, min_sample_ms=SAMPLE_MS, warmup_seconds=WARMUP_SECONDS)
    means = [(steady_mean(each["pruned"]), steady_mean(each["unpruned"])) for each in turns]
    ratios, references = zip(*((own / reference, reference) for own, reference in means), strict=True)
    return statistics.median(ratios), statistics.median(references)


def _fitted(cells: CellSpace, settings: Mapping[str, Any], designs: Sequence[MeasuredCells]) -> CellTable:
    """The table of all networks; its `residual` is that of tables fitted without the networks that they predict."""
    genotypes, ratios = [Genotype.parse(each["genotype"]) for each in designs], [each["ratio"] for each in designs]
    fit, unseen = fit_costs(cells, genotypes, ratios), held_out(cells, genotypes, ratios)
    record = {
        "ridge": fit.ridge,
        "residual": prediction_error(unseen, ratios),
        "reference_ms": [each["reference_ms"] for each in designs],
        "rounds": settings["rounds"],
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "measured_with": versions(),
        "designs": [{**each, "held_out": predicted} for each, predicted in zip(designs, unseen, strict=True)],
    }
    network_ms = float(np.median([each["network_ms"] for each in designs]))
    return CellTable(settings["key"], cells.name, network_ms, fit.rest, fit.costs, record)
