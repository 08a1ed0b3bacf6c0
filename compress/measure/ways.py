"""The ways in which a latency table is made: of a time for every layer, or of whole calls alone."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..plan.table_file import PROFILES, TOTALS
from ..spaces import Operator, Space
from .backends import Backend, LayerBackend
from .designs import allowed_widths, next_design
from .environment import versions
from .fitting import fit_table, group_errors, held_out, prediction_error
from .kept import PACK
from .profiling import CallTimer, Profile, Profiler
from .totals import fit_totals, held_out_totals, most_telling

if TYPE_CHECKING:
    import numpy as np

    from ..costs import LatencyTable
    from .networks import WidthNetworks


@dataclass(frozen=True)
class Way:
    """How networks are measured one by one, and how a table is fitted to what was measured.

    `timer(backend, networks, operators, threads=, rounds=)` measures networks, whose space has `operators`, by name.
    `fit(key, operators, widths, measured, gathered=)` is the table on the grid `widths`, whose groups are `gathered` or
    not; `held_out(operators, widths, measured, gathered=)` every network's ratio, predicted without its quarter of
    them; and `next_design(operators, widths, measured, gathered=, seed=)` the widths to measure next.
    """

    timer: Callable[..., CallTimer]
    fit: Callable[..., LatencyTable]
    held_out: Callable[..., np.ndarray]
    next_design: Callable[..., dict[str, int]]


def fitted_table(
    space: Space,
    input_size: tuple[int, int, int],
    key: Mapping[str, Any],
    settings: Mapping[str, Any],
    measured: Sequence[Any],
) -> LatencyTable:
    """The table of all networks; its `residual` is that of tables fitted without the networks that they predict.

    Args:
        space: whose networks were measured.
        input_size: (C, H, W).
        key: the table's.
        settings: `way`, `multiple`, and what else the table's record has of how it was measured.
        measured: as the way's timer gives it.
    """
    way, operators, gathered = WAYS[settings["way"]], space.operators(input_size), gathered_groups(space)
    widths = allowed_widths(space.groups, settings["multiple"])
    removable = {group.name for group in space.groups if group.rest is not None}
    grids = {name: [0] * (name in removable) + grid for name, grid in widths.items()}
    predicted = way.held_out(operators, grids, measured, gathered=gathered)
    table = way.fit(key, operators, grids, measured, gathered=gathered)
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "measured_with": versions(),
        "residual": prediction_error(predicted.tolist(), [each.ratio for each in measured]),
        "reference_ms": [each.reference_ms for each in measured],
        "designs": [
            {"widths": dict(each.widths), "ratio": each.ratio, "held_out": ratio}
            for each, ratio in zip(measured, predicted.tolist(), strict=True)
        ],
        **settings,
        settings["way"]: PACK[settings["way"]](measured),
    }
    return replace(table, record={**record, **table.record})


def gathered_groups(space: Space) -> set[str]:
    """The groups that are gathered from a wider stream."""
    return {group.name for group in space.groups if group.index is not None}


def best_way(backend: Backend) -> str:
    """The way of a backend's tables where none is asked for."""
    return PROFILES if isinstance(backend, LayerBackend) and backend.by_layers else TOTALS


def _timer(
    backend: Backend, networks: WidthNetworks, operators: Sequence[str], *, threads: int, rounds: int
) -> CallTimer:
    return CallTimer(backend, networks, threads=threads, rounds=rounds)


def _profiler(
    backend: LayerBackend, networks: WidthNetworks, operators: Sequence[str], *, threads: int, rounds: int
) -> CallTimer:
    return Profiler(backend, networks, operators, threads=threads, rounds=rounds)


def _worst_predicted(
    operators: Sequence[Operator],
    widths: Mapping[str, Sequence[int]],
    profiles: Sequence[Profile],
    *,
    gathered: Collection[str],
    seed: int,
) -> dict[str, int]:
    """Where the groups that are predicted worst were measured least."""
    errors = group_errors(operators, widths, profiles, gathered=gathered)
    return next_design(widths, [p.widths for p in profiles], errors, seed=seed)


WAYS: dict[str, Way] = {
    PROFILES: Way(_profiler, fit_table, held_out, _worst_predicted),
    TOTALS: Way(_timer, fit_totals, held_out_totals, most_telling),
}
"""By their names, as tables and the command line have them."""
