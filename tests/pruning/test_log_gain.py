"""`select.gain="log"`: the product of the groups' kept scores is as large as the budget allows."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from compress.costs import macs
from compress.plan import UserError
from compress.pruning import Budget, SelectConfig, select
from compress.spaces import Operator

SCORES = {
    "narrow": torch.tensor([1.0, 0.9, 0.8, 0.7]),
    "wide": torch.tensor([1.0, 0.9, 0.9, 0.8, 0.8, 0.7, 0.7, 0.6]),
}
# A channel of `narrow` costs ten times one of `wide`.
OPERATORS = (Operator("a", "conv", 1, "narrow", 100, 1), Operator("b", "conv", 1, "wide", 10, 1))


def plan(budget, gain, scores=SCORES):
    return select(scores, OPERATORS, budget, SelectConfig(gain=gain), space="toy")


@pytest.mark.parametrize("ratio", [0.3, 0.45, 0.6, 0.8])
def test_log_gain_keeps_the_largest_product_of_scores_that_brute_force_finds(ratio):
    limit = ratio * macs(OPERATORS, {"narrow": 4, "wide": 8})
    held = {name: score.cumsum(0) for name, score in SCORES.items()}
    best = max(
        float(held["narrow"][n - 1] * held["wide"][w - 1])
        for n, w in product(range(1, 5), range(1, 9))
        if macs(OPERATORS, {"narrow": n, "wide": w}) <= limit
    )
    widths = plan(Budget("macs_ratio", ratio), "log").widths
    assert macs(OPERATORS, widths) <= limit
    assert float(held["narrow"][widths["narrow"] - 1] * held["wide"][widths["wide"] - 1]) == pytest.approx(
        best, rel=1e-3
    )


def test_log_gain_does_not_give_up_a_costly_group_for_many_cheap_channels():
    operators = (Operator("a", "conv", 1, "narrow", 20, 1), Operator("b", "conv", 1, "wide", 10, 1))
    flat = {name: torch.ones_like(score) for name, score in SCORES.items()}
    budget = Budget.of(Budget("macs_ratio", 0.63), Budget("params_ratio", 1 - 1e-3))  # 100 of 160
    found = {
        gain: select(flat, operators, budget, SelectConfig(gain=gain), space="toy").widths for gain in ("sum", "log")
    }
    assert found["sum"] == {"narrow": 1, "wide": 8}
    assert found["log"] in ({"narrow": 2, "wide": 6}, {"narrow": 3, "wide": 4})


def test_log_gain_does_not_depend_on_the_scale_of_a_group():
    scaled = {**SCORES, "wide": 100 * SCORES["wide"]}
    budget = Budget("macs_ratio", 0.5)
    assert plan(budget, "log", scaled).widths == plan(budget, "log").widths
    assert plan(Budget.of(budget, Budget("params_ratio", 0.99)), "sum", scaled).widths["wide"] == 8


def test_log_gain_takes_groups_without_any_score():
    dead = {**SCORES, "wide": torch.zeros(8)}
    assert plan(Budget("macs_ratio", 0.9), "log", dead).widths["narrow"] >= 3


@pytest.mark.parametrize("budget", [Budget("free"), Budget("pruning_ratio", 0.4)])
def test_log_gain_is_refused_where_no_cost_is_limited(budget):
    with pytest.raises(UserError, match=r"select\.gain = 'log'.*limits no cost"):
        plan(budget, "log")


STREAM = tuple(
    Operator(name, "conv", n_in, n_out, 1, 1)
    for i in range(3)
    for name, n_in, n_out in ((f"in{i}", "stream", f"inner{i}"), (f"out{i}", f"inner{i}", "stream"))
)
"""Three blocks on one stream, whose channels everything reads or writes."""
SIZES = {"stream": 32, "inner0": 64, "inner1": 64, "inner2": 64}


@pytest.mark.parametrize("also", [(), (Budget("params_ratio", 0.26),)])
def test_equal_scores_keep_equal_shares_of_a_stream_and_of_what_lies_between(also):
    flat = {name: torch.ones(n) for name, n in SIZES.items()}
    budget = Budget.of(Budget("macs_ratio", 0.251), *also)
    found = {
        gain: select(flat, STREAM, budget, SelectConfig(gain=gain, round_to=8), space="toy").widths
        for gain in ("sum", "log", "balanced")
    }
    assert found["balanced"] == {name: n // 2 for name, n in SIZES.items()}
    assert found["sum"]["stream"] == found["log"]["stream"] == 8


def test_a_balanced_gain_keeps_more_where_scores_are_concentrated_less():
    scores = {name: torch.ones(n) for name, n in SIZES.items()}
    scores["inner1"] = torch.linspace(1, 0, 64) ** 4
    config = SelectConfig(gain="balanced", round_to=4)
    found = select(scores, STREAM, Budget("macs_ratio", 0.4), config, space="toy").widths
    assert found["inner1"] < min(found["inner0"], found["inner2"])


@pytest.mark.parametrize("budget", [Budget("free"), Budget("pruning_ratio", 0.5)])
def test_a_balanced_gain_goes_with_every_budget(budget):
    widths = plan(budget, "balanced").widths
    assert widths == ({"narrow": 4, "wide": 8} if budget.kind == "free" else {"narrow": 2, "wide": 4})


def test_an_unknown_gain_is_refused():
    with pytest.raises(UserError, match=r"select\.gain = 'product': must be one of 'sum', 'log'"):
        SelectConfig(gain="product")


def test_the_plan_records_the_gain():
    assert plan(Budget("macs_ratio", 0.5), "log").record["select"]["gain"] == "log"
