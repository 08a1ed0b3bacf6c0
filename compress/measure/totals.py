"""From whole calls to a latency table, for engines that tell nothing else: curves of all operators, fitted at once.

A network's ratio is a constant and the curves of its *units*, the operators that depend on the same groups: of one
group, or of two whose widths multiply. Far fewer networks are timed than curves would need by themselves, so each has
the shape that MACs and moved elements give it, by a few factors that all share, and one factor of its own, which is
kept near 1 as far as cross-validation finds good.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..costs.latency import UNTIMED, LatencyTable, OperatorCosts, check_timeable
from ..spaces import Operator, named_sides, plain_sides, width_at
from .designs import sample_designs
from .fitting import FOLDS, side_grid
from .profiling import Timing

BLOCKS = (1, 8, 16, 32)
"""Curves go in steps of widths rounded up to multiples of these; shared by all, so one more costs little."""

STRENGTHS = tuple(10.0**i for i in range(-2, 5))
"""How hard units' own factors may be pulled to 1: from hardly at all to not letting them go."""

CANDIDATES = 64
"""Networks of a draw, one of which is timed next."""

LOOSE = 1.0
"""The most strength at which the fit still has doubts of single units."""


def fit_totals(
    key: Mapping[str, Any],
    operators: Sequence[Operator],
    widths: Mapping[str, Sequence[int]],
    timings: Sequence[Timing],
    *,
    gathered: Collection[str] = (),
) -> LatencyTable:
    """The latency table that explains `timings`, of networks of `operators` at widths out of `widths` {group: grid}.

    What depends on no width is `rest`, so operators without a group cost nothing, as those of a removed block do. What
    goes with a block alone has its share of the block's curves.
    Groups that are `gathered` from a wider stream may cost a copy unless they have their full width.
    """
    check_timeable(operators)
    model = _Model.of(operators, widths, gathered)
    terms, ratios = model.samples(timings)
    strength = _chosen(terms, ratios)
    fit = _fit(terms, ratios, strength)
    costs = {op.name: _costs(op, widths, model, fit) for op in operators if op.kind not in UNTIMED}
    unpruned_ms = float(np.median([t.unpruned_ms for t in timings]))
    return LatencyTable(key, unpruned_ms, widths, costs, fit.rest, {"strength": strength})


def held_out_totals(
    operators: Sequence[Operator],
    widths: Mapping[str, Sequence[int]],
    timings: Sequence[Timing],
    *,
    gathered: Collection[str] = (),
) -> np.ndarray:
    """The latency ratio of every timed network, predicted by a fit without its quarter of them.

    The quarter has no part in how hard factors are pulled either.
    """
    terms, ratios = _Model.of(operators, widths, gathered).samples(timings)
    return _held_out(terms, ratios, None)


def most_telling(
    operators: Sequence[Operator],
    widths: Mapping[str, Sequence[int]],
    timings: Sequence[Timing],
    *,
    gathered: Collection[str] = (),
    seed: int,
) -> dict[str, int]:
    """Which network out of `widths` {group: grid} is best timed next; the same for the same input.

    Of CANDIDATES that are drawn it is the one whose time would leave the least doubt about all of them, on average.
    """
    model = _Model.of(operators, widths, gathered)
    terms, ratios = model.samples(timings)
    strength = min(_chosen(terms, ratios), LOOSE)
    fit = _fit(terms, ratios, strength)
    known = np.vstack(_rows(terms @ fit.factors, ratios, strength))
    drawn = sample_designs(widths, CANDIDATES, seed=seed + 1 + len(timings))
    candidates = model.terms(drawn)
    asked = np.column_stack([np.ones(len(drawn)), candidates @ fit.factors]) / fit.ratios(candidates)[:, None]
    doubt = asked @ np.linalg.pinv(known.T @ known) @ asked.T  # covariance of their predictions
    gained = np.square(doubt).sum(axis=0) / (1 + np.diag(doubt))
    return drawn[int(np.argmax(gained))]


class _Fit(NamedTuple):
    """`factors` of the terms, which all units share, `own` ones of the units, and the constant `rest`."""

    factors: np.ndarray
    own: np.ndarray
    rest: float

    def ratios(self, terms: np.ndarray) -> np.ndarray:
        """Of networks whose `terms` [N, units, terms] are given."""
        return self.rest + terms @ self.factors @ self.own


