"""A choice of every class as a mixed-integer program, by HiGHS (`scipy.optimize.milp`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .choices import Choices
from .elimination import Pair

GAP = 1e-4
"""HiGHS stops when no choice can hold more than the one found by this share."""
MOST_NODES = 1000
"""Or after so many nodes of its tree, with what it has found: where costs are coarse stairs, proofs take longest."""


class Undecided(Exception):
    """HiGHS stopped after MOST_NODES without a choice: there may be one or none."""


class Solution(NamedTuple):
    """One combination of each class; `proven` unless HiGHS stopped after MOST_NODES: then a better one may exist."""

    chosen: list[int]
    proven: bool


def _choosing(starts: np.ndarray, pairs: Mapping[Pair, np.ndarray], n_pairs: int) -> list[tuple[Any, float, float]]:
    """(rows, least, most) over all variables: one choice of each class, and pairs that agree with both sides."""
    from scipy.sparse import csr_array, hstack, identity, kron

    counts, n = np.diff(starts), int(starts[-1])
    places = (np.repeat(np.arange(len(counts)), counts), np.arange(n))
    rows: list[tuple[Any, float, float]] = [(csr_array((np.ones(n), places), shape=(len(counts), n + n_pairs)), 1, 1)]
    at = n
    for (s, t), table in pairs.items():
        a, b = table.shape[:2]
        for side, size, sums in (
            (s, a, kron(identity(a), np.ones((1, b)))),
            (t, b, kron(np.ones((1, a)), identity(b))),
        ):
            row = [
                csr_array((size, int(starts[side]))),
                -identity(size),
                csr_array((size, at - int(starts[side]) - size)),
            ]
            rows.append((hstack([*row, sums, csr_array((size, n + n_pairs - at - a * b))]), 0, 0))
        at += a * b
    return rows


def by_highs(
    classes: Sequence[Choices],
    pairs: Mapping[Pair, np.ndarray],
    gains: Sequence[np.ndarray],
    most: np.ndarray,
    *,
    pair_cost: int | None = None,
) -> Solution | None:
    """One choice of each class with the largest sum of `gains` whose costs are at most `most` [limits]; None if none.

    Raises Undecided.

    With `pair_cost` the costs of pairs of that limit count against the gains. Choices are binary variables; a pair's
    variables [K_s, K_t] are 1 where both are chosen: their sums over either side equal the other side's choices.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, vstack

    starts = np.cumsum([0, *map(len, gains)])
    n, n_pairs = int(starts[-1]), sum(table[..., 0].size for table in pairs.values())
    constraints = [LinearConstraint(*each) for each in _choosing(starts, pairs, n_pairs)]
    flat = [table.reshape(-1, table.shape[-1]) for table in pairs.values()]
    costs = np.concatenate([*(each.costs for each in classes), *flat])
    rows = [j for j in range(len(most)) if np.isfinite(most[j])]
    if rows:
        if (most[rows] <= 0).any():
            return None
        constraints.append(LinearConstraint(vstack([csr_array(costs[:, [j]].T / most[j]) for j in rows]), -np.inf, 1))
    loss = -np.concatenate([*gains, np.zeros(n_pairs)])
    if pair_cost is not None:
        loss[n:] += np.concatenate([table[:, pair_cost] for table in flat])
    result = milp(
        loss / max(np.abs(loss).max(), 1e-300),
        integrality=np.concatenate([np.ones(n), np.zeros(n_pairs)]),
        bounds=Bounds(0, 1),
        constraints=constraints,
        # With pairs HiGHS's presolve is slow, and has lost the best choice (HiGHS of SciPy 1.17.1).
        options={"mip_rel_gap": GAP, "node_limit": MOST_NODES, "presolve": not pairs},
    )
    if result.status == 2:  # infeasible
        return None
    if result.x is not None:
        return Solution([int(result.x[start:end].argmax()) for start, end in pairwise(starts)], result.status == 0)
    if result.status == 1 or "limit reached" in result.message:  # SciPy has no status of its own for nodes
        raise Undecided
    raise RuntimeError(f"HiGHS: {result.message}")
