"""From profiled networks to a latency table: every operator's cost at all widths, and how well their sum predicts."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..costs.latency import UNTIMED, LatencyTable, MeasuredTable, OperatorCosts, check_timeable
from ..plan import UserError
from ..plan.drift import drift_of
from ..plan.table_file import AGAIN, TOTALS
from ..spaces import Operator, plain_sides, width_at
from .profiling import Profile
from .regions import Block, blocks, components, members, region

BLOCKS = (1, 8, 16)
"""Engines process channels in blocks: costs go in steps of widths rounded up to multiples of these."""

FOLDS = 4

MOST_NODE_MS = 0.01
"""No profiler takes longer for a node: some take 0.002 ms. More than this is noise of whole calls."""


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
    Where layers hold several operators, the sum of theirs is fitted to the layers' time; what two of them have in
    common, a constant, is of the one with more MACs.
    Groups that are `gathered` from a wider stream cost a copy unless they have their full width. At width 0 an operator
    is gone and costs nothing. All time that no timed operator owns is `rest`: what comes before the first layer, and
    what was left of blocks when the network was pruned before.
    """
    overhead = profiler_overhead(profiles)
    check_timeable(operators)
    found = {op.name: _free(op, widths) for op in _timed(operators)}
    samples = {}
    for block in blocks(_timed(operators), _networks(profiles)):
        shares = _shares(block, profiles, overhead)
        at = [_widths(op, profiles) for op in block.operators]
        samples[region([op.name for op in block.operators])] = np.column_stack([*at, shares]).tolist()
        for op, part in _fit(block.operators, widths, at, shares, gathered):
            found[op.name] = replace(found[op.name], shares=found[op.name].shares + part)
    rest = np.mean([_untimed(p, found.keys(), overhead) for p in profiles])
    unpruned_ms = float(np.median([p.unpruned_ms for p in profiles]))
    record = {"profiler_overhead": overhead, "samples": samples}
    return LatencyTable(key, unpruned_ms, widths, found, float(rest), record)


def _timed(operators: Sequence[Operator]) -> list[Operator]:
    return [op for op in operators if op.kind not in UNTIMED]


def _networks(profiles: Sequence[Profile]) -> list[Collection[str]]:
    """The regions of every network, and of the unpruned one beside it."""
    return [regions.keys() for p in profiles for regions in (p.operators, p.unpruned)]


def _free(op: Operator, widths: Mapping[str, Sequence[int]]) -> OperatorCosts:
    """An operator that costs nothing, on its grid."""
    sides = plain_sides(op)
    return OperatorCosts(*sides, np.zeros([len(grid) for grid in _grids(sides, widths)]))


def _grids(sides: Sequence[int | str], widths: Mapping[str, Sequence[int]]) -> list[np.ndarray]:
    """The widths of an operator's two sides."""
    return [np.array(widths[n] if isinstance(n, str) else [n]) for n in sides]


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
    for block in components(_timed(operators), _networks(profiles)):
        shares, at = _shares(block, profiles, overhead), [_widths(op, profiles) for op in block.operators]
        found = np.array(
            [
                math.fsum(t.price(op, *map(int, w[i])) for op, w in zip(block.operators, at, strict=True)) - shares[i]
                for i, t in enumerate(tables)
            ]
        )
        for group in dict.fromkeys(group for op in block.operators for group in op.groups):
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
    residual = table.record["residual"]
    text = (
        f"Networks that it had not seen were predicted with a median error of {residual['median']:.1%} (90 % of "
        f"{residual['n']} within {residual['p90']:.1%}) and a rank correlation of {residual['rank_correlation']:.3f}."
    )
    if table.record.get("way") == TOTALS:
        text += " It is made of whole calls alone: what it says of a single layer is a guess that adds up."
    drift = drift_of(table.record)
    return f"{text} {drift}" if drift else text


