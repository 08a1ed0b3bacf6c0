"""Equal scores under several limits: steps are pooled as under one, and nothing else comes out than before."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from compress.pruning import knapsack
from compress.pruning.choices import Choices, keep, undominated
from compress.pruning.highs import GAP, by_highs
from compress.pruning.pools import split


def classes_of(rng, tied):
    """Up to six classes under two limits; in `tied` ones costs and score grow by equal steps, some by one step."""
    found = []
    for i in range(int(rng.integers(2, 7))):
        n = int(rng.integers(4, 9))
        if tied and i != 1:  # class 1 is as it comes
            steps = np.array([1.0 + i % 2, 2.0 - i % 2, 3.0 + i % 3])
            cost, score = 0.3 + np.outer(np.arange(n), steps[:2]), 0.5 + steps[2] * np.arange(n)
        else:
            cost, score = np.sort(rng.random((n, 2)), axis=0), np.sort(rng.random(n))
        order = rng.permutation(n)
        each = Choices((f"g{i}",), np.arange(n)[:, None], score[order])
        each.costs = cost[order]
        found.append(each)
    for i in range(len(found)):
        keep(found, {}, i, undominated(found, {}, i))
    return found


def room_of(rng, classes):
    least = np.sum([each.costs.min(axis=0) for each in classes], axis=0)
    most = np.sum([each.costs.max(axis=0) for each in classes], axis=0)
    return least + (most - least) * rng.uniform(0.2, 0.9, 2)


def held(classes, chosen):
    return sum(float(each.score[k]) for each, k in zip(classes, chosen, strict=True))


def costs(classes, chosen):
    return np.sum([each.costs[k] for each, k in zip(classes, chosen, strict=True)], axis=0)


def apart(classes, room):
    """What HiGHS takes of the classes as they are."""
    most = room * (1 - knapsack.SLACK)
    found = by_highs(classes, {}, [each.score for each in classes], most)
    return None if found is None else [(int(each.widths[k, 0])) for each, k in zip(classes, found.chosen, strict=True)]


@pytest.mark.parametrize("seed", range(25))
def test_scores_that_differ_give_the_plan_that_they_always_gave(seed):
    rng = np.random.default_rng(seed)
    classes = classes_of(rng, tied=False)
    room = room_of(rng, classes)
    assert not any(part.pooled for part in split(classes)[0])
    chosen = knapsack._chosen(classes, {}, room)
    widths = None if chosen is None else [int(c.widths[k, 0]) for c, k in zip(classes, chosen, strict=True)]
    assert widths == apart(classes, room)


@pytest.mark.parametrize("seed", range(25))
def test_equal_steps_hold_the_most_that_can_be_held(seed):
    rng = np.random.default_rng(100 + seed)
    classes = classes_of(rng, tied=True)
    room = room_of(rng, classes)
    chosen = knapsack._chosen(classes, {}, room)
    every = [list(found) for found in product(*(range(len(each.score)) for each in classes))]
    fitting = [held(classes, each) for each in every if (costs(classes, each) <= room * (1 - knapsack.SLACK)).all()]
    assert (chosen is None) == (not fitting)
    if chosen is not None:
        assert (costs(classes, chosen) <= room * (1 + 1e-12)).all()
        assert held(classes, chosen) >= (1 - GAP) * max(fitting) - 1e-12


def test_a_wide_layer_of_equal_scores_is_a_dozen_choices():
    """Not the thousands that HiGHS took many seconds over."""
    widths = np.arange(1, 3073)
    each = Choices(("mlp",), widths[:, None], 0.37 * widths)
    each.costs = np.stack([widths * 1.7e-5, 3e-4 + widths * 6.1e-6], axis=1)
    parts, write_back = split([each])
    assert [len(part.cost) for part in parts] == [1] + [2] * 12
    assert write_back([(part, len(part.cost) - 1) for part in parts]) == [3071]
    assert np.allclose(sum(part.cost[-1] for part in parts), each.costs[-1])


def test_undominated_combinations_are_those_that_no_other_equals_or_beats():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        each = Choices(("g",), np.arange(60)[:, None], rng.integers(0, 12, 60).astype(float))
        each.costs = rng.integers(0, 6, (60, 2)).astype(float)
        kept = undominated([each], {}, 0)
        rows = np.column_stack([-each.score, each.costs])
        beaten = [
            k for k in range(60) if any((rows[j] <= rows[k]).all() and (rows[j] < rows[k]).any() for j in range(60))
        ]
        assert not {*kept.tolist()} & {*beaten}
        assert (
            len({tuple(row) for row in rows[kept]})
            == len(kept)
            == len({tuple(rows[k]) for k in range(60)} - {tuple(rows[k]) for k in beaten})
        )
