"""The mathematics of `knapsack`: one choice of every class, the largest score within limits on the costs.

Classes are whatever chooses together; pairs of classes may have costs that depend on both choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np

from .ascent import climbed, filled
from .choices import Choices, Linked, keep
from .elimination import Elimination, Pair
from .highs import GAP, Undecided, by_highs

MOST_ENTRIES = 50_000
"""Bounds are found where no more sums than this are looked at together."""
MOST_VARIABLES = 5_000
"""Of pairs, that HiGHS is given without a bound: it takes seconds for as many."""


class Relaxed(NamedTuple):
    """The `bound` on what a choice can hold, a `known` choice, and the `multipliers` [limits] that tell of both."""

    bound: float
    known: list[int] | None
    multipliers: np.ndarray


def solve(classes: Sequence[Choices], pairs: Mapping[Pair, np.ndarray], most: np.ndarray) -> list[int] | None:
    """The combination of each class with the largest sum of scores within `most` [limits]; None if there is none.

    The sum is the largest but for GAP. HiGHS looks among the combinations that the bound of `relaxed` leaves, and not
    at all where a choice is known that comes up to it. Where too many classes depend on one another for a bound, and
    are too many for HiGHS, the choice is a good one (`ascent.climbed`), without a proof. Raises Undecided.
    """
    linked, order = Linked(classes, pairs), Elimination([len(each.score) for each in classes], pairs)
    known, left = None, [np.arange(len(each.score)) for each in classes]
    if order.entries <= MOST_ENTRIES:
        found = relaxed(linked, most, order)
        known = found.known
        if known is not None and linked.score(known) >= (1 - GAP) * found.bound:
            return known
        left = promising(linked, most, order, found)
    elif sum(table[..., 0].size for table in pairs.values()) > MOST_VARIABLES:
        known = climbed(linked, most)
        if known is not None:
            return filled(linked, most, known)
    few, tables = [copy(each) for each in classes], dict(pairs)
    for i, kept in enumerate(left):
        keep(few, tables, i, kept)
    try:
        solution = by_highs(few, tables, [each.score for each in few], most)
    except Undecided:
        if known is None:
            raise
        return known
    return None if solution is None else [int(kept[k]) for kept, k in zip(left, solution.chosen, strict=True)]


def relaxed(linked: Linked, most: np.ndarray, order: Elimination) -> Relaxed:
    """What multipliers tell of the best choice within `most` [limits]: how much it can hold, and a good one.

    For multipliers l >= 0, f(l) = max of (score - l cost) + l most bounds every choice that keeps the limits; the
    smallest such bound is found by cutting planes.
    """
    multipliers, bound = _dual(linked, most, order)
    return Relaxed(bound, _known(linked, most, multipliers, order), multipliers)


def promising(linked: Linked, most: np.ndarray, order: Elimination, found: Relaxed) -> list[np.ndarray]:
    """The combinations of each class that can be in a choice at least as good as the known one of `found`.

    A combination is out with which f(l) of the best multipliers is less than what the known choice holds.
    """
    if found.known is None:
        return [np.arange(len(each.score)) for each in linked.classes]
    marginals = order.marginals(*_reduced(linked, found.multipliers))
    least = linked.score(found.known) - found.multipliers @ most - 1e-9 * abs(found.bound)
    return [np.flatnonzero(each >= min(least, each.max())) for each in marginals]


def _reduced(linked: Linked, multipliers: np.ndarray) -> tuple[list[np.ndarray], dict[Pair, np.ndarray]]:
    """Scores less what the combinations cost at `multipliers`: of classes [K], and of pairs [K_s, K_t]."""
    own = [each.score - each.costs @ multipliers for each in linked.classes]
    return own, {pair: -(table @ multipliers) for pair, table in linked.pairs.items()}


def _dual(linked: Linked, most: np.ndarray, order: Elimination) -> tuple[np.ndarray, float]:
    """The multipliers [limits] of the smallest bound f(l), and the bound, by cutting planes."""
    from scipy.optimize import linprog

    unit = np.where(most > 0, most, 1.0)
    cuts: list[tuple[float, np.ndarray]] = []
    best, multipliers, at = np.inf, np.zeros(len(most)), np.zeros(len(most))
    top = sum(float(each.score.max()) for each in linked.classes)
    for _ in range(60):
        chosen = order.best(*_reduced(linked, at / unit))
        score, left = linked.score(chosen), (most - linked.cost(chosen)) / unit
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


def _known(linked: Linked, most: np.ndarray, multipliers: np.ndarray, order: Elimination) -> list[int] | None:
    """A good choice within the limits: the bound's, made cheaper until it fits, then filled up; None if none fits."""
    for factor in (1.0, 1.001, 1.01, 1.05, 1.2, 2.0, 10.0, 1e3):
        chosen = order.best(*_reduced(linked, factor * multipliers))
        if (linked.cost(chosen) <= most).all():
            break
    else:
        return None
    return filled(linked, most, chosen)


def smallest(
    classes: Sequence[Choices], pairs: Mapping[Pair, np.ndarray], fixed: np.ndarray, j: int
) -> tuple[float, bool]:
    """The least that the network can cost of limit `j`, and whether that is proven or only the least that was found."""
    if not pairs:
        return float(fixed[j] + sum(each.costs[:, j].min() for each in classes)), True
    none = np.full(len(fixed), np.inf)
    found = by_highs(classes, pairs, [-each.costs[:, j] for each in classes], none, pair_cost=j)
    assert found is not None, "one choice of each class is always allowed"
    chosen = found.chosen
    own = sum(each.costs[k, j] for each, k in zip(classes, chosen, strict=True))
    linked = sum(table[chosen[s], chosen[t], j] for (s, t), table in pairs.items())
    return float(fixed[j] + own + linked), found.proven
