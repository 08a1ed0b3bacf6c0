"""From profiled networks to a latency table: every operator's cost at all widths, and how well their sum predicts."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..costs.latency import UNTIMED, LatencyTable, MeasuredTable, OperatorCosts, check_timeable
from ..plan import UserError
from ..plan.table_file import AGAIN, TOTALS
from ..spaces import Operator, plain_sides, width_at
from .latency import DRIFT
from .profiling import Profile

BLOCKS = (1, 8, 16)
"""Engines process channels in blocks: costs go in steps of widths rounded up to multiples of these."""

FOLDS = 4


def fit_table(
    key: Mapping[str, Any],
    operators: Sequence[Operator],
    widths: Mapping[str, Sequence[int]],
    profiles: Sequence[Profile],
    *,
    gathered: Collection[str] = (),
) -> LatencyTable:
    """The latency table that explains `profiles`, of networks of `operators` at widths out of `widths` {group: grid}.

    An operator's cost is a sum of steps in its widths with non-negative factors, fitted to its time in all networks.
    Groups that are `gathered` from a wider stream cost a copy unless they have their full width. At width 0 an operator
    is gone and costs nothing. All time that no timed operator owns is `rest`: what comes before the first layer, and
    what was left of blocks when the network was pruned before.
    """
    overhead = profiler_overhead(profiles)
    check_timeable(operators)
    samples = {op.name: _samples(op, profiles, overhead) for op in operators if op.kind not in UNTIMED}
    found = {op.name: _fit(op, widths, samples[op.name], gathered) for op in operators if op.name in samples}
    rest = np.mean([_untimed(p, samples.keys(), overhead) for p in profiles])
    unpruned_ms = float(np.median([p.unpruned_ms for p in profiles]))
    record = {"profiler_overhead": overhead, "samples": {name: value.tolist() for name, value in samples.items()}}
    return LatencyTable(key, unpruned_ms, widths, found, float(rest), record)


def held_out(
    operators: Sequence[Operator],
    widths: Mapping[str, Sequence[int]],
    profiles: Sequence[Profile],
    *,
    gathered: Collection[str] = (),
) -> np.ndarray:
    """The latency ratio of every profiled network, predicted by a table that was fitted without its quarter of them."""
    tables = _without_own_quarter(operators, widths, profiles, gathered)
    return np.array([t.predict(operators, p.widths).ratio for t, p in zip(tables, profiles, strict=True)])


def group_errors(
    operators: Sequence[Operator],
    widths: Mapping[str, Sequence[int]],
    profiles: Sequence[Profile],
    *,
    gathered: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """{group: by how much the operators that make or read it were mispredicted in every network}, held out.

    In shares of the unpruned network's time, without sign.
    """
    tables = _without_own_quarter(operators, widths, profiles, gathered)
    overhead = profiler_overhead(profiles)
    errors = {group: np.zeros(len(profiles)) for group in widths}
    for op in operators:
        if op.kind in UNTIMED:
            continue
        rows = _samples(op, profiles, overhead)[:-1]
        found = [t.price(op, int(n_in), int(n_out)) - s for t, (n_in, n_out, s) in zip(tables, rows, strict=True)]
        for group in op.groups:
            errors[group] += found
    return {group: np.abs(sums) for group, sums in errors.items()}


def _without_own_quarter(
    operators: Sequence[Operator],
    widths: Mapping[str, Sequence[int]],
    profiles: Sequence[Profile],
    gathered: Collection[str],
) -> list[LatencyTable]:
    """For every profile the table of the profiles that are in no quarter with it."""
    quarters = [[p for i, p in enumerate(profiles) if i % FOLDS != fold] for fold in range(FOLDS)]
    tables = [fit_table({}, operators, widths, rest, gathered=gathered) for rest in quarters]
    return [tables[i % FOLDS] for i in range(len(profiles))]


def prediction_error(predicted: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """`median` and `p90` of |predicted / measured - 1|, Spearman's `rank_correlation`, and `n`.

    Example::

        prediction_error([0.5, 0.8], [0.5, 1.0])  # {"median": 0.1, "p90": 0.18, "rank_correlation": 1.0, "n": 2}
    """
    p, m = np.array(predicted), np.array(measured)
    errors = np.abs(p / m - 1)
    ranks = [np.argsort(np.argsort(values)) for values in (p, m)]
    return {
        "median": float(np.median(errors)),
        "p90": float(np.quantile(errors, 0.9)),
        "rank_correlation": float(np.corrcoef(ranks[0], ranks[1])[0][1]),
        "n": len(p),
    }


def describe_table(table: MeasuredTable) -> str:
    """In words: how well `table` predicts, and whether the machine was quiet while it was measured.

    Of merged tables nothing is said of the machine: its speed differs from day to day. Raises UserError where the
    table's file has no such record.
    """
    if absent := [name for name in ("residual", "reference_ms") if name not in table.record]:
        raise UserError(f"latency table: {absent[0]} is missing, so nothing is known of its error; {AGAIN}")
    residual, reference_ms = table.record["residual"], table.record["reference_ms"]
    text = (
        f"Networks that it had not seen were predicted with a median error of {residual['median']:.1%} (90 % of "
        f"{residual['n']} within {residual['p90']:.1%}) and a rank correlation of {residual['rank_correlation']:.3f}."
    )
    if table.record.get("way") == TOTALS:
        text += " It is made of whole calls alone: what it says of a single layer is a guess that adds up."
    change = max(reference_ms) / min(reference_ms) - 1
    if change > DRIFT and table.record.get("sources", 1) == 1:
        text += f" The machine's speed changed by {change:.0%} meanwhile: measure again when nothing else runs."
    return text


def profiler_overhead(profiles: Sequence[Profile]) -> float:
    """How much of the unpruned network's profiled time is the profiler's own, which every node pays alike.

    With this one number the sums of nodes agree best with whole calls without the profiler: about 2 microseconds a
    node, which matters where nodes are short and pruning changes their number. The absolute differences are minimised,
    so that a few disturbed networks do not count.
    """
    nodes = np.array([sum(p.nodes.values()) / sum(p.unpruned_nodes.values()) for p in profiles])
    sums = np.array([math.fsum(p.operators.values()) for p in profiles])  # in whatever order they are
    ratios = np.array([p.ratio for p in profiles])
    # ratio = (sum - overhead * nodes) / (1 - overhead), solved for every network; then the weighted median.
    weights = np.abs(ratios - nodes)
    if not weights.any():
        return 0.0
    known = weights > 0
    each, weights = (ratios - sums)[known] / (ratios - nodes)[known], weights[known]
    order = np.argsort(each)
    middle = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return float(np.clip(each[order][middle], -0.5, 0.5))


def _samples(op: Operator, profiles: Sequence[Profile], overhead: float) -> np.ndarray:
    """Rows of (n_in, n_out, share): of every network, then, averaged, of the unpruned one timed beside them."""

    rows, full = [], []
    for p in profiles:
        n_in, n_out = (width_at(n, p.widths) for n in plain_sides(op))
        rows.append([n_in, n_out, _share(p, p.operators.get(op.name, 0), p.nodes.get(op.name, 0), overhead)])
        full.append(_share(p, p.unpruned.get(op.name, 0), p.unpruned_nodes.get(op.name, 0), overhead))
    n_in, n_out = (width_at(n, p.sizes) for n in plain_sides(op))
    return np.array([*rows, [n_in, n_out, np.mean(full)]])


def _untimed(profile: Profile, timed: Collection[str], overhead: float) -> float:
    """The share of all that none of the operators `timed` owns."""
    owners = profile.operators.keys() - timed
    us, nodes = (math.fsum(of.get(name, 0) for name in owners) for of in (profile.operators, profile.nodes))
    return _share(profile, us, nodes, overhead)


def _share(profile: Profile, us: float, nodes: float, overhead: float) -> float:
    """`us` of `nodes` nodes in a profile, a share of the unpruned network's time, without the profiler's own part."""
    return (us - overhead * nodes / sum(profile.unpruned_nodes.values())) / (1 - overhead)


def _fit(
    op: Operator, widths: Mapping[str, Sequence[int]], samples: np.ndarray, gathered: Collection[str]
) -> OperatorCosts:
    """Costs at all pairs of widths; the unpruned network, timed beside every other, counts as often."""
    from scipy.optimize import nnls

    sides = plain_sides(op)
    grid_in, grid_out = grids = [np.array(widths[n] if isinstance(n, str) else [n]) for n in sides]
    axes = [_Axis(grid[-1], isinstance(n, str), n in gathered) for n, grid in zip(sides, grids, strict=True)]
    weights = np.append(np.ones(len(samples) - 1), np.sqrt(len(samples) - 1))
    steps = _steps(samples[:, 0], samples[:, 1], axes)
    factors, _ = nnls(steps * weights[:, None], samples[:, 2] * weights)
    n_in, n_out = (n.ravel() for n in np.meshgrid(grid_in, grid_out, indexing="ij"))
    shares = np.where((n_in > 0) & (n_out > 0), np.maximum(_steps(n_in, n_out, axes) @ factors, 0), 0.0)
    return OperatorCosts(*sides, shares.reshape(len(grid_in), len(grid_out)))


class _Axis(NamedTuple):
    """One of an operator's widths: the full one, whether it can be less, and whether it is then gathered."""

    full: int
    varies: bool
    gathered: bool


