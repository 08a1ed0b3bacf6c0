"""The differentiable form of a latency table. Fast: no timing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_table import OPERATORS, SECOND, WIDTHS

from compress.costs import SoftLatency
from compress.costs.latency import OperatorCosts
from compress.costs.stairs import chosen_stairs
from compress.plan import UserError


def soft(**widths):
    return {name: torch.tensor(float(n), dtype=torch.float64, requires_grad=True) for name, n in widths.items()}


def test_soft_latency_equals_the_table_at_measured_widths(table):
    latency = SoftLatency(table, OPERATORS)
    for a in WIDTHS["a"]:
        for b in WIDTHS["b"][1:]:
            assert latency(soft(a=a, b=b)).item() == pytest.approx(table.predict(OPERATORS, {"a": a, "b": b}).ratio)


@pytest.mark.parametrize(("a", "b"), [(10.5, 9.0), (17.0, 11.9), (8.25, 8.5)])
def test_soft_latency_interpolates_with_exact_gradients(table, a, b):
    latency, widths = SoftLatency(table, OPERATORS), soft(a=a, b=b)
    value = latency(widths)
    value.backward()
    assert value.item() == pytest.approx(table.predict(OPERATORS, {"a": a, "b": b}, interpolate=True).ratio)
    step = 1e-3
    for name in widths:
        ends = [latency(soft(**{**{"a": a, "b": b}, name: {"a": a, "b": b}[name] + s})).item() for s in (step, -step)]
        assert widths[name].grad.item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


def test_below_the_narrowest_width_nothing_can_be_gained(table):
    latency, widths = SoftLatency(table, OPERATORS), soft(a=3.0, b=8.0)
    value = latency(widths)
    value.backward()
    assert value.item() == pytest.approx(table.predict(OPERATORS, {"a": 8, "b": 8}).ratio)
    assert widths["a"].grad.item() == 0
    assert widths["b"].grad.item() > 0


@pytest.mark.parametrize("b", [0.0, 3.0, 7.9])
def test_nothing_pulls_towards_the_removal_of_a_block(table, b):
    """Between no channel and the narrowest measured width nothing is known."""
    latency, widths = SoftLatency(table, OPERATORS), soft(a=16.0, b=b)
    value = latency(widths)
    value.backward()
    assert value.item() == pytest.approx(table.predict(OPERATORS, {"a": 16, "b": 8}).ratio)
    assert widths["b"].grad.item() == 0
    assert widths["a"].grad.item() > 0


def test_a_group_of_one_width_has_no_slope(table):
    """Its only other width is none, as in a block narrower than the table's step."""
    one = replace(
        table,
        widths={"a": (8, 16, 24), "b": (0, 12)},
        operators={
            **table.operators,
            "second": OperatorCosts("a", "b", SECOND[:, [0, 2]]),
            "depthwise": OperatorCosts(1, "b", np.array([[0.0, 0.05]])),
        },
    )
    latency, widths = SoftLatency(one, OPERATORS), soft(a=16.0, b=7.0)
    value = latency(widths)
    value.backward()
    assert value.item() == pytest.approx(one.predict(OPERATORS, {"a": 16, "b": 12}).ratio)
    assert widths["b"].grad.item() == 0


def test_stairs_between_no_channel_and_the_narrowest_width_are_not_known(table):
    """Other groups' plots then have the narrowest width in its place."""
    found = {b: chosen_stairs(table, {"a": 16, "b": b})["groups"] for b in (0, 3, 8, 10)}
    assert [found[b]["b"]["share"] for b in (0, 3, 8)] == [0.0, None, pytest.approx(0.15 + 0.04)]
    assert found[3]["a"] == found[8]["a"]
    assert found[0]["a"]["share"] == pytest.approx(0.12)
    assert found[10]["b"]["share"] == pytest.approx(0.16 + 0.045)


def test_the_ends_have_the_inner_gradient(table):
    """A search starts at the full widths: there the penalty must pull already."""
    latency, widths = SoftLatency(table, OPERATORS), soft(a=24.0, b=12.0)
    latency(widths).backward()
    assert widths["a"].grad.item() == pytest.approx((0.2 - 0.12 + 0.30 - 0.17) / 8)
    assert widths["b"].grad.item() == pytest.approx((0.30 - 0.25 + 0.05 - 0.04) / 4)


def test_wider_than_the_widest_nothing_more_is_spent(table):
    """Scores may say a little more than the full width."""
    whole = table.predict(OPERATORS, {"a": 24, "b": 12}).ratio
    for a in (24.5, 33.0, 80.0):
        latency, widths = SoftLatency(table, OPERATORS), soft(a=a, b=12.0)
        value = latency(widths)
        value.backward()
        assert value.item() == pytest.approx(whole)
        assert widths["a"].grad.item() == 0


def test_a_measured_width_has_the_slope_of_the_step_above(table):
    latency, widths = SoftLatency(table, OPERATORS), soft(a=16.0, b=8.0)
    latency(widths).backward()
    assert widths["a"].grad.item() == pytest.approx((0.2 - 0.12 + 0.25 - 0.15) / 8)


def test_one_group_on_a_grid_of_single_channels_in_single_precision(table):
    fine = replace(
        table, widths={"a": (7, 8, 24)}, operators={"first": OperatorCosts(16, "a", np.array([[0.1, 0.3, 0.4]]))}
    )
    latency = SoftLatency(fine, OPERATORS[1:2])
    width = torch.tensor(7.25, requires_grad=True)
    value = latency({"a": width})
    value.backward()
    assert (value.dtype, width.grad.dtype) == (torch.float32, torch.float32)
    assert value.item() == pytest.approx(0.01 + 0.15)
    assert width.grad.item() == pytest.approx(0.2)


def test_groups_that_all_have_a_single_width_cost_a_constant(table):
    single = replace(table, widths={"a": (8,)}, operators={"first": OperatorCosts(16, "a", np.array([[0.1]]))})
    latency, widths = SoftLatency(single, OPERATORS[1:2]), soft(a=5.0)
    value = latency(widths)
    value.backward()
    assert value.item() == pytest.approx(0.11)
    assert widths["a"].grad.item() == 0


def test_soft_latency_of_fixed_operators_is_a_constant(table):
    assert SoftLatency(table, OPERATORS[:1])({}).item() == pytest.approx(0.21)


def test_soft_latency_names_missing_groups(table):
    with pytest.raises(UserError, match="'b'"):
        SoftLatency(table, OPERATORS)(soft(a=8))