@dataclass(frozen=True)
class _Model:
    """The `operators` that depend on widths, their `units`, and `places`: positions of their maps, by operator."""

    operators: tuple[Operator, ...]
    units: Mapping[tuple[str, ...], int]
    sizes: Mapping[str, int]
    places: Mapping[str, float]
    gathered: frozenset[str]

    @classmethod
    def of(
        cls, operators: Sequence[Operator], widths: Mapping[str, Sequence[int]], gathered: Collection[str]
    ) -> _Model:
        timed = tuple(op for op in operators if op.kind not in UNTIMED and op.groups)
        units = {unit: i for i, unit in enumerate(dict.fromkeys(op.groups for op in timed))}
        return cls(timed, units, {name: grid[-1] for name, grid in widths.items()}, _places(timed), frozenset(gathered))

    def samples(self, timings: Sequence[Timing]) -> tuple[np.ndarray, np.ndarray]:
        """Terms and ratios of `timings`, and last of the unpruned network, which was timed beside every one."""
        return self.terms([*(t.widths for t in timings), self.sizes]), np.array([*(t.ratio for t in timings), 1.0])

    def terms(self, designs: Sequence[Mapping[str, int]]) -> np.ndarray:
        """[designs, units, terms]."""
        found = np.zeros((len(designs), len(self.units), 2 * len(BLOCKS) + 1))
        for op in self.operators:
            n_in, n_out = (np.array([width_at(side, design) for design in designs]) for side in plain_sides(op))
            found[:, self.units[op.groups]] += self.of_operator(op, n_in, n_out)
        return found

    def of_operator(self, op: Operator, n_in: np.ndarray, n_out: np.ndarray) -> np.ndarray:
        """[widths, terms]: MACs, and elements read and written, at widths rounded up to every block; what is copied.

        Nothing where the operator is gone.
        """
        places, sides = self.places[op.name], plain_sides(op)
        macs, moved = [], []
        for block in BLOCKS:
            reads, writes = (
                np.ceil(n / block) * block if isinstance(side, str) else n
                for n, side in zip((n_in, n_out), sides, strict=True)
            )
            macs.append(op.macs * reads * writes)
            moved.append(places * (writes + (writes if op.n_in == 1 else reads)))
        copied = np.zeros(len(n_in))
        if isinstance(sides[0], str) and sides[0] in self.gathered:
            copied = places * n_in * (n_in < self.sizes[sides[0]])
        return np.stack([*macs, *moved, copied], axis=1).astype(float) * ((n_in > 0) & (n_out > 0))[:, None]


def _places(operators: Sequence[Operator]) -> dict[str, float]:
    """{operator: positions of its map}: MACs over weights; where it has none, those of the group's other operators."""
    own = {op.name: op.macs / op.weights for op in operators if op.macs and op.weights}
    of_group: dict[str, float] = {}
    for op in operators:
        for group in op.groups:
            of_group[group] = max(of_group.get(group, 0.0), own.get(op.name, 0.0))
    return {op.name: own.get(op.name, max(of_group[group] for group in op.groups)) for op in operators}


def _fit(terms: np.ndarray, ratios: np.ndarray, strength: float) -> _Fit:
    """The shared factors first, then each unit's own; errors count relatively, the unpruned network as all others."""
    from scipy.optimize import nnls

    full = terms[-1].sum(axis=0)
    scale = np.where(full > 0, full, 1.0)
    weights = _weights(ratios)
    rows = np.column_stack([np.ones(len(terms)), terms.sum(axis=1) / scale])
    found, _ = nnls(rows * weights[:, None], ratios * weights)
    factors = found[1:] / scale
    rows, pull = _rows(terms @ factors, ratios, strength)
    own, _ = nnls(np.vstack([rows, pull]), np.append(ratios * weights, pull.sum(axis=1)))
    return _Fit(factors, own[1:], float(own[0]))


def _rows(curves: np.ndarray, ratios: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """The equations of the constant and the units' own factors: of every network, and of the pull to 1."""
    rows = np.column_stack([np.ones(len(curves)), curves]) * _weights(ratios)[:, None]
    pull = np.sqrt(strength) * np.diag(curves[-1])
    return rows, np.column_stack([np.zeros(len(pull)), pull])


def _weights(ratios: np.ndarray) -> np.ndarray:
    return np.append(np.ones(len(ratios) - 1), np.sqrt(len(ratios) - 1)) / ratios


def _chosen(terms: np.ndarray, ratios: np.ndarray) -> float:
    """The strength that predicts held-out networks best."""

    def error(strength: float) -> float:
        return float(np.square(_held_out(terms, ratios, strength) / ratios[:-1] - 1).sum())

    return min(STRENGTHS, key=error)


def _held_out(terms: np.ndarray, ratios: np.ndarray, strength: float | None) -> np.ndarray:
    """Every network's ratio without its quarter; `strength` None: chosen without it, too."""
    n = len(ratios) - 1
    predicted = np.empty(n)
    for fold in range(FOLDS):
        own = np.arange(n) % FOLDS == fold
        kept = np.append(~own, True)
        given = terms[kept], ratios[kept]
        fit = _fit(*given, _chosen(*given) if strength is None else strength)
        predicted[own] = fit.ratios(terms[:-1][own])
    return predicted


def _costs(op: Operator, widths: Mapping[str, Sequence[int]], model: _Model, fit: _Fit) -> OperatorCosts:
    sides, grids = named_sides(op), [side_grid(side, widths) for side in plain_sides(op)]
    shape = (len(grids[0]), len(grids[1]))
    if not op.groups:
        return OperatorCosts(*sides, np.zeros(shape))
    n_in, n_out = (n.ravel() for n in np.meshgrid(*grids, indexing="ij"))
    shares = model.of_operator(op, n_in, n_out) @ fit.factors * fit.own[model.units[op.groups]]
    return OperatorCosts(*sides, np.where((n_in > 0) & (n_out > 0), shares, 0.0).reshape(shape))
