"""Make a latency table: profile networks of a space at sampled widths, fit, and say how well the table predicts."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..costs.latency import FORMAT, LatencyTable
from ..plan import UserError, read_json, write_json
from ..spaces import Space
from .designs import allowed_widths, sample_designs
from .environment import device_name, versions
from .fitting import FOLDS, fit_table, held_out, prediction_error
from .graphs import WidthGraphs
from .networks import check_graphs, timing_network
from .profiling import OrtProfiler, Profile
from .timing import torch_threads

if TYPE_CHECKING:
    from ..engine.hooks import Progress

BACKENDS = ("onnxruntime",)
ENGINE = ("onnxruntime", "torch")
"""Packages whose versions decide the graph that runs, and how."""

STAGE = "Profiling networks"


@dataclass(frozen=True)
class TableConfig:
    """How a table is measured.

    `backend`: "onnxruntime", on the CPU. `threads`, `batch`: of one call. `designs`: networks that are profiled.
    `multiple`: widths are its multiples, or the full width. `rounds`: timed calls of each network under the profiler,
    and as many without. `seed`: of the widths. Raises UserError for values out of range.

    Example::

        TableConfig(multiple=16, designs=24)
    """

    backend: str = "onnxruntime"
    threads: int = 1
    batch: int = 1
    designs: int = 20
    multiple: int = 8
    rounds: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise UserError(f"backend={self.backend!r}: is unknown; choose from {', '.join(BACKENDS)}")
        for name, least in (("threads", 1), ("batch", 1), ("designs", 2 * FOLDS), ("multiple", 1), ("rounds", 4)):
            if not isinstance(value := getattr(self, name), int) or value < least:
                raise UserError(f"{name}={value!r}: must be a whole number of at least {least}")


def table_key(space: Space, input_size: tuple[int, int, int], config: TableConfig) -> dict[str, Any]:
    """What a table holds for: this machine and its software, the way of running, and the network.

    Example::

        table.check_key(table_key(space, (3, 224, 224), TableConfig(threads=1, batch=1)))
    """
    found = versions()
    return {
        "device": device_name(),
        "backend": config.backend,
        "versions": {name: found[name] for name in ENGINE if name in found},
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
    `resume` goes on with, and which goes when the table is written. Nothing else should run on the machine meanwhile.

    Raises UserError when `resume` finds profiles of other settings; RuntimeError when a sliced graph does not compute
    what the sliced network computes.

    Example::

        table = build_table(MobileNetV2Space(1000), "table.json", input_size=(3, 224, 224))
        table.record["residual"]  # {"median": 0.01, "p90": 0.03, "rank_correlation": 0.99, "n": 20}
    """
    path = Path(path)
    key = table_key(space, input_size, config)
    settings = {"format": FORMAT, "key": key, **{k: v for k, v in asdict(config).items() if k not in key}}
    kept = path.with_name(f"{path.stem}.profiles.json")
    profiles = _resumed(kept, settings) if resume else []
    widths = allowed_widths(space.groups, config.multiple)
    designs = sample_designs(widths, config.designs, seed=config.seed)
    if progress is not None:
        progress.start(STAGE, len(designs), len(profiles))
    if len(profiles) < len(designs):
        for profile in _profiles(space, input_size, config, designs[len(profiles) :]):
            profiles.append(profile)
            write_json(kept, {**settings, "profiles": [asdict(p) for p in profiles]})
            if progress is not None:
                progress.advance()
                progress.note(f"network {len(profiles)} of {len(designs)}: {profile.ratio:.3f} of the unpruned latency")
    table = _fitted(space, input_size, key, widths, profiles)
    table.save(path)
    kept.unlink(missing_ok=True)
    return table


def _profiles(
    space: Space, input_size: tuple[int, int, int], config: TableConfig, designs: Sequence[Mapping[str, int]]
) -> Iterator[Profile]:
    """The profiles of the networks `designs`, one by one; the first graph is checked against the sliced network."""
    model = timing_network(space, input_size)
    graphs = WidthGraphs(model, space, input_size=input_size)
    images = torch.randn(config.batch, *input_size, generator=torch.Generator().manual_seed(0))
    check_graphs(graphs, model, space, designs[0], images)
    with (
        torch_threads(config.threads),
        OrtProfiler.open(graphs, images.numpy(), threads=config.threads, rounds=config.rounds) as profiler,
    ):
        for widths in designs:
            yield profiler.profile(widths)


def _fitted(
    space: Space,
    input_size: tuple[int, int, int],
    key: Mapping[str, Any],
    widths: Mapping[str, Sequence[int]],
    profiles: Sequence[Profile],
) -> LatencyTable:
    """The table of all profiles; its `residual` is that of tables fitted without the networks that they predict."""
    operators = space.operators(input_size)
    removable = {group.name for group in space.groups if group.block is not None}
    grids = {name: [0] * (name in removable) + list(grid) for name, grid in widths.items()}
    gathered = {group.name for group in space.groups if group.index is not None}
    predicted = held_out(operators, grids, profiles, gathered=gathered)
    table = fit_table(key, operators, grids, profiles, gathered=gathered)
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "measured_with": versions(),
        "residual": prediction_error(predicted.tolist(), [p.ratio for p in profiles]),
        "reference_ms": [p.reference_ms for p in profiles],
        "designs": [
            {"widths": dict(p.widths), "ratio": p.ratio, "held_out": ratio}
            for p, ratio in zip(profiles, predicted.tolist(), strict=True)
        ],
    }
    return replace(table, record={**record, **table.record})


def _resumed(kept: Path, settings: Mapping[str, Any]) -> list[Profile]:
    """The profiles in the file `kept`, none when there is no such file; UserError when they are of other settings."""
    if not kept.exists():
        return []
    value = read_json(kept)
    profiles = value.pop("profiles")
    if value != settings:
        odd = [name for name in settings if value.get(name) != settings[name]]
        raise UserError(f"{kept}: profiles of other settings ({', '.join(odd)}); delete it, or leave --resume away")
    return [Profile(**profile) for profile in profiles]
