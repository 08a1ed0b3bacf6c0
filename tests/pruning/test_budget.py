"""Budgets as the user says them: their kinds, their ranges, which go together, and the way through a file."""

import json
from itertools import pairwise

import pytest

from compress.plan import UserError, WidthPlan, read_json, write_json
from compress.plan.budget_kinds import BUDGETS, TOGETHER
from compress.pruning import Budget
from compress.pruning.limits import COUNTED


def test_every_kind_limits_a_cost_that_selection_knows():
    assert {kind.cost for kind in BUDGETS.values()} - {None, "channels", "latency"} == set(COUNTED)
    assert [kind.name for kind in TOGETHER] == ["macs_ratio", "params_ratio", "latency_ratio", "latency_ms"]
    assert all(kind.flag == f"--{name.replace('_', '-')}" for name, kind in BUDGETS.items())
    assert all(kind.help for kind in BUDGETS.values() if kind.cost is not None)


@pytest.mark.parametrize("kind", ["flops_ratio", ["macs_ratio"], None])
def test_a_plan_under_a_budget_of_an_unknown_kind_is_refused(tmp_path, kind):
    file = tmp_path / "plan.json"
    WidthPlan("preresnet", {"a": 2}, {"a": (0,)}, {"budget": Budget("macs_ratio", 0.5).to_json()}).save(file)
    assert WidthPlan.load(file).record["budget"] == {"kind": "macs_ratio", "value": 0.5}
    write_json(file, {**read_json(file), "budget": {"kind": kind, "value": 0.5}})
    with pytest.raises(UserError, match=r"plan\.json: budget\.kind = .*redo the selection$"):
        WidthPlan.load(file)


@pytest.mark.parametrize(
    "budget",
    [
        Budget(),
        Budget("pruning_ratio", 0.4),
        Budget("latency_ms", 12.5),
        Budget("latency_ratio", 0.5, also=(Budget("macs_ratio", 0.6), Budget("params_ratio", 0.7))),
    ],
    ids=str,
)
def test_budgets_survive_json(budget):
    assert Budget.from_json(json.loads(json.dumps(budget.to_json()))) == budget
    assert Budget.of(*budget.all) == budget
    assert ("also" in budget.to_json()) == bool(budget.also)


def test_budgets_of_budgets_lose_no_limit():
    pair = Budget("latency_ratio", 0.5, also=(Budget("macs_ratio", 0.6),))
    third = Budget("params_ratio", 0.7)
    for whole in (Budget.of(pair, third), Budget("params_ratio", 0.7, also=(pair,))):
        assert {limit.kind for limit in whole.all} == {"latency_ratio", "macs_ratio", "params_ratio"}
        assert all(not limit.also for limit in whole.all)
        assert whole.latency == Budget("latency_ratio", 0.5)
        assert {limit.kind for limit in Budget.from_json(whole.to_json()).all} == {limit.kind for limit in whole.all}
    assert (pair.kind, third.latency, Budget().latency) == ("latency_ratio", None, None)
    assert Budget.of() == Budget()


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ((("pruning_ratio", 0.4), ("macs_ratio", 0.5)), r"pruning_ratio and macs_ratio: only costs go together"),
        ((("macs_ratio", 0.4), ("pruning_ratio", 0.5)), r"pruning_ratio and macs_ratio: only costs go together"),
        ((("pruning_ratio", 0.4), ("latency_ms", 5)), r"pruning_ratio and latency_ms: only costs .*; drop one"),
        ((("latency_ratio", 0.4), ("latency_ms", 5)), r"latency_ms: given beside another limit of the same cost"),
        ((("macs_ratio", 0.4), ("params_ratio", 0.4), ("macs_ratio", 0.5)), r"macs_ratio: given beside another"),
    ],
)
def test_limits_that_do_not_go_together_are_refused(budgets, message):
    with pytest.raises(UserError, match=f"^{message}"):
        Budget.of(*(Budget(*budget) for budget in budgets))


@pytest.mark.parametrize("value", [0, -3, float("nan"), float("inf")])
def test_milliseconds_must_be_finite_and_above_zero(value):
    with pytest.raises(UserError, match=r"^latency_ms .*must be finite and above 0"):
        Budget("latency_ms", value)
    with pytest.raises(UserError, match=r"^latency_ratio .*must lie between 0 and 1"):
        Budget("latency_ratio", value)


def test_limits_on_the_way_keep_an_equal_share_of_what_the_round_before_may_keep():
    for budget in (Budget("macs_ratio", 0.2), Budget("params_ratio", 0.5, also=(Budget("latency_ratio", 0.3),))):
        parts = [budget.part(i / 4) for i in range(1, 5)]
        for k in range(len(budget.all)):
            values = [1.0, *(part.all[k].value for part in parts)]
            ratios = [after / before for before, after in pairwise(values)]
            assert ratios == pytest.approx([budget.all[k].value ** 0.25] * 4, rel=1e-12)
        assert parts[-1] is budget
    removed = Budget("pruning_ratio", 0.75)
    assert (removed.part(0.5).value, removed.part(1)) == (0.5, removed)
    assert Budget("latency_ms", 4.0).part(0.5, unpruned_ms=16.0).value == pytest.approx(8.0)
    assert Budget().part(0.5) == Budget()
