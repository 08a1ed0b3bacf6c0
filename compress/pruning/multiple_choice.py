"""The mathematics of `knapsack`: one choice of every class, the largest score within limits on the costs.

Classes are whatever chooses together; pairs of classes may have costs that depend on both choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

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


@dataclass
class Choices:
    """Groups that choose together: their combinations of widths [K, groups], score [K] and costs [K, limits]."""

    names: tuple[str, ...]
    widths: np.ndarray
    score: np.ndarray
    costs: np.ndarray = field(init=False)


def _linked(pairs: Mapping[tuple[int, int], np.ndarray], i: int) -> list[np.ndarray]:
    """What each combination of class `i` costs with every one of the classes that it forms pairs with: [K, ...]."""
    first = [table.reshape(len(table), -1) for (s, _), table in pairs.items() if s == i]
    return first + [table.swapaxes(0, 1).reshape(table.shape[1], -1) for (_, t), table in pairs.items() if t == i]


def keep(classes: Sequence[Choices], pairs: dict[tuple[int, int], np.ndarray], i: int, kept: np.ndarray) -> None:
    """Leave class `i` the combinations `kept` alone."""
    each = classes[i]
    each.widths, each.score, each.costs = each.widths[kept], each.score[kept], each.costs[kept]
    for (s, t), table in pairs.items():
        if i in (s, t):
            pairs[s, t] = table[kept] if s == i else table[:, kept]


def undominated(classes: Sequence[Choices], pairs: Mapping[tuple[int, int], np.ndarray], i: int) -> np.ndarray:
    """The combinations of class `i` that no other one equals or beats in score and in every cost, pairs' included."""
    costs = np.concatenate([classes[i].costs, *_linked(pairs, i)], axis=1)
    order = np.lexsort((*costs.T[::-1], -classes[i].score))  # best score first, then cheapest
    if costs.shape[1] == 1:
        cost = costs[order, 0]
        cheaper: np.ndarray = order[np.concatenate([[True], cost[1:] < np.minimum.accumulate(cost)[:-1]])]
        return cheaper
    front = np.empty_like(costs)
    found: list[int] = []
    for k in order:
        if not (front[: len(found)] <= costs[k]).all(axis=1).any():
            front[len(found)] = costs[k]
            found.append(int(k))
    return np.array(found)


def promising(classes: Sequence[Choices], most: np.ndarray) -> list[np.ndarray]:
    """The combinations of each class that can be in a choice at least as good as one that is known.

    For multipliers l >= 0, f(l) = sum over classes of max(score - l cost) + l most bounds every choice that keeps the
    limits; a combination that falls short of its class's maximum by more than f(l) minus a known choice's score is out.
    """
    multipliers, bound = _dual(classes, most)
    reduced = [each.score - each.costs @ multipliers for each in classes]
    known = _known(classes, most, multipliers)
    if known is None:
        return [np.arange(len(found)) for found in reduced]
    room = bound - known + 1e-9 * abs(bound)
    return [np.flatnonzero(found >= found.max() - room) for found in reduced]


def _dual(classes: Sequence[Choices], most: np.ndarray) -> tuple[np.ndarray, float]:
    """The multipliers [limits] of the smallest bound f(l), and the bound, by cutting planes."""
    from scipy.optimize import linprog

    unit = np.where(most > 0, most, 1.0)
    cuts: list[tuple[float, np.ndarray]] = []
    best, multipliers, at = np.inf, np.zeros(len(most)), np.zeros(len(most))
    top = sum(float(each.score.max()) for each in classes)
    for _ in range(60):
        chosen = [int((each.score - each.costs @ (at / unit)).argmax()) for each in classes]
        score = sum(float(each.score[k]) for each, k in zip(classes, chosen, strict=True))
        left = (most - np.sum([each.costs[k] for each, k in zip(classes, chosen, strict=True)], axis=0)) / unit
        if score + left @ at < best:
            best, multipliers = score + float(left @ at), at
        cuts.append((score, left))
        slopes = np.array([[-1.0, *slope] for _, slope in cuts])
        model = linprog(
            [1.0, *np.zeros(len(most))],
            slopes,
            [-value for value, _ in cuts],
            bounds=[(None, None), *[(0, 1e3 * max(top, 1e-300))] * len(most)],
        )
        if model.x is None or best - model.x[0] <= 1e-9 * abs(best):
            break
        at = model.x[1:]
    return multipliers / unit, best


def _known(classes: Sequence[Choices], most: np.ndarray, multipliers: np.ndarray) -> float | None:
    """The score of a good choice within the limits: the bound's, made cheaper until it fits, then filled up."""
    for factor in (1.0, 1.001, 1.01, 1.05, 1.2, 2.0, 10.0, 1e3):
        chosen = [int((each.score - factor * each.costs @ multipliers).argmax()) for each in classes]
        left = most - np.sum([each.costs[k] for each, k in zip(classes, chosen, strict=True)], axis=0)
        if (left >= 0).all():
            break
    else:
        return None
    while True:
        best, found = 0.0, None
        for i, each in enumerate(classes):
            gain = np.where((each.costs - each.costs[chosen[i]] <= left).all(axis=1), each.score, -np.inf)
            k = int(gain.argmax())
            if gain[k] - each.score[chosen[i]] > best:
                best, found = float(gain[k] - each.score[chosen[i]]), (i, k)
        if found is None:
            return sum(float(each.score[k]) for each, k in zip(classes, chosen, strict=True))
        i, k = found
        left = left - classes[i].costs[k] + classes[i].costs[chosen[i]]
        chosen[i] = k


def smallest(
    classes: Sequence[Choices],
    pairs: Mapping[tuple[int, int], np.ndarray],
    fixed: np.ndarray,
    j: int,
) -> tuple[float, bool]:
    """The least that the network can cost of limit `j`, and whether that is proven or only the least that was found."""
    if not pairs:
        return float(fixed[j] + sum(each.costs[:, j].min() for each in classes)), True
    none = np.full(len(fixed), np.inf)
    found = solve(classes, pairs, [-each.costs[:, j] for each in classes], none, pair_cost=j)
    assert found is not None, "one choice of each class is always allowed"
    chosen = found.chosen
    own = sum(each.costs[k, j] for each, k in zip(classes, chosen, strict=True))
    linked = sum(table[chosen[s], chosen[t], j] for (s, t), table in pairs.items())
    return float(fixed[j] + own + linked), found.proven


def _choosing(
    starts: np.ndarray, pairs: Mapping[tuple[int, int], np.ndarray], n_pairs: int
) -> list[tuple[Any, float, float]]:
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


def solve(
    classes: Sequence[Choices],
    pairs: Mapping[tuple[int, int], np.ndarray],
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
