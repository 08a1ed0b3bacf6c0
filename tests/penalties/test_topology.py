"""The latency penalty on topologies: closed form, gradient by finite differences, shapes. Instant."""

import pytest
import torch

from compress.penalties import ExpectedLatency
from compress.plan import UserError

E, O = 6, 5  # noqa: E741


def made():
    generator = torch.Generator().manual_seed(0)
    latency = torch.rand(E, O, generator=generator, dtype=torch.float64)
    return ExpectedLatency(0.3, latency), torch.randn(E, O, generator=generator, dtype=torch.float64), latency


def test_value_is_the_expected_latency():
    penalty, _, latency = made()
    assert penalty.value([torch.zeros(E, O).double()]).item() == pytest.approx(0.3 * latency.sum().item() / O)
    chosen = torch.zeros(E, O).double()
    chosen[range(E), [0, 1, 2, 3, 4, 0]] = 1e3
    expected = latency[range(E), [0, 1, 2, 3, 4, 0]].sum().item()
    assert penalty.value([chosen]).item() == pytest.approx(0.3 * expected)


def test_operations_that_cost_nothing_are_allowed_and_scores_keep_their_type():
    penalty = ExpectedLatency(0.5, torch.tensor([[0.0, 2.0], [4.0, 0.0]], dtype=torch.float64))
    value = penalty.value([torch.zeros(2), torch.zeros(2)])
    assert value.item() == pytest.approx(0.5 * (1 + 2))
    assert value.dtype == torch.float32


def test_gradient_equals_finite_differences_sums_to_zero_along_operations_and_is_added():
    penalty, alpha, _ = made()
    gradient, h = torch.full((E, O), 2.0, dtype=torch.float64), 1e-6
    penalty.add_gradient([alpha], [gradient])
    gradient -= 2
    for e in range(E):
        for o in range(O):
            step = torch.zeros_like(alpha)
            step[e, o] = h
            slope = (penalty.value([alpha + step]) - penalty.value([alpha - step])).item() / (2 * h)
            assert gradient[e, o].item() == pytest.approx(slope, rel=1e-6, abs=1e-9)
    assert gradient.sum(1).abs().max() < 1e-12
    assert gradient.abs().max() > 1e-3


def test_the_dearest_operation_is_pulled_down_and_the_cheapest_up():
    penalty, _, latency = made()
    gradient = torch.zeros(E, O).double()
    penalty.add_gradient([torch.zeros(E, O).double()], [gradient])
    rows = torch.arange(E)
    assert (gradient[rows, latency.argmax(1)] > 0).all()
    assert (gradient[rows, latency.argmin(1)] < 0).all()


@pytest.mark.parametrize("cut", [lambda t: t, list, lambda t: list(t.split(4))], ids=["tensor", "edges", "cells"])
def test_scores_come_as_one_tensor_as_edges_or_as_cells(cut):
    penalty, alpha, _ = made()
    whole, gradient = torch.zeros_like(alpha), torch.zeros_like(alpha)
    penalty.add_gradient([alpha], [whole])
    penalty.add_gradient(cut(alpha), cut(gradient))  # cuts are views
    assert torch.equal(gradient, whole)
    assert penalty.value(cut(alpha)).item() == pytest.approx(penalty.value([alpha]).item())


def test_smooth_and_without_a_strength():
    penalty, alpha, _ = made()
    before = alpha.clone()
    penalty.prox([alpha], step=1.0)
    assert torch.equal(alpha, before)
    assert penalty.strength(10.0, 0.9) is None


@pytest.mark.parametrize(
    "latency", [torch.ones(3), torch.tensor([[1.0, float("nan")]]), torch.tensor([[1.0, -0.1]])], ids=str
)
def test_what_is_no_table_of_milliseconds_is_refused(latency):
    with pytest.raises(UserError, match="latency_EO: of shape"):
        ExpectedLatency(1.0, latency)


@pytest.mark.parametrize("shape", [(E - 1, O), (O, E), (1, O)])
def test_scores_of_another_shape_are_refused(shape):
    with pytest.raises(UserError, match=r"alphas: .* scores for latencies of shape \[6, 5\]"):
        made()[0].value([torch.zeros(shape)])
