"""The latency penalty on topologies: closed form, gradient by finite differences and autograd, what is left out."""

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


@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
@pytest.mark.parametrize("left_out", [(), (0,), (1, 3)])
def test_the_gradient_is_that_of_the_value(weights, left_out):
    """By autograd and by finite differences; exactly 0 for what is left out, though that has a latency here."""
    generator = torch.Generator().manual_seed(1)
    latency = torch.rand(E, O, generator=generator, dtype=torch.float64)
    alpha = (3 * torch.randn(E, O, generator=generator, dtype=torch.float64)).requires_grad_()
    penalty = ExpectedLatency(0.3, latency, left_out=left_out, weights=weights)
    (expected,) = torch.autograd.grad(penalty.value([alpha]), alpha)
    gradient = torch.zeros_like(latency)
    penalty.add_gradient([alpha.detach()], [gradient])
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)
    assert (gradient[:, list(left_out)] == 0).all()
    assert (gradient.abs() > 1e-8).sum() > E
    step, h = torch.zeros_like(latency), 1e-5
    step[at := divmod(int(gradient.abs().argmax()), O)] = h
    slope = (penalty.value([alpha + step]) - penalty.value([alpha - step])).item() / (2 * h)
    assert gradient[at].item() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_what_is_left_out_has_no_share_whatever_its_score(weights):
    latency = torch.tensor([[0.0, 1.0, 3.0]])
    for score in (-50.0, 0.0, 50.0):
        alphas = [torch.tensor([[score, 0.0, 0.0]])]
        assert ExpectedLatency(0.5, latency, left_out=(0,), weights=weights).value(alphas).item() == pytest.approx(1.0)


def test_descent_alone_ends_at_the_cheapest_operation_and_cuts_no_edge():
    """Without leaving `none` out the same descent ends at `none`, which costs nothing."""
    latency = torch.tensor([[0.0, 0.2, 0.9, 0.4]] * 3)
    ends = {}
    for left_out in ((), (0,)):
        penalty, alpha = ExpectedLatency(1.0, latency, left_out=left_out), torch.zeros(3, 4)
        for _ in range(200):
            gradient = torch.zeros_like(alpha)
            penalty.add_gradient([alpha], [gradient])
            alpha -= gradient
        ends[left_out] = alpha
    assert (ends[()].argmax(1) == 0).all()
    assert (ends[(0,)][:, 0] == 0).all()
    assert (ends[(0,)].argmax(1) == 1).all()


def test_sigmoids_that_are_all_tiny_still_have_shares():
    penalty = ExpectedLatency(1.0, torch.tensor([[1.0, 3.0]]), weights="sigmoid")
    assert penalty.value([torch.full((1, 2), -200.0)]).item() == pytest.approx(2.0)


def test_weights_of_whole_edges_behind_the_scores_are_left_alone():
    penalty, alpha, _ = made()
    edges, gradients = torch.ones(E, dtype=torch.float64), [torch.zeros_like(alpha), torch.zeros(E).double()]
    penalty.add_gradient([alpha, edges], gradients)
    assert penalty.value([alpha, edges]) == penalty.value([alpha])
    assert gradients[0].abs().max() > 1e-3
    assert (gradients[1] == 0).all()


@pytest.mark.parametrize("left_out", [range(O), (O,), (-1,)])
def test_operations_that_are_not_there_cannot_be_left_out(left_out):
    with pytest.raises(UserError, match=r"left_out = \[.*\]: must be some of 5 operations and leave one"):
        ExpectedLatency(1.0, torch.ones(E, O), left_out=left_out)
