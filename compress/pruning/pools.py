"""Classes whose combinations are equal steps, as equal scores make them, taken together: only the number counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .choices import Choices

FEWEST = 4
"""Classes of fewer combinations are left as they are: parts of them would be no smaller."""


class Part(NamedTuple):
    """What one choice is made of: costs [K, limits] and scores [K]; under one limit cheapest first.

    `label` [K] is the combination's number in the class `owner`, or how many steps are taken from the pool `owner`.
    """

    cost: np.ndarray
    score: np.ndarray
    label: np.ndarray
    owner: int
    pooled: bool

    def only(self, kept: np.ndarray) -> Part:
        """The choices `kept` alone."""
        return self._replace(cost=self.cost[kept], score=self.score[kept], label=self.label[kept])

    def as_choices(self) -> Choices:
        """The same as a class of its own, whose widths are the labels."""
        choices = Choices((), self.label[:, None], self.score)
        choices.costs = self.cost
        return choices


Step = tuple[tuple[float, ...], float]
"""Of the costs [limits] and of the score."""
WriteBack = Callable[[Sequence[tuple[Part, int]]], list[int]]
"""From a choice of every part to a combination of every class."""


def split(classes: Sequence[Choices]) -> tuple[list[Part], WriteBack]:
    """The parts to choose from, and the way back from them to the classes.

    Classes with equal steps of cost and score between all their combinations form a pool, with a part of 1 step or
    none, one of 2, 4, ... and the rest: each number of steps is a sum of some of them. Two choices a part take far less
    time than the hundreds that such a class has, of which no bound excludes any.
    """
    parts: list[Part] = []
    pools: dict[Step, dict[int, np.ndarray]] = {}
    for i, each in enumerate(classes):
        order = np.argsort(each.costs[:, 0], kind="stable")
        cost, score = each.costs[order], each.score[order]
        step = _step(cost, score)
        if step is None:
            own = order if cost.shape[1] == 1 else np.arange(len(order))  # HiGHS's choice depends on the order
            parts.append(Part(each.costs[own], each.score[own], own, i, pooled=False))
        else:
            pools.setdefault(step, {})[i] = order
            parts.append(Part(cost[:1], score[:1], np.zeros(1, dtype=int), list(pools).index(step), pooled=True))
    for owner, ((cost_step, score_step), steps) in enumerate(pools.items()):
        left, size = sum(len(order) - 1 for order in steps.values()), 1
        while left:
            size = min(size, left)
            taken = np.array([0, size])
            cost = np.multiply.outer(taken, cost_step)
            parts.append(Part(cost, taken * score_step, taken, owner, pooled=True))
            left, size = left - size, 2 * size

    def write_back(chosen: Sequence[tuple[Part, int]]) -> list[int]:
        found, counts = [0] * len(classes), [0] * len(pools)
        for part, k in chosen:
            if part.pooled:
                counts[part.owner] += int(part.label[k])
            else:
                found[part.owner] = int(part.label[k])
        for steps, count in zip(pools.values(), counts, strict=True):
            for i, taken in _shared({i: len(order) - 1 for i, order in steps.items()}, count).items():
                found[i] = int(steps[i][taken])
        return found

    return parts, write_back


def _step(cost: np.ndarray, score: np.ndarray) -> Step | None:
    """The steps of costs and score from each combination to the next, where all are equal."""
    if len(cost) < FEWEST:
        return None
    # Digits beyond are rounding. One limit is kept exactly; of several 1e-6 stays unused, and theirs are shares.
    digits = 13 if cost.shape[1] == 1 else 10
    *costs, gain = (np.diff(column) for column in (*cost.T, score))
    if any(np.ptp(each) > 10.0 ** (1 - digits) * each.mean() for each in (*costs, gain)):
        return None
    # Classes that differ in such digits alone are one pool.
    *steps, last = (float(f"{each.mean():.{digits}g}") for each in (*costs, gain))
    return tuple(steps), last


def _shared(sizes: dict[int, int], count: int) -> dict[int, int]:
    """`count` steps in equal shares of the classes' `sizes`."""
    turns = sorted(((k + 0.5) / size, i) for i, size in sizes.items() for k in range(size))[:count]
    taken = dict.fromkeys(sizes, 0)
    for _, i in turns:
        taken[i] += 1
    return taken
