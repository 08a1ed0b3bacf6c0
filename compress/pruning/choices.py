"""Groups that choose together, and which of their combinations of widths are worth a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .elimination import Pair


@dataclass
class Choices:
    """Groups that choose together: their combinations of widths [K, groups], score [K] and costs [K, limits]."""

    names: tuple[str, ...]
    widths: np.ndarray
    score: np.ndarray
    costs: np.ndarray = field(init=False)


def _linked(pairs: Mapping[Pair, np.ndarray], i: int) -> list[np.ndarray]:
    """What each combination of class `i` costs with every one of the classes that it forms pairs with: [K, ...]."""
    first = [table.reshape(len(table), -1) for (s, _), table in pairs.items() if s == i]
    return first + [table.swapaxes(0, 1).reshape(table.shape[1], -1) for (_, t), table in pairs.items() if t == i]


def keep(classes: Sequence[Choices], pairs: dict[Pair, np.ndarray], i: int, kept: np.ndarray) -> None:
    """Leave class `i` the combinations `kept` alone."""
    each = classes[i]
    each.widths, each.score, each.costs = each.widths[kept], each.score[kept], each.costs[kept]
    for (s, t), table in pairs.items():
        if i in (s, t):
            pairs[s, t] = table[kept] if s == i else table[:, kept]


def undominated(classes: Sequence[Choices], pairs: Mapping[Pair, np.ndarray], i: int) -> np.ndarray:
    """The combinations of class `i` that no other one equals or beats in score and in every cost, pairs' included."""
    costs = np.concatenate([classes[i].costs, *_linked(pairs, i)], axis=1)
    order = np.lexsort((*costs.T[::-1], -classes[i].score))  # best score first, then cheapest
    if costs.shape[1] == 1:
        cost = costs[order, 0]
        cheaper: np.ndarray = order[np.concatenate([[True], cost[1:] < np.minimum.accumulate(cost)[:-1]])]
        return cheaper
    if (np.diff(costs[order], axis=0) < 0).all(axis=0).any():  # less score always costs less of something
        return np.asarray(order)
    front = np.empty_like(costs)
    found: list[int] = []
    for k in order:
        if not (front[: len(found)] <= costs[k]).all(axis=1).any():
            front[len(found)] = costs[k]
            found.append(int(k))
    return np.array(found)


class Linked:
    """Classes and what pairs of them cost {(s, t): [K_s, K_t, limits]}."""

    def __init__(self, classes: Sequence[Choices], pairs: Mapping[Pair, np.ndarray]) -> None:
        self.classes, self.pairs = classes, pairs
        self.beside: list[list[tuple[int, np.ndarray]]] = [[] for _ in classes]
        for (s, t), table in pairs.items():
            self.beside[s].append((t, table.swapaxes(0, 1)))
            self.beside[t].append((s, table))

    def score(self, chosen: Sequence[int]) -> float:
        """What one combination of each class holds."""
        return sum(float(each.score[k]) for each, k in zip(self.classes, chosen, strict=True))

    def cost(self, chosen: Sequence[int]) -> np.ndarray:
        """What it costs [limits]."""
        own = [each.costs[k] for each, k in zip(self.classes, chosen, strict=True)]
        linked = (table[chosen[s], chosen[t]] for (s, t), table in self.pairs.items())
        return np.asarray(np.stack([*own, *linked]).sum(axis=0))

    def costs(self, i: int, chosen: Sequence[int]) -> np.ndarray:
        """What each combination of class `i` costs beside those `chosen` of the others [K, limits]."""
        costs = self.classes[i].costs
        for other, table in self.beside[i]:
            costs = costs + table[chosen[other]]
        return costs
