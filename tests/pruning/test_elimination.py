"""Maximising out one class after the other finds what looking at every choice finds."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from compress.pruning.elimination import Elimination

GRAPHS = {
    "none": [],
    "chain": [(0, 1), (1, 2), (2, 3)],
    "triangle and a lone one": [(0, 1), (1, 2), (0, 2)],
    "all": [(s, t) for t in range(4) for s in range(t)],
    "two parts": [(0, 2), (1, 3)],
    "ring": [(0, 1), (1, 2), (2, 3), (0, 3)],
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_best_and_marginals_are_those_of_all_choices(graph):
    rng = np.random.default_rng(0)
    sizes = [3, 1, 4, 2]
    own = [rng.normal(size=n) for n in sizes]
    pairs = {(s, t): rng.normal(size=(sizes[s], sizes[t])) for s, t in GRAPHS[graph]}

    def held(chosen):
        return sum(each[k] for each, k in zip(own, chosen, strict=True)) + sum(
            table[chosen[s], chosen[t]] for (s, t), table in pairs.items()
        )

    every = list(product(*map(range, sizes)))
    order = Elimination(sizes, pairs)
    assert tuple(order.best(own, pairs)) == max(every, key=held)
    for i, found in enumerate(order.marginals(own, pairs)):
        expected = [max(held(chosen) for chosen in every if chosen[i] == k) for k in range(sizes[i])]
        assert np.allclose(found, expected, rtol=0, atol=1e-12)


def test_entries_are_those_of_the_largest_sum_of_several_classes():
    assert Elimination([50, 4, 3], []).entries == 1
    assert Elimination([50, 4, 3], [(0, 1), (1, 2)]).entries == 200
    assert Elimination([50, 4, 3], [(0, 1), (1, 2), (0, 2)]).entries == 600
