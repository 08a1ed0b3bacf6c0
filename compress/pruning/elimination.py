"""Classes with costs in pairs: the best choice of all for given prices, by maximising out one class after the other.

A sum of f_i(k_i) over classes and g_ij(k_i, k_j) over pairs is largest where dynamic programming over the graph of the
pairs finds it (R. Dechter, "Bucket elimination: a unifying framework for reasoning", 1999). Networks are chains of
blocks: few classes depend on one another at a time.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import reduce

import numpy as np

Pair = tuple[int, int]


class Elimination:
    """An order in which classes are maximised out that keeps tables small; `entries` of the largest of several.

    Args:
        sizes: of each class, its number of choices.
        pairs: of classes that have terms of both.
    """

    def __init__(self, sizes: Sequence[int], pairs: Collection[Pair]) -> None:
        near: dict[int, set[int]] = {i: set() for i in range(len(sizes))}
        for s, t in pairs:
            near[s].add(t)
            near[t].add(s)
        self.sizes = sizes
        self.order: list[int] = []
        self.beside: dict[int, list[int]] = {}
        self.entries = 1

        entries = {i: math.prod(sizes[j] for j in (i, *near[i])) for i in near}
        while near:
            i = min(near, key=lambda i: (entries[i], i))
            self.entries = max(self.entries, entries[i] if near[i] else 1)
            self.order.append(i)
            self.beside[i] = sorted(near.pop(i))
            for j in self.beside[i]:
                near[j] = (near[j] | set(self.beside[i])) - {i, j}
                entries[j] = math.prod(sizes[k] for k in (j, *near[j]))

    def best(self, own: Sequence[np.ndarray], pairs: Mapping[Pair, np.ndarray]) -> list[int]:
        """The choice of each class with the largest sum of `own` [K] and of `pairs` [K_s, K_t]."""
        tables, _ = self._tables(own, pairs)
        chosen = [0] * len(own)
        for i in reversed(self.order):
            chosen[i] = int(tables[i].T[tuple(chosen[j] for j in reversed(self.beside[i]))].argmax())
        return chosen

    def marginals(self, own: Sequence[np.ndarray], pairs: Mapping[Pair, np.ndarray]) -> list[np.ndarray]:
        """Of every class and each of its choices: the largest sum of all with it [K]."""
        tables, sent = self._tables(own, pairs)
        whole = sum(float(sent[i]) for i in self.order if not self.beside[i])
        found: list[np.ndarray] = [np.zeros(0)] * len(own)
        place = {i: at for at, i in enumerate(self.order)}
        for i in reversed(self.order):
            if beside := self.beside[i]:
                parent = min(beside, key=place.__getitem__)
                axes = [parent, *self.beside[parent]]
                rest = tables[parent].max(axis=tuple(n for n, j in enumerate(axes) if j not in beside), keepdims=True)
                tables[i] = tables[i] + (_over(beside, axes, rest) - sent[i])
            else:
                tables[i] = tables[i] + (whole - sent[i])
            found[i] = tables[i].max(axis=tuple(range(1, tables[i].ndim)))
        return found

    def _tables(
        self, own: Sequence[np.ndarray], pairs: Mapping[Pair, np.ndarray]
    ) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
        """Of each class: the sums that hold it, over it and those beside it; and what is left of them without it."""
        waiting: list[tuple[list[int], np.ndarray]] = [([i], each) for i, each in enumerate(own)]
        waiting += [([s, t], table) for (s, t), table in pairs.items()]
        tables, sent = {}, {}
        for i in self.order:
            axes = [i, *self.beside[i]]
            held = [_over(axes, *each) for each in waiting if i in each[0]]
            waiting = [each for each in waiting if i not in each[0]]
            table = np.broadcast_to(reduce(np.add, held), [self.sizes[j] for j in axes])
            tables[i], sent[i] = table, table.max(axis=0)
            waiting.append((self.beside[i], sent[i]))
        return tables, sent


def _over(axes: Sequence[int], own: Sequence[int], table: np.ndarray) -> np.ndarray:
    """`table` of the axes `own` as one of `axes`, in their order; axes of `own` that are not among them have size 1."""
    left = [j for j in own if j in axes]
    table = table.reshape([table.shape[n] for n, j in enumerate(own) if j in axes])
    table = table.transpose([left.index(j) for j in axes if j in left])
    return table[tuple(slice(None) if j in left else None for j in axes)]
