"""The knapsack under one limit: brute force finds no better choice, whatever ties, steps and limits there are."""

import math
from itertools import product

import numpy as np
import pytest

from compress.pruning import one_limit
from compress.pruning.choices import Choices, undominated
from compress.pruning.one_limit import solve_one
from compress.pruning.pools import split


def classes_of(rng, shape):
    """Up to five classes: `any` costs and scores, few `whole` numbers, equal `steps`, or each class as it comes."""
    found = []
    for i in range(int(rng.integers(1, 6))):
        n, kind = int(rng.integers(1, 7)), shape if shape != "mixed" else rng.choice(["any", "whole", "steps"])
        if kind == "steps":  # of one of two pools
            size = 1 + i % 2
            cost, score = rng.random() + 3.0 * size * np.arange(n), rng.random() + 7.0 * size * np.arange(n)
        elif kind == "whole":
            cost, score = rng.integers(0, 6, size=(2, n)).astype(float)
        else:
            cost, score = rng.random((2, n)) * 10.0 ** rng.integers(-3, 4, size=(2, 1))
        order = rng.permutation(n)
        each = Choices((f"g{i}",), np.arange(n)[:, None], score[order])
        each.costs = cost[order, None]
        kept = undominated([each], {}, 0)
        each.score, each.costs, each.widths = each.score[kept], each.costs[kept], each.widths[kept]
        found.append(each)
    return found


def totals(classes, chosen):
    return (
        math.fsum(each.costs[k, 0] for each, k in zip(classes, chosen, strict=True)),
        math.fsum(each.score[k] for each, k in zip(classes, chosen, strict=True)),
    )


@pytest.mark.parametrize("shape", ["any", "whole", "steps", "mixed"])
@pytest.mark.parametrize("beams", [one_limit.BEAMS, (1, 2, 30_000)], ids=["wide", "narrow first"])
def test_no_choice_within_the_limit_holds_more(shape, beams, monkeypatch):
    monkeypatch.setattr(one_limit, "BEAMS", beams)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        classes = classes_of(rng, shape)
        all_of_them = np.array([totals(classes, chosen) for chosen in product(*(range(len(c.score)) for c in classes))])
        least, most = all_of_them[:, 0].min(), all_of_them[:, 0].max()
        for limit in (*(least + (most - least) * rng.random(3)), least * (1 + 1e-12), 1.01 * most + 1):
            chosen = solve_one(classes, limit)
            cost, score = totals(classes, chosen)
            assert cost <= limit * (1 + 1e-12)
            fits = all_of_them[all_of_them[:, 0] <= limit]
            assert score >= fits[:, 1].max() * (1 - 1e-11), (seed, limit)
        if least > 0:
            assert solve_one(classes, 0.999 * least) is None


def test_a_choice_within_the_limit_comes_of_however_few_sums(monkeypatch):
    """One sum after each class: not the best perhaps, but one that fits, and at least as good as the best ratio's."""
    monkeypatch.setattr(one_limit, "BEAMS", (1,))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        classes = classes_of(rng, "any")
        cheapest = [int(each.costs.argmin()) for each in classes]
        least = totals(classes, cheapest)
        limit = least[0] + rng.random() * sum(np.ptp(each.costs) for each in classes)
        cost, score = totals(classes, solve_one(classes, limit * (1 + 1e-9)))
        assert cost <= limit * (1 + 2e-9)
        assert score >= least[1]


def tied(sizes, cost=2.0, score=3.0):
    found = []
    for i, n in enumerate(sizes):
        each = Choices((f"g{i}",), np.arange(n)[:, None], 1.0 + score * np.arange(n)[::-1])
        each.costs = (5.0 + cost * np.arange(n)[::-1])[:, None]
        found.append(each)
    return found


def test_classes_of_equal_steps_are_one_pool_of_few_parts():
    parts, _ = split(tied([9, 17, 33]))
    choices = [part for part in parts if len(part.cost) > 1]
    assert [part.label.tolist() for part in choices] == [[0, n] for n in (1, 2, 4, 8, 16, 25)]
    assert sum(part.cost.max() for part in parts) == 15 + 2 * 56
    assert sum(part.score.max() for part in parts) == 3 + 3 * 56
    apart, _ = split([*tied([9, 17]), *tied([33], cost=2.1), *tied([33], score=3.1)])
    assert sum(len(part.cost) > 1 for part in apart) == 5 + 6 + 6
    assert [len(part.cost) for part in split(tied([3, 2]))[0]] == [3, 2], "too few to be worth parts"


@pytest.mark.parametrize("steps", range(0, 57, 7))
def test_the_steps_of_a_pool_are_shared_in_proportion(steps):
    """As equal scores are without rounding: every group keeps the same share, and the cost is that of the steps."""
    classes = tied([9, 17, 33])
    chosen = solve_one(classes, 15 + 2 * steps + 0.5)
    assert totals(classes, chosen) == (15 + 2 * steps, 3 + 3 * steps)
    taken = [len(each.score) - 1 - k for each, k in zip(classes, chosen, strict=True)]
    assert sum(taken) == steps
    assert all(abs(n - steps * (len(each.score) - 1) / 56) <= 1 for n, each in zip(taken, classes, strict=True))


def test_scores_of_nothing_take_the_cheapest():
    classes = tied([5, 6])
    for each in classes:
        each.score = np.zeros(len(each.score))
    kept = [undominated(classes, {}, i) for i in range(2)]
    for each, k in zip(classes, kept, strict=True):
        each.score, each.costs = each.score[k], each.costs[k]
    assert solve_one(classes, 10.5) == [0, 0]
    assert solve_one(classes, 9.5) is None
