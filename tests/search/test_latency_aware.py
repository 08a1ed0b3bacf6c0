"""Taylor scores that charge channels for their latency: numbers by hand, ranks, and what a table says of a channel.

A second.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from latency_tables import made_up_table

from compress.costs import LatencyTable
from compress.costs.latency import OperatorCosts
from compress.plan import UserError
from compress.pruning import Budget, select
from compress.search import Taylor, channel_savings, latency_aware
from compress.spaces import Group, MobileNetV2Space, Operator, PreResNetSpace, columns, rows, sizes

IMPORTANCES = {"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([2.0, 2.0])}
"""Shares: 3/8, 1/8, 2/8, 2/8."""
OPERATORS = (
    Operator("x", "conv", 3, "a", macs=1, weights=1),
    Operator("y", "conv", "a", "b", macs=1, weights=1),
    Operator("z", "linear", "b", 10, macs=1, weights=1),
)
TWO = SimpleNamespace(
    groups=(Group("a", 4, rows("x"), columns("y")), Group("b", 8, rows("y"), columns("z"))),
    operators=lambda input_size: OPERATORS,
)
"""All that `channel_savings` asks of a space."""


def two_group_table(**changes):
    """Staircases: x is flat from 3 to 4 channels, z costs the most, y is slower at 4 channels of b than at 6."""
    widths = {"a": (2, 3, 4), "b": (4, 6, 8)}
    shares = {
        "x": (3, "a", [[0.10, 0.20, 0.20]]),
        "y": ("a", "b", [[0.06, 0.05, 0.10], [0.12, 0.10, 0.15], [0.15, 0.13, 0.20]]),
        "z": ("b", 10, [[0.20], [0.30], [0.50]]),
    }
    operators = {name: OperatorCosts(n_in, n_out, np.array(found)) for name, (n_in, n_out, found) in shares.items()}
    return LatencyTable({}, 1.0, **{"widths": widths, "operators": operators, "rest": 0.1, **changes})


def worst_first(scores):
    """(group, channel) of all channels, from the lowest score."""
    return [found[1:] for found in sorted((float(s), name, i) for name, v in scores.items() for i, s in enumerate(v))]


def test_scores_by_hand():
    """Weight 2: 3/8 - 0.1, 1/8 - 0.1, 2/8 - 0.4, 2/8 - 0.4; the lowest, -0.15, becomes 0."""
    scores = latency_aware(IMPORTANCES, {"a": 0.05, "b": 0.2}, 2.0)
    torch.testing.assert_close(scores["a"], torch.tensor([0.275 + 0.15, 0.025 + 0.15]))
    assert scores["b"].tolist() == [0.0, 0.0]
    assert scores["a"].dtype == torch.float32
    cheap = latency_aware(IMPORTANCES, {"a": 0.05, "b": 0.2}, 0.5)
    torch.testing.assert_close(cheap["a"], torch.tensor([0.35, 0.1]))  # none below 0: not raised
    torch.testing.assert_close(cheap["b"], torch.tensor([0.15, 0.15]))


def test_a_weight_of_zero_gives_plain_shares():
    scores = latency_aware(IMPORTANCES, {"a": 0.05, "b": 0.2}, 0.0)
    torch.testing.assert_close(scores, {"a": torch.tensor([3 / 8, 1 / 8]), "b": torch.tensor([2 / 8, 2 / 8])})


def test_the_unit_of_importance_does_not_matter():
    """Sums over other losses or more batches: the weight means the same."""
    dearer = {name: 1e-9 * value for name, value in IMPORTANCES.items()}
    for weight in (0.3, 5.0):
        expected = latency_aware(IMPORTANCES, {"a": 0.05, "b": 0.2}, weight)
        torch.testing.assert_close(latency_aware(dearer, {"a": 0.05, "b": 0.2}, weight), expected)


def test_costly_channels_go_first_where_the_weight_is_large():
    torch.manual_seed(0)
    importances = {name: torch.rand(6) for name in ("dear", "middle", "cheap", "slower")}
    savings = {"dear": 0.05, "middle": 0.03, "cheap": 0.0, "slower": -0.01}  # a channel less of the last costs time
    ranked = worst_first(latency_aware(importances, savings, 1e3))
    assert [name for name, _ in ranked] == [name for name in savings for _ in range(6)]
    for name, value in importances.items():
        within = [i for group, i in ranked if group == name]
        assert within == value.argsort().tolist(), "channels of a group cost the same: their importance decides"


def test_the_weight_trades_importance_for_latency_at_the_rate_it_says():
    """A channel with 1 % more of the importance stays unless it takes more than 1 % / weight more of the latency."""
    importances = {"a": torch.tensor([51.0]), "b": torch.tensor([49.0])}  # 2 % apart
    for weight, stays in ((0.9, "a"), (1.1, "b")):
        scores = latency_aware(importances, {"a": 0.03, "b": 0.01}, weight)  # 2 % apart
        assert worst_first(scores)[-1] == (stays, 0)


def test_selection_keeps_what_has_the_highest_value_not_the_largest_size():
    """Unraised, b's scores would be -39.75, and |score| would keep them."""
    scores = latency_aware(IMPORTANCES, {"a": 0.0, "b": 20.0}, 2.0)
    plan = select(scores, (), Budget("pruning_ratio", 0.25), space="any")
    assert plan.kept == {"a": (0, 1), "b": (0,)}


