"""Small choices of widths by hand: costs that add up, widths that are known already, and amounts that are named."""

import numpy as np
import pytest

from compress.pruning import knapsack, refusal
from compress.pruning.knapsack import Limit, best_widths
from compress.spaces import Operator

VALUES = {"a": [3.0, 2.0, 1.0], "b": [3.0, 2.0, 1.0]}
ALLOWED = {"a": [1, 2, 3], "b": [1, 2, 3]}


def operators(*sides):
    return [Operator(f"op{i}", "conv", *side, macs=1, weights=1) for i, side in enumerate(sides)]


def limit(most):
    return Limit("--limit", lambda op, n_in, n_out: np.multiply.outer(n_in, n_out), most)


@pytest.mark.parametrize("most_combinations", [knapsack.MOST_COMBINATIONS, 1], ids=["together", "apart"])
def test_operators_between_the_same_groups_add_up(monkeypatch, most_combinations):
    """One of the three alone would fit at full width."""
    monkeypatch.setattr(knapsack, "MOST_COMBINATIONS", most_combinations)
    ops = operators(("a", "b"), ("a", "b"), ("b", "a"))
    assert best_widths(VALUES, ops, [limit(12.5)], ALLOWED) == {"a": 2, "b": 2}


@pytest.mark.parametrize("known", [{"a": 1, "b": 3}, {"a": 3, "b": 1}])
def test_known_widths_stay_where_others_hold_no_more(known):
    values = {"a": [3.0, 1.0, 1.0], "b": [3.0, 1.0, 1.0]}
    ops = operators((1, "a"), (1, "b"))
    assert best_widths(values, ops, [limit(4.5)], ALLOWED, known=known) == known
    better = {**values, "a": [3.0, 1.5, 1.5]}
    assert best_widths(better, ops, [limit(4.5)], ALLOWED, known=known) == {"a": 3, "b": 1}


def test_known_widths_stay_where_none_are_found():
    """The knapsack leaves a millionth of a limit unused; known widths may use it up."""
    known = {"a": 1, "b": 1}
    found = best_widths(VALUES, operators(("a", "b")), [limit(1.0)], ALLOWED, known=known)
    assert (found, found is known) == (known, False)


def test_amounts_that_are_named_can_be_chosen():
    assert refusal._up(0.0) == 0.0
    for value in (1e-7, 0.12341, 5.0, 123456.0):
        assert value * (1 + knapsack.SLACK) < refusal._up(value) <= value * 1.0011
