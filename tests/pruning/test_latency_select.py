"""Budgets of latency, and several at once: kept by the table's own count, on the table's widths, by the best channels.

Tables are made up; about ten seconds.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from latency_tables import made_up_table

from compress.costs import LatencyTable, macs, params
from compress.costs.latency import OperatorCosts
from compress.plan import UserError, WidthPlan, load_scores, save_scores
from compress.pruning import Budget, Priced, SelectConfig, check_reachable, plan_for, select
from compress.spaces import MobileNetV2Space, Operator, PreResNetSpace, SwinSpace, sizes

SMALL_SWIN = {"patch_size": 2, "window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2)}
SPACES = {
    "preresnet": PreResNetSpace(20, 10),
    "preresnet-inputs": PreResNetSpace(20, 10, score_inputs=True),
    "mobilenetv2": MobileNetV2Space(10, 0.35),
    "swin": SwinSpace(4, "swin_tiny_patch4_window7_224", input_size=32, options=SMALL_SWIN),
}
SIZE = (3, 32, 32)
TABLES = {name: made_up_table(space, SIZE) for name, space in SPACES.items()}
RESIDUAL = {"median": 0.01, "p90": 0.03, "rank_correlation": 0.99, "n": 20}


def random_scores(space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(n, generator=generator) for name, n in sizes(space.groups).items()}


DEFAULT = SelectConfig()


def run(name, budget, config=DEFAULT, *, scores=None, priced=None):
    space = SPACES[name]
    priced = priced or Priced(TABLES[name])
    return plan_for(space, scores or random_scores(space), budget, config, input_size=SIZE, priced=priced)


def predicted(name, plan):
    return TABLES[name].predict(SPACES[name].operators(SIZE), plan.widths)  # refuses widths off its grid


def held(plan, scores):
    return sum(float(scores[name][list(kept)].abs().sum()) for name, kept in plan.kept.items())


@pytest.mark.parametrize("ranking", ["global", "kind", "layer"])
@pytest.mark.parametrize("name", SPACES)
def test_a_latency_ratio_is_kept_on_measured_widths_by_the_best_channels(name, ranking):
    for seed, value in enumerate((0.5, 0.7, 0.9)):
        scores = random_scores(SPACES[name], seed)
        plan = run(name, Budget("latency_ratio", value), SelectConfig(ranking), scores=scores)
        assert value - 0.04 < predicted(name, plan).ratio <= value
        for group, score in scores.items():
            assert 0 < plan.widths[group] in TABLES[name].widths[group]
            kept = set(plan.kept[group])
            dropped = [abs(float(score[i])) for i in range(len(score)) if i not in kept]
            assert min(abs(float(score[i])) for i in kept) >= max(dropped, default=0)
        assert run(name, Budget("latency_ratio", value), SelectConfig(ranking), scores=scores) == plan


@pytest.mark.parametrize("name", ["preresnet", "mobilenetv2"])
def test_milliseconds_are_those_of_the_table(name):
    plan = run(name, Budget("latency_ms", 6.0))
    assert 5.5 < predicted(name, plan).ms <= 6.0
    assert plan.kept == run(name, Budget("latency_ratio", 0.6)).kept
    slow = Priced(replace(TABLES[name], unpruned_ms=20.0))
    assert run(name, Budget("latency_ms", 12.0), priced=slow).kept == plan.kept
    for value in (10.0, 11.0):
        with pytest.raises(UserError, match=rf"latency_ms = {value:g}: the unpruned network takes 10 ms .*give less"):
            run(name, Budget("latency_ms", value))


def test_more_score_is_kept_than_by_dropping_the_worst_channels():
    """What the knapsack is for: at the latency that a MACs budget leads to, it keeps more."""
    scores = random_scores(SPACES["preresnet"])
    by_macs = run("preresnet", Budget("macs_ratio", 0.5), SelectConfig(round_to=4, floor=4), scores=scores)
    budget = Budget("latency_ratio", predicted("preresnet", by_macs).ratio + 1e-5)
    assert held(run("preresnet", budget, scores=scores), scores) > held(by_macs, scores)


def test_channels_that_are_dear_in_time_go_first():
    """Two groups with the same scores; the layer that makes the one is thirty times as dear."""
    space = SPACES["preresnet"]
    scores = {name: torch.linspace(1, 2, n) for name, n in sizes(space.groups).items()}
    pair = ("layer2.0.conv1", "layer2.1.conv1")
    for dear, cheap in (pair, pair[::-1]):
        table = made_up_table(space, SIZE, factors={dear: 30})
        plan = run("preresnet", Budget("latency_ratio", 0.6), scores=scores, priced=Priced(table))
        assert plan.widths[dear] < plan.widths[cheap]


@pytest.mark.parametrize("latency", [("latency_ratio", 0.8), ("latency_ms", 8.0)])
@pytest.mark.parametrize(
    "others", [{"macs_ratio": 0.5}, {"params_ratio": 0.4}, {"macs_ratio": 0.7, "params_ratio": 0.6}]
)
def test_several_costs_are_kept_at_once(latency, others):
    space = SPACES["preresnet"]
    plan = run("preresnet", Budget.of(*(Budget(*each) for each in others.items()), Budget(*latency)))
    found = {
        "macs_ratio": macs(space.operators(SIZE), plan.widths) / macs(space.operators(SIZE), plan.sizes),
        "params_ratio": params(space.operators(SIZE), plan.widths) / params(space.operators(SIZE), plan.sizes),
    }
    assert predicted("preresnet", plan).ratio <= 0.8
    assert all(found[kind] <= value for kind, value in others.items())
    assert max(found[kind] / value for kind, value in others.items()) > 0.95
    assert plan.record["budget"]["also"][-1] == dict(zip(("kind", "value"), latency, strict=True))
    assert plan.record["macs"]["after"] == macs(space.operators(SIZE), plan.widths)


def test_macs_and_parameters_together_need_no_table():
    space, scores = SPACES["preresnet"], random_scores(SPACES["preresnet"])
    budget = Budget("macs_ratio", 0.6, also=(Budget("params_ratio", 0.5),))
    plan = plan_for(space, scores, budget, SelectConfig(round_to=2), input_size=SIZE)
    assert 0.57 < plan.record["macs"]["after"] / plan.record["macs"]["before"] <= 0.6
    assert 0.48 < plan.record["params"]["after"] / plan.record["params"]["before"] <= 0.5
    assert "latency" not in plan.record
    assert all(width % 2 == 0 for width in plan.widths.values())


def test_floor_and_rounding_hold_on_the_tables_widths():
    plan = run("preresnet", Budget("latency_ratio", 0.8), SelectConfig(floor=10, round_to=6))
    assert min(plan.widths.values()) == 12
    assert all(width % 12 == 0 or width == plan.sizes[name] for name, width in plan.widths.items())


def test_the_record_says_what_was_predicted_by_which_table():
    where = {"device": "a processor, 2 cores", "backend": "onnxruntime", "threads": 1, "batch": 4}
    table = replace(TABLES["preresnet"], key={**TABLES["preresnet"].key, **where}, record={"residual": RESIDUAL})
    plan = run("preresnet", Budget("latency_ratio", 0.6), priced=Priced(table, correction=1.1))
    ratio = 1.1 * predicted("preresnet", plan).ratio
    assert ratio <= 0.6
    assert plan.record["latency"] == {
        "ratio": pytest.approx(ratio),
        "ms": pytest.approx(10 * ratio),
        "unpruned_ms": 10.0,
        "correction": 1.1,
        "residual": RESIDUAL,
        **where,
    }
    assert plan.record["budget"] == {"kind": "latency_ratio", "value": 0.6}


def test_a_correction_is_a_tighter_budget():
    budget = Budget("latency_ratio", 0.6)
    slower = run("preresnet", budget, priced=Priced(TABLES["preresnet"], correction=1.2))
    assert slower.kept == run("preresnet", Budget("latency_ratio", 0.6 / 1.2)).kept


def test_other_budgets_have_their_latency_predicted_between_measured_widths_alone():
    plan = run("preresnet", Budget("pruning_ratio", 0.3))
    operators = SPACES["preresnet"].operators(SIZE)
    assert any(width % 4 for width in plan.widths.values()), "the case should need interpolation"
    between = TABLES["preresnet"].predict(operators, plan.widths, interpolate=True).ratio
    assert plan.record["latency"]["ratio"] == pytest.approx(between)
    plan = run("preresnet", Budget("pruning_ratio", 0.9))
    assert min(plan.widths.values()) < 4
    assert (plan.record["latency"]["ratio"], plan.record["latency"]["ms"]) == (None, None)


def test_widths_narrower_than_measured_have_no_latency_though_their_block_may_go():
    removable = MobileNetV2Space(10, 0.35, score_outputs=True)
    priced, operators = Priced(made_up_table(removable, SIZE)), removable.operators(SIZE)
    full = sizes(removable.groups)
    name = next(group.name for group in removable.groups if group.rest is not None)
    assert priced.table.widths[name][:2] == [0, 4]
    found = [priced.ratio(operators, {**full, name: width}) for width in (0, 3, 4, 5)]
    assert found[1] is None
    assert found[0] < found[2] < found[3]


def test_a_side_on_which_the_table_does_not_depend_costs_the_same_at_all_widths():
    shares = {
        "wide": OperatorCosts(1, "b", np.array([[0.1, 0.2, 0.3]])),
        "tall": OperatorCosts("a", 9, np.ones((2, 1))),
    }
    priced = Priced(LatencyTable({}, 10.0, {"a": (4, 8), "b": (0, 8, 16)}, shares, 0.0))
    wide, tall = (Operator(name, "conv", "a", "b", 1, 1) for name in shares)
    assert priced.prices(wide, [4, 8], [16, 8]).tolist() == [[0.3, 0.2], [0.3, 0.2]]
    assert priced.prices(tall, [8], [0, 8, 16]).tolist() == [[1.0, 1.0, 1.0]]
    token = Operator("token", "parameter", 1, "b", 0, 1)
    assert priced.prices(token, [1], [0, 8]).tolist() == [[0.0, 0.0]], "untimed"


def test_the_plan_survives_its_file_and_the_order_of_scores(tmp_path):
    budget = Budget("latency_ratio", 0.6, also=(Budget("macs_ratio", 0.5),))
    equal = {name: torch.ones(n) for name, n in sizes(SPACES["preresnet"].groups).items()}
    plan = run("preresnet", budget, scores=equal)
    plan.save(tmp_path / "plan.json")
    assert WidthPlan.load(tmp_path / "plan.json") == plan
    save_scores(tmp_path / "scores.safetensors", equal)
    for same in (dict(reversed(equal.items())), load_scores(tmp_path / "scores.safetensors")):
        assert run("preresnet", budget, scores=same).kept == plan.kept


def test_refusals_say_what_to_do():
    space, scores = SPACES["preresnet"], random_scores(SPACES["preresnet"])
    operators = space.operators(SIZE)
    for budget in (Budget("latency_ms", 5), Budget("macs_ratio", 0.5, also=(Budget("latency_ms", 5),))):
        with pytest.raises(
            UserError, match=r"^latency_ms: needs a latency table.*`nncompress profile`.*--latency-table"
        ):
            select(scores, operators, budget, space="x")
    table, budget = TABLES["preresnet"], Budget("latency_ratio", 0.6)
    fewer = replace(table, widths={name: grid for name, grid in table.widths.items() if name != "layer2.1.conv2"})
    with pytest.raises(UserError, match=r"latency table: has no group 'layer2\.1\.conv2'.*profile this one"):
        run("preresnet", budget, priced=Priced(fewer))
    odd = replace(table, widths={**table.widths, "layer2.1.conv2": (4, 8, 12)})
    with pytest.raises(UserError, match=r"none of the allowed widths of 'layer2\.1\.conv2'; set select\.round_to"):
        run("preresnet", budget, SelectConfig(round_to=16), priced=Priced(odd))


def test_the_smallest_latency_is_named_and_can_be_had():
    config = SelectConfig(floor=8)
    for kind, scale in (("latency_ratio", 1), ("latency_ms", 10)):
        with pytest.raises(UserError, match=rf"^{kind} = .*: out of reach") as refusal:
            run("preresnet", Budget(kind, 0.06 * scale), config)
        least = float(str(refusal.value).split("take less than ")[1].split(";")[0].removesuffix(" ms"))
        assert (" ms;" in str(refusal.value)) == (kind == "latency_ms")
        plan = run("preresnet", Budget(kind, least), config)
        assert set(plan.widths.values()) == {8}


def test_a_latency_out_of_reach_is_refused_before_there_are_scores():
    space, priced = SPACES["preresnet"], Priced(TABLES["preresnet"])
    operators, full = space.operators(SIZE), sizes(space.groups)
    check_reachable(full, operators, Budget("latency_ratio", 0.5), DEFAULT, priced=priced)
    budget = Budget("latency_ratio", 0.06)
    with pytest.raises(UserError, match="out of reach") as early:
        check_reachable(full, operators, budget, DEFAULT, priced=priced)
    with pytest.raises(UserError) as late:
        run("preresnet", budget)
    assert str(early.value) == str(late.value)


def test_no_budget_is_advised_that_would_be_refused():
    """A floor at the full width leaves nothing to prune, whatever the limit, and limits of 1 or more are refused."""
    floor, macs_limit = SelectConfig(floor=64), Budget("macs_ratio", 0.9)
    for budget in (
        Budget("latency_ratio", 0.9),
        Budget("latency_ms", 9.0),
        Budget.of(macs_limit, Budget("params_ratio", 0.9)),
    ):
        with pytest.raises(UserError, match=r"out of reach; .*; lower select\.floor or select\.round_to$"):
            run("preresnet", budget, floor)


# Budgets
