"""The ways in which a latency table is made: of a time for every layer, or of whole calls alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..plan.table_file import PROFILES, TOTALS
from ..spaces import Operator
from .backends import Backend, LayerBackend, tells_layers
from .designs import next_design
from .fitting import fit_table, group_errors, held_out
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


def best_way(backend: Backend) -> str:
    """The way of a backend's tables where none is asked for."""
    return PROFILES if tells_layers(backend) else TOTALS


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