def _steps(n_in: np.ndarray, n_out: np.ndarray, axes: Sequence[_Axis]) -> np.ndarray:
    """The terms of an operator's cost, [N, terms], which take non-negative factors.

    A constant; steps in each width, whose slope may change half way, as caches fill; what odd widths add; products.
    """
    terms, rounded, narrow = [np.ones(len(n_in))], [], []
    for n, axis in zip((n_in, n_out), axes, strict=True):
        steps = [np.ceil(n / block) * block / axis.full for block in BLOCKS]
        rounded.append(steps)
        narrow.append((n < BLOCKS[-1]).astype(float))
        if axis.varies:
            sliced = (n < axis.full).astype(float)
            odd = [(n % block != 0).astype(float) for block in BLOCKS[1:]]
            bent = [np.minimum(steps[-1], 0.5), np.maximum(steps[-1] - 0.5, 0)]
            terms += [*steps, *bent, *odd, narrow[-1], sliced]
            if axis.gathered:  # between the last sliced width and the full one the cost may fall
                terms += [sliced * n / axis.full, -sliced]
    if all(axis.varies for axis in axes):
        terms += [a * b for a, b in zip(*rounded, strict=True)]
        terms += [narrow[0] * rounded[1][-1], narrow[1] * rounded[0][-1]]
    return np.stack(terms, axis=1)
