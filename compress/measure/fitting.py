"""From profiled networks to a latency table: every operator's cost at all widths, and how well their sum predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..costs.latency import UNTIMED, LatencyTable, OperatorCosts
from ..spaces import Operator
from .owners import REST
from .profiling import Profile

BLOCKS = (1, 8, 16)
"""Engines process channels in blocks: costs go in steps of widths rounded up to multiples of these."""

FOLDS = 4


def fit_table(
    key: Mapping[str, Any],
    operators: Sequence[Operator],
    widths: Mapping[str, Sequence[int]],
    profiles: Sequence[Profile],
) -> LatencyTable:
    """The latency table that explains `profiles`, of networks of `operators` at widths out of `widths` {group: grid}.

    An operator's cost is a sum of steps in its widths with non-negative factors, fitted to its time in all networks.
    At width 0 an operator is gone and costs nothing.
    """
    overhead = profiler_overhead(profiles)
    samples = {op.name: _samples(op, profiles, overhead) for op in operators if op.kind not in UNTIMED}
    found = {op.name: _fit(op, widths, samples[op.name]) for op in operators if op.name in samples}
    rest = _samples(Operator(REST, "norm", 1, 1, macs=0, weights=0), profiles, overhead)[:-1, 2].mean()
    unpruned_ms = float(np.median([p.unpruned_ms for p in profiles]))
    record = {"profiler_overhead": overhead, "samples": {name: value.tolist() for name, value in samples.items()}}
    return LatencyTable(key, unpruned_ms, widths, found, float(rest), record)


def held_out(
    operators: Sequence[Operator], widths: Mapping[str, Sequence[int]], profiles: Sequence[Profile]
) -> np.ndarray:
    """The latency ratio of every profiled network, predicted by a table that was fitted without its quarter of them."""
    predicted = np.zeros(len(profiles))
    for fold in range(FOLDS):
        rest = [profile for i, profile in enumerate(profiles) if i % FOLDS != fold]
        table = fit_table({}, operators, widths, rest)
        for i in range(fold, len(profiles), FOLDS):
            predicted[i] = table.predict(operators, profiles[i].widths).ratio
    return predicted


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


def describe_residual(residual: Mapping[str, float]) -> str:
    """`prediction_error` in words."""
    return (
        f"Predicted networks that it had not seen with a median error of {residual['median']:.1%} (90 % of "
        f"{residual['n']} networks within {residual['p90']:.1%}) and a rank correlation of "
        f"{residual['rank_correlation']:.3f}."
    )


def profiler_overhead(profiles: Sequence[Profile]) -> float:
    """How much of the unpruned network's profiled time is the profiler's own, which every node pays alike.

    With this one number the sums of nodes agree best with whole calls without the profiler: about 2 microseconds a
    node, which matters where nodes are short and pruning changes their number.
    """
    nodes = np.array([sum(p.nodes.values()) / sum(p.unpruned_nodes.values()) for p in profiles])
    sums = np.array([sum(p.operators.values()) for p in profiles])
    ratios = np.array([p.ratio for p in profiles])
    apart = ratios - nodes
    return float(np.clip(apart @ (ratios - sums) / max(apart @ apart, 1e-12), -0.5, 0.5))


def _samples(op: Operator, profiles: Sequence[Profile], overhead: float) -> np.ndarray:
    """Rows of (n_in, n_out, share): of every network, then, averaged, of the unpruned one timed beside them."""

    def share(us: float, nodes: int, all_nodes: int) -> float:
        return (us - overhead * nodes / all_nodes) / (1 - overhead)

    rows, full = [], []
    for p in profiles:
        all_nodes = sum(p.unpruned_nodes.values())
        n_in, n_out = (p.widths[n] if isinstance(n, str) else n for n in (op.n_in, op.n_out))
        rows.append([n_in, n_out, share(p.operators.get(op.name, 0), p.nodes.get(op.name, 0), all_nodes)])
        full.append(share(p.unpruned.get(op.name, 0), p.unpruned_nodes.get(op.name, 0), all_nodes))
    n_in, n_out = (p.sizes[n] if isinstance(n, str) else n for n in (op.n_in, op.n_out))
    return np.array([*rows, [n_in, n_out, np.mean(full)]])


def _fit(op: Operator, widths: Mapping[str, Sequence[int]], samples: np.ndarray) -> OperatorCosts:
    """Costs at all pairs of widths; the unpruned network, timed beside every other, counts as often."""
    from scipy.optimize import nnls

    grid_in, grid_out = (np.array(widths[n] if isinstance(n, str) else [n]) for n in (op.n_in, op.n_out))
    varies = isinstance(op.n_in, str), isinstance(op.n_out, str)
    full = grid_in[-1], grid_out[-1]
    weights = np.append(np.ones(len(samples) - 1), np.sqrt(len(samples) - 1))
    steps = _steps(samples[:, 0], samples[:, 1], full, varies)
    factors, _ = nnls(steps * weights[:, None], samples[:, 2] * weights)
    n_in, n_out = (n.ravel() for n in np.meshgrid(grid_in, grid_out, indexing="ij"))
    shares = np.where((n_in > 0) & (n_out > 0), _steps(n_in, n_out, full, varies) @ factors, 0.0)
    return OperatorCosts(op.n_in, op.n_out, shares.reshape(len(grid_in), len(grid_out)))


def _steps(n_in: np.ndarray, n_out: np.ndarray, full: tuple[int, int], varies: tuple[bool, bool]) -> np.ndarray:
    """The terms of an operator's cost, [N, terms]: a constant, steps, their products, and what odd widths add."""
    terms = [np.ones(len(n_in))]
    rounded = []
    for n, most, moves in zip((n_in, n_out), full, varies, strict=True):
        if moves:
            rounded.append([np.ceil(n / block) * block / most for block in BLOCKS])
            odd = [n % block != 0 for block in BLOCKS[1:]] + [n < BLOCKS[-1], n < most]  # the last: a gather
            terms += [*rounded[-1], *(flag.astype(float) for flag in odd)]
    if all(varies):
        terms += [a * b for a, b in zip(*rounded, strict=True)]
    return np.stack(terms, axis=1)