def profiler_overhead(profiles: Sequence[Profile]) -> float:
    """How much of the unpruned network's profiled time is the profiler's own, which every node pays alike.

    With this one number the sums of nodes agree best with whole calls without the profiler: about 2 microseconds a
    node, which matters where nodes are short and pruning changes their number. The absolute differences are minimised,
    so that a few disturbed networks do not count, and what no profiler takes is cut off: where widths change the whole
    little, as a detector's backbone does, the differences say nothing of it.
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
    most = MOST_NODE_MS * float(np.median([sum(p.unpruned_nodes.values()) / p.unpruned_ms for p in profiles]))
    return float(np.clip(each[order][middle], -min(most, 0.5), min(most, 0.5)))


def _widths(op: Operator, profiles: Sequence[Profile]) -> np.ndarray:
    """Rows of (n_in, n_out): of every network, then of the unpruned one."""
    return np.array(
        [[width_at(n, at) for n in plain_sides(op)] for at in (*(p.widths for p in profiles), profiles[0].sizes)]
    )


def _shares(block: Block, profiles: Sequence[Profile], overhead: float) -> np.ndarray:
    """The share of a block in every network, then, averaged, in the unpruned one timed beside them."""

    def share(profile: Profile, times: Mapping[str, float], nodes: Mapping[str, int]) -> float:
        us, number = (math.fsum(of.get(name, 0) for name in block.regions) for of in (times, nodes))
        return _share(profile, us, number, overhead)

    own = [share(p, p.operators, p.nodes) for p in profiles]
    return np.array([*own, np.mean([share(p, p.unpruned, p.unpruned_nodes) for p in profiles])])


def _untimed(profile: Profile, timed: Set[str], overhead: float) -> float:
    """The share of all that none of the operators `timed` owns."""
    owners = [name for name in profile.operators if timed.isdisjoint(members(name))]
    us, nodes = (math.fsum(of.get(name, 0) for name in owners) for of in (profile.operators, profile.nodes))
    return _share(profile, us, nodes, overhead)


def _share(profile: Profile, us: float, nodes: float, overhead: float) -> float:
    """`us` of `nodes` nodes in a profile, a share of the unpruned network's time, without the profiler's own part."""
    return (us - overhead * nodes / sum(profile.unpruned_nodes.values())) / (1 - overhead)


def _fit(
    operators: Sequence[Operator],
    widths: Mapping[str, Sequence[int]],
    at: Sequence[np.ndarray],
    shares: np.ndarray,
    gathered: Collection[str],
) -> Iterator[tuple[Operator, np.ndarray]]:
    """Each of the `operators` that have `shares` together, and its part of them at all pairs of its widths.

    Their widths in all networks are `at`; the unpruned network, timed beside every other, counts as often.
    """
    from scipy.optimize import nnls

    order = sorted(range(len(operators)), key=lambda i: -operators[i].macs)  # equal terms are those of the first
    axes = [_axes(op, widths, gathered, alone=len(operators) == 1) for op in operators]
    weights = np.append(np.ones(len(shares) - 1), np.sqrt(len(shares) - 1))
    steps = [_steps(at[i][:, 0], at[i][:, 1], axes[i]) for i in order]
    factors, _ = nnls(np.hstack(steps) * weights[:, None], shares * weights)
    ends = np.cumsum([each.shape[1] for each in steps])
    for i, own in zip(order, np.split(factors, ends[:-1]), strict=True):
        grids = _grids(plain_sides(operators[i]), widths)
        n_in, n_out = (n.ravel() for n in np.meshgrid(*grids, indexing="ij"))
        part = np.where((n_in > 0) & (n_out > 0), np.maximum(_steps(n_in, n_out, axes[i]) @ own, 0), 0.0)
        yield operators[i], part.reshape([len(grid) for grid in grids])


def _axes(op: Operator, widths: Mapping[str, Sequence[int]], gathered: Collection[str], *, alone: bool) -> list[_Axis]:
    sides = plain_sides(op)
    full = [int(grid[-1]) for grid in _grids(sides, widths)]
    return [_Axis(size, isinstance(n, str), n in gathered, alone) for n, size in zip(sides, full, strict=True)]


class _Axis(NamedTuple):
    """One of an operator's widths: the full one, whether it can be less, and whether it is then gathered; whether the
    operator is fitted alone."""

    full: int
    varies: bool
    gathered: bool
    alone: bool


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
                # The constant that a negative term is taken from may be another operator's.
                terms += [sliced * n / axis.full, -sliced if axis.alone else 1 - sliced]
    if all(axis.varies for axis in axes):
        terms += [a * b for a, b in zip(*rounded, strict=True)]
        terms += [narrow[0] * rounded[1][-1], narrow[1] * rounded[0][-1]]
    return np.stack(terms, axis=1)
