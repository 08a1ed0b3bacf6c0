"""The threshold, the limit and the price of a channel, by hand on three groups of two channels."""

import pytest
import torch

from compress.plan import UserError
from compress.pruning import Budget, SelectConfig
from compress.pruning.counted import Counted, reachable_limit
from compress.pruning.ranking import Ranking
from compress.pruning.threshold import above_threshold
from compress.spaces import Operator

# From worst to best: 3 of `c`, 4 of `b`, 5 of `a`, then one of each.
SCORES = {"a": torch.tensor([9.0, 5.0]), "b": torch.tensor([9.0, 4.0]), "c": torch.tensor([9.0, 3.0])}
OPERATORS = (
    Operator("stem", "conv", 1, "a", macs=10, weights=5, biases=2),
    Operator("b", "conv", 2, "b", macs=2, weights=3, biases=1),
    Operator("c", "conv", 1, "c", macs=4, weights=1),
)


def ranking(**settings):
    return Ranking(SCORES, SelectConfig(**settings), {})


@pytest.mark.parametrize(
    ("limit", "widths"),
    [
        (36, (2, 2, 2)),
        (35.9, (2, 2, 1)),
        (32, (2, 2, 1)),
        (28, (2, 1, 1)),
        (27.9, (1, 2, 2)),  # without 5 of `a` both others fit again
        (26, (1, 2, 2)),
        (25.9, (1, 2, 1)),  # one of them: the better one
        (22, (1, 2, 1)),
        (21.9, (1, 1, 1)),
        (18, (1, 1, 1)),
    ],
)
def test_the_worst_go_until_the_cost_fits_and_the_best_that_still_fit_come_back(limit, widths):
    counted = Counted.of("macs", ranking(), OPERATORS)
    assert tuple(above_threshold(ranking(), counted.total, limit).values()) == widths


def test_of_two_groups_the_better_comes_back_first_and_a_dear_one_stops_no_other():
    wide = Ranking({"a": torch.tensor([9.0, 8.0, 7.0, 2.0]), "b": torch.tensor([9.0, 1.0, 0.5])}, SelectConfig(), {})
    cost = {"a": 5, "b": 2}

    def total(widths):
        return sum(cost[name] * n for name, n in widths.items())

    # 0.5 and 1 of `b` and 2 of `a` go; then both of `b` fit again.
    assert above_threshold(wide, total, 21) == {"a": 3, "b": 3}
    assert above_threshold(wide, total, 20) == {"a": 3, "b": 2}
    assert above_threshold(wide, total, 24) == {"a": 4, "b": 2}


@pytest.mark.parametrize(
    ("kind", "each", "full"),
    [
        ("pruning_ratio", {"a": 1, "b": 1, "c": 1}, 6),
        ("macs_ratio", {"a": 10, "b": 4, "c": 4}, 36),
        ("params_ratio", {"a": 7, "b": 7, "c": 1}, 30),
    ],
)
def test_what_is_limited_and_what_a_channel_of_it_costs(kind, each, full):
    budget = Budget(kind, 0.75)
    counted = Counted.of(budget.limits.cost, ranking(), OPERATORS)
    assert counted.each(ranking()) == each
    assert (counted.total(ranking().sizes), counted.total(ranking().smallest)) == (full, full / 2)
    if kind != "pruning_ratio":
        assert reachable_limit(budget, ranking(), counted) == pytest.approx(0.75 * full)
    for op in counted.operators:
        name = op.n_out
        prices = counted.prices(op, [op.n_in], [1, 2])
        assert prices.tolist() == [[each[name], 2 * each[name]]]


@pytest.mark.parametrize(
    ("kind", "value", "reachable"),
    [
        ("pruning_ratio", 0.51, "0.0000 to 0.5000"),
        ("macs_ratio", 0.49, "0.5000 to 1.0000"),
        ("params_ratio", 0.499, "0.5000 to 1.0000"),
    ],
)
def test_a_budget_out_of_reach_names_the_range(kind, value, reachable):
    counted = Counted.of(Budget(kind, value).limits.cost, ranking(), OPERATORS)
    message = (
        rf"^{kind} = {value:g}: out of reach; .* reachable range is {reachable}; choose a value inside it, or lower "
    )
    with pytest.raises(UserError, match=message):
        reachable_limit(Budget(kind, value), ranking(), counted)
    assert reachable_limit(Budget(kind, 0.5), ranking(), counted) >= counted.total(ranking().smallest)


def test_the_ends_of_the_range_are_rounded_into_it():
    thirds = Ranking({"a": torch.ones(3)}, SelectConfig(), {})
    operators = (Operator("a", "conv", 1, "a", macs=1, weights=1),)
    for kind, value, reachable in (
        ("macs_ratio", 0.3, "0.3334 to 1.0000"),
        ("pruning_ratio", 0.7, "0.0000 to 0.6666"),
    ):
        with pytest.raises(UserError, match=f"reachable range is {reachable};"):
            reachable_limit(Budget(kind, value), thirds, Counted.of(Budget(kind, value).limits.cost, thirds, operators))
