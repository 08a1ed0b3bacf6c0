"""The knapsack under a single limit, exactly: by dynamic programming over undominated sums, cut by Lagrange's bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .choices import Choices
from .pools import Part, split

RESOLUTION = 1e-12
"""Sums of scores that differ by less than this share of all score count as equal: their digits are rounding."""
BEAMS = (300, 3_000, 30_000)
"""How many sums may stay after each class, in one attempt after the other until none had to be dropped."""
WAYS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0, 1.005, 1.01, 1.02, 1.05, 1.1, 1.2, 2.0, 10.0, math.inf)
"""A sum is completed by the best choices of the other classes at these multiples of the best multiplier."""


def solve_one(classes: Sequence[Choices], most: float) -> list[int] | None:
    """The combination of each class with the largest sum of scores that costs at most `most`; None if there is none.

    `classes` have one cost each [K, 1], and no combination that another one of the class equals or beats. Classes are
    added one by one. Of the sums so far those stay that no other one beats in cost and score, that the other classes
    can complete within the limit, and whose bound f(l) (see `multiple_choice.promising`) reaches the best choice known.
    The first attempt keeps the BEAMS[0] best bounds: it finds a choice so good that few other sums can reach it.

    Exact, up to RESOLUTION for each class, unless more than BEAMS[-1] sums stay.
    """
    if sum(float(each.costs.min()) for each in classes) > most:
        return None
    parts, write_back = split(classes)
    search = _Search([part._replace(cost=part.cost[:, 0]) for part in parts], most)
    for beam in BEAMS:
        if search.attempt(beam):
            break
    return write_back(search.best)


class _Sums(NamedTuple):
    """Sums over the parts so far: what each costs and holds, which sum it continues, and by which choice."""

    cost: np.ndarray
    score: np.ndarray
    parent: np.ndarray
    taken: np.ndarray


class _Search:
    """The best choice known, of every part one (`best`), what it holds (`known`), and the parts that may better it."""

    def __init__(self, parts: Sequence[Part], most: float) -> None:
        self.most, self.multiplier = most, _multiplier(parts, most)
        self.grain = RESOLUTION * max(sum(float(part.score.max()) for part in parts), 1e-300)
        self.parts = list(parts)
        self.known = -math.inf
        self.best: list[tuple[Part, int]] = []

    def attempt(self, beam: int) -> bool:
        """Add the parts one by one, keeping at most `beam` sums after each; whether no sum was dropped for that."""
        self._prepare()
        tolerance = (len(self.parts) + 2) * self.grain
        complete = True
        for step, part in enumerate(self.parts, 1):
            last = self.layers[-1]
            cost = np.add.outer(last.cost, part.cost).ravel()
            score = np.add.outer(last.score, part.score).ravel()
            bound = score + self.bound[step] + self.multiplier * (self.most - cost)
            kept = np.flatnonzero((cost + self.least[step] <= self.most) & (bound >= self.known - tolerance))
            kept = self._undominated(cost, score, kept)
            if len(kept) > beam:
                complete = False
                kept = np.sort(kept[np.argpartition(-bound[kept], beam)[:beam]])
            if not len(kept):
                break
            self.layers.append(_Sums(cost[kept], score[kept], kept // len(part.cost), kept % len(part.cost)))
            self._complete(step)
        return complete

    def _prepare(self) -> None:
        """Leave each part what can be in a choice at least as good as the known one; the smallest parts first."""
        for _ in range(2):  # the first time finds a choice to compare with
            self.parts.sort(key=lambda part: len(part.cost))
            reduced = [part.score - self.multiplier * part.cost for part in self.parts]
            self.least = _from_the_end([float(part.cost.min()) for part in self.parts])
            self.bound = _from_the_end([float(found.max()) for found in reduced])
            self.ways = [_Way(self.parts, self.multiplier, way) for way in WAYS]
            none = np.zeros(1, dtype=int)
            self.layers = [_Sums(np.zeros(1), np.zeros(1), none, none)]
            self._complete(0)
            room = self.bound[0] + self.multiplier * self.most - self.known + (len(self.parts) + 2) * self.grain
            self.parts = [
                part.only(np.flatnonzero(found >= found.max() - room))
                for part, found in zip(self.parts, reduced, strict=True)
            ]

    def _undominated(self, cost: np.ndarray, score: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Those of `kept` that hold more than all that cost as much or less."""
        kept = kept[np.lexsort((-score[kept], cost[kept]))]
        level = np.floor(score[kept] / self.grain)
        return kept[np.diff(np.maximum.accumulate(level), prepend=-1.0) > 0]

    def _complete(self, step: int) -> None:
        """Note the best choice that continues one of the sums so far by one of the ways."""
        sums = self.layers[-1]
        for way in self.ways:
            held = np.where(sums.cost + way.cost[step] <= self.most, sums.score, -math.inf)
            at = int(held.argmax())
            if held[at] + way.score[step] > self.known:
                self.known = float(held[at] + way.score[step])
                self.best = [*self._trace(at), *zip(self.parts[step:], way.chosen[step:], strict=True)]

    def _trace(self, at: int) -> list[tuple[Part, int]]:
        """What sum `at` of the last layer took from each part so far."""
        found = []
        for part, sums in zip(reversed(self.parts[: len(self.layers) - 1]), reversed(self.layers[1:]), strict=True):
            found.append((part, int(sums.taken[at])))
            at = int(sums.parent[at])
        return found


class _Way:
    """A choice of every part, and what it costs and holds from each step on."""

    def __init__(self, parts: Sequence[Part], multiplier: float, factor: float) -> None:
        if math.isinf(factor):
            self.chosen = [int(part.cost.argmin()) for part in parts]
        else:
            self.chosen = [int((part.score - factor * multiplier * part.cost).argmax()) for part in parts]
        self.cost = _from_the_end([float(part.cost[k]) for part, k in zip(parts, self.chosen, strict=True)])
        self.score = _from_the_end([float(part.score[k]) for part, k in zip(parts, self.chosen, strict=True)])


def _multiplier(parts: Sequence[Part], most: float) -> float:
    """The l >= 0 of the smallest bound f(l): where the cost of the best choices passes `most`, by bisection."""

    def fits(multiplier: float) -> bool:
        chosen = [int((part.score - multiplier * part.cost).argmax()) for part in parts]
        return sum(float(part.cost[k]) for part, k in zip(parts, chosen, strict=True)) <= most

    if fits(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while not fits(high) and high < 1e200:
        low, high = high, 16 * high
    while high - low > 1e-13 * high and high > 1e-200:
        middle = math.sqrt(low * high) if low else high / 16
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _from_the_end(values: Sequence[float]) -> np.ndarray:
    """Sums of `values` from each position to the end, and 0 behind it."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)