def test_importances_that_are_all_zero_leave_the_latency():
    scores = latency_aware({"a": torch.zeros(2), "b": torch.zeros(1)}, {"a": 0.1, "b": 0.3}, 1.0)
    torch.testing.assert_close(scores, {"a": torch.tensor([0.2, 0.2]), "b": torch.zeros(1)})


def test_importances_that_are_not_finite_stay_so_and_are_refused_by_selection():
    scores = latency_aware({"a": torch.tensor([1.0, float("nan")]), "b": torch.ones(2)}, {"a": 0.1, "b": 0.3}, 1.0)
    with pytest.raises(UserError, match=r"scores\['a'\] are not finite"):
        select(scores, (), Budget("pruning_ratio", 0.25), space="any")


# Savings


def test_savings_by_hand():
    """From 4 to 2 channels a saves 0.1 of x and 0.2 - 0.1 of y; from 8 to 4 b saves 0.2 - 0.15 of y and 0.3 of z."""
    savings = channel_savings(two_group_table(), TWO, (3, 8, 8))
    assert savings == pytest.approx({"a": 0.2 / 2, "b": 0.35 / 4})


def test_a_single_width_saves_nothing_and_a_removed_block_is_no_width():
    one = two_group_table()
    fixed = {**one.operators, "x": OperatorCosts(3, "a", np.array([[0.2]]))}
    fixed["y"] = OperatorCosts("a", "b", one.operators["y"].shares[-1:])
    table = two_group_table(widths={"a": (4,), "b": (4, 6, 8)}, operators=fixed)
    assert channel_savings(table, TWO, (3, 8, 8)) == pytest.approx({"a": 0.0, "b": 0.35 / 4})
    gone = dict(one.operators)
    gone["x"] = OperatorCosts(3, "a", np.array([[0.0, 0.1, 0.2, 0.2]]))
    gone["y"] = OperatorCosts("a", "b", np.vstack([np.zeros(3), one.operators["y"].shares]))
    table = two_group_table(widths={"a": (0, 2, 3, 4), "b": (4, 6, 8)}, operators=gone)
    assert channel_savings(table, TWO, (3, 8, 8)) == pytest.approx({"a": 0.2 / 2, "b": 0.35 / 4})


def test_a_single_channel_is_a_width():
    table = two_group_table(widths={"a": (1, 3, 4), "b": (4, 6, 8)})
    assert channel_savings(table, TWO, (3, 8, 8)) == pytest.approx({"a": 0.2 / 3, "b": 0.35 / 4})


def test_groups_that_are_slower_when_narrow_have_negative_savings():
    slower = {**two_group_table().operators, "z": OperatorCosts("b", 10, np.array([[0.7], [0.3], [0.5]]))}
    savings = channel_savings(two_group_table(operators=slower), TWO, (3, 8, 8))
    assert savings == pytest.approx({"a": 0.1, "b": (0.05 - 0.2) / 4})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": {"a": (2, 3, 4)}}, "no group 'b'"),
        ({"widths": {"a": (2, 3), "b": (4, 6, 8)}}, "width 4 for a of x: not measured"),
        ({"operators": {name: op for name, op in two_group_table().operators.items() if name != "z"}}, "operator 'z'"),
    ],
    ids=["group", "width", "operator"],
)
def test_tables_of_other_networks_are_refused(changes, message):
    with pytest.raises(UserError, match=message) as refused:
        channel_savings(two_group_table(**changes), TWO, (3, 8, 8))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("space", [PreResNetSpace(11, 10, score_inputs=True), MobileNetV2Space(10, multiplier=0.1)])
def test_every_group_of_a_space_has_a_saving_and_they_follow_the_table(space):
    size = (3, 32, 32)
    table = made_up_table(space, size)
    savings, operators = channel_savings(table, space, size), space.operators(size)
    assert savings.keys() == sizes(space.groups).keys()
    for group in space.groups:
        least = next(width for width in table.widths[group.name] if width)
        narrow = table.predict(operators, {**sizes(space.groups), group.name: least}).ratio
        assert savings[group.name] * (group.size - least) == pytest.approx(1 - narrow)
        assert savings[group.name] > 0 or least == group.size


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "1", True, None])
def test_weights_that_make_no_sense_are_refused(value):
    with pytest.raises(UserError, match=r"search\.method\.latency_weight = .*at least 0"):
        Taylor(latency_weight=value)
