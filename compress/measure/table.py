"""Make a latency table: measure networks of a space at sampled widths, fit, and say how well the table predicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import torch

from ..costs.latency import LatencyTable, check_timeable
from ..plan import Count, Range, Seed, Threads, UserError, check_settings, scratch
from ..plan.backends import BACKENDS
from ..plan.files import remove_leftovers
from ..plan.locking import sole_use
from ..plan.table_file import AGAIN, FORMAT, PROFILES, TOTALS, Way
from ..spaces import Space, blocks_of, members_of, sizes
from .backends import tells_layers
from .designs import allowed_widths, sample_designs, with_blocks_gone
from .environment import device_name, processor, versions
from .fitting import FOLDS, prediction_error
from .kept import merged, resumed, save_measured, sources_of
from .latency import packages_of
from .networks import WidthNetworks
from .profiling import CallTimer, Profile, Timing
from .timing import Batch, WayOfRunning, torch_threads
from .ways import WAYS, best_way, fitted_table, gathered_groups

if TYPE_CHECKING:
    from ..engine.hooks import Progress

T = TypeVar("T")

MOST_DESIGNS = 10_000
STAGE = "Profiling networks"


@dataclass(frozen=True)
class TableConfig:
    """How a table is measured.

    `backend`: "onnxruntime", or any other. `threads`, `batch`: of one call. `way`: "profiles", of a time for every
    layer, "totals", of whole calls alone, or None: profiles where the backend tells layers. `designs`: networks that
    are measured. While the median error of networks that a table has not
    seen exceeds `target`, more are, up to `max_designs` in all (0: no more). `multiple`: widths are its multiples, or
    the full width. `rounds`: timed samples of each network, and as many calls under a profiler. `seed`: of the widths.
    Raises UserError for values out of range.

    Example::

        TableConfig(multiple=16, designs=24)
    """

    backend: str = "onnxruntime"
    threads: Threads = 1
    batch: Batch = 1
    designs: Annotated[int, Range(at_least=2 * FOLDS, at_most=MOST_DESIGNS)] = 20
    multiple: Count = 8
    rounds: Annotated[int, Range(at_least=4, at_most=10**6)] = 20
    seed: Seed = 0
    max_designs: Annotated[int, Range(at_least=0, at_most=MOST_DESIGNS)] = 0
    target: Annotated[float, Range(above=0, below=1, remedy="0.02 is a median error of 2 %")] = 0.02
    way: Way | None = None

    def __post_init__(self) -> None:
        found = BACKENDS.need("backend", self.backend)
        check_settings(self)
        if self.way == PROFILES and not tells_layers(found):
            lacks = "tells no times of layers, of which profiles are made"
            raise UserError(lacks, argument="backend", value=self.backend, remedy="give way='totals', or another one")
        object.__setattr__(self, "way", self.way or best_way(found))
        if self.max_designs and self.max_designs < self.designs:
            rule = f"must be a whole number of at least the {self.designs} designs"
            raise UserError(rule, argument="max_designs", value=self.max_designs, remedy="raise it")


def table_key(space: Space, input_size: tuple[int, int, int], config: WayOfRunning) -> dict[str, Any]:
    """What a table holds for: this machine and its software, the way of running, and the network.

    Example::

        table.check_key(table_key(space, (3, 32, 32), TableConfig(threads=1, batch=1)))
    """
    packages = packages_of([config.backend])
    found = versions(*packages)
    return {
        "device": device_name(),
        "processor": processor(),
        "backend": config.backend,
        "versions": {name: found[name] for name in packages if name in found},
        "dtype": "float32",
        "batch": config.batch,
        "threads": config.threads,
        "input_size": list(input_size),
        "space": space.name,
        "arch": space.arch,
    }


def build_table(
    space: Space,
    path: str | Path,
    *,
    input_size: tuple[int, int, int],
    config: TableConfig = TableConfig(),
    resume: bool = False,
    progress: Progress | None = None,
) -> LatencyTable:
    """Measure a latency table of the networks of `space` for images of (C, H, W), write it to `path`, return it.

    Weights are random: they do not matter for the time. Every profile is kept at once in a file beside `path`, which
    goes when the table is written. `resume` goes on with that file, or with the profiles of a finished table: it stays
    as it is unless `config.max_designs` asks for more. Nothing else should run on the machine meanwhile.

    Args:
        space: whose networks are profiled.
        path: the table to write.
        input_size: (C, H, W).
        config: how they are measured, and how many.
        resume: go on with the profiles of a stopped run, or of a finished table.
        progress: is told of every network.

    Raises UserError for a stopped run's profiles without `resume`, for those of other settings with it, where too few
    networks differ, and where another process measures this table; RuntimeError for a sliced graph that is wrong.

    Example::

        table = build_table(space, "new_table.json", input_size=(3, 32, 32))
        table.record["residual"]  # {"median": 0.01, "p90": 0.03, "rank_correlation": 0.99, "n": 20}
    """
    path = Path(path)
    key = table_key(space, input_size, config)
    fixed = {"multiple": config.multiple, "rounds": config.rounds, "sources": 1, "way": config.way}
    first = first_designs(space, input_size, config)
    kept = path.with_name(f"{path.stem}.profiles.json")
    with sole_use(lock_of(path), what=str(path)):
        remove_leftovers(path.parent, of=(path, kept))
        if kept.exists() and not resume:
            raise UserError(f"{kept}: profiles of a stopped run; give --resume to go on with them, or delete it")
        before = kept if kept.exists() else path
        if resume and (sources := sources_of(before)) > 1:  # a merged table goes on as max_designs says
            fixed["sources"], first = sources, []
        settings = {"format": FORMAT, "key": key, **fixed}
        profiles = resumed(before, settings, first) if resume else []
        found = _profiles(space, input_size, config, _designs(space, input_size, config, first, profiles))
        total = max(len(first), config.max_designs)
        for profile in shown(_told(found), progress, stage=STAGE, total=total, done=len(profiles)):
            profiles.append(profile)
            save_measured(kept, settings, profiles)
        if kept.exists():  # else nothing was missing
            fitted_table(space, input_size, key, fixed, profiles).save(path)
            kept.unlink()
        return LatencyTable.load(path)


def merge_tables(
    space: Space, path: str | Path, sources: Sequence[str | Path], *, input_size: tuple[int, int, int]
) -> LatencyTable:
    """Make one table of the profiles of several `sources`, write it to `path`, return it; nothing is timed.

    Of a network that is in several the first counts.

    Args:
        space: the tables'.
        path: the table to write.
        sources: tables, or files of profiles that a stopped run has left.
        input_size: (C, H, W), the tables'.

    Raises UserError where the tables differ in more than their networks, or are not of `space`.

    Example::

        merge_tables(space, "table.json", ["monday.json", "tuesday.json"], input_size=(3, 32, 32))
    """
    key, settings, profiles = merged(sources)
    try:
        LatencyTable(key, 0.0, {}, {}, 0.0).check_space(space, input_size)
    except UserError as error:
        raise error.at(str(sources[0])) from None
    if any(each.sizes != sizes(space.groups) for each in profiles):
        raise UserError(f"{sources[0]}: its networks have other groups of channels; {AGAIN}")
    if len(profiles) < 2 * FOLDS:
        raise UserError(f"{sources[0]}: {len(profiles)} networks in all; a table needs {2 * FOLDS}, so profile more")
    table = fitted_table(space, input_size, key, settings, profiles)
    with sole_use(lock_of(Path(path)), what=str(path)):
        table.save(path)
    return table


def lock_of(path: Path) -> Path:
    """The lock of the table `path`, held while it is measured."""
    return path.with_name(f".{path.name}.lock")


def first_designs(space: Space, input_size: tuple[int, int, int], config: TableConfig) -> list[dict[str, int]]:
    """The networks to profile first, each once: a network that others predict must not be among them."""
    check_timeable(space.operators(input_size))
    widths = allowed_widths(space.groups, config.multiple)
    if all(len(grid) == 1 for grid in widths.values()):
        raise UserError(f"multiple={config.multiple!r}: no group has a second width, so no network differs; lower it")
    found, drawn = list[dict[str, int]](), sample_designs(widths, config.designs, seed=config.seed)
    if config.way == TOTALS:
        drawn = with_blocks_gone(drawn, members_of(blocks_of(space.groups)), seed=config.seed)
    for design in drawn:
        if design not in found:
            found.append(design)
    if len(found) < 2 * FOLDS:
        raise UserError(
            f"designs={config.designs!r}: only {len(found)} networks differ and a table needs {2 * FOLDS}; give more "
            f"designs, or a smaller multiple than {config.multiple}"
        )
    return found


def _designs(
    space: Space,
    input_size: tuple[int, int, int],
    config: TableConfig,
    first: Sequence[dict[str, int]],
    measured: Sequence[Profile | Timing],
) -> Iterator[dict[str, int]]:
    """The networks to measure one by one, the `first` ones first; `measured` are those behind, and grow meanwhile."""
    yield from first[len(measured) :]
    widths, way = allowed_widths(space.groups, config.multiple), WAYS[str(config.way)]
    operators, gathered = space.operators(input_size), gathered_groups(space)
    while len(measured) < config.max_designs:
        predicted = way.held_out(operators, widths, measured, gathered=gathered)
        if prediction_error(predicted.tolist(), [each.ratio for each in measured])["median"] <= config.target:
            return
        design = way.next_design(operators, widths, measured, gathered=gathered, seed=config.seed)
        if any(each.widths == design for each in measured):  # there are hardly any others
            return
        yield design


def _profiles(
    space: Space, input_size: tuple[int, int, int], config: TableConfig, designs: Iterator[dict[str, int]]
) -> Iterator[Profile | Timing]:
    """What is measured of the networks `designs`, one by one; nothing is made ready where there are none."""
    if (first := next(designs, None)) is not None:
        with torch_threads(config.threads), _profiler(space, input_size, config) as profiler:
            for widths in chain([first], designs):
                yield profiler.profile(widths)


def _told(found: Iterable[Profile | Timing]) -> Iterator[tuple[Profile | Timing, str]]:
    return ((profile, f"{profile.ratio:.3f} of the unpruned latency") for profile in found)


def shown(
    found: Iterable[tuple[T, str]], progress: Progress | None, *, stage: str, total: int, done: int
) -> Iterator[T]:
    """What is `found`, one by one; `progress` is told of each, with its text, once it has been taken care of."""
    if progress is not None:
        progress.start(stage, total, done)
    for n, (each, text) in enumerate(found, start=done + 1):
        yield each
        if progress is not None:
            progress.advance()
            progress.note(f"network {n} of {total}: {text}")


@contextmanager
def _profiler(space: Space, input_size: tuple[int, int, int], config: TableConfig) -> Iterator[CallTimer]:
    """What measures networks of `space`; its temporary files go at the end."""
    backend, operators = BACKENDS.here("backend", config.backend), [op.name for op in space.operators(input_size)]
    images = torch.randn(config.batch, *input_size, generator=torch.Generator().manual_seed(0))
    with scratch("latency") as folder:
        networks = WidthNetworks(space, input_size, folder, backend=backend, images=images)
        way = WAYS[str(config.way)]
        yield way.timer(backend, networks, operators, threads=config.threads, rounds=config.rounds)
