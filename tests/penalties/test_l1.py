"""The l1 penalty: value, subgradient, proximal step, strength."""

import pytest
import torch

from compress.penalties import L1


def alphas():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, generator=generator, dtype=torch.float64) for n in (3, 1, 7)]


def test_value():
    assert L1(0.5).value([torch.tensor([1.0, -2.0]), torch.tensor([0.0, 4.0])]).item() == 3.5
    assert L1(0.5).value(alphas()).dtype == torch.float64
    assert torch.equal(L1(0.5).value([]), torch.tensor(0.0))


def test_subgradient_is_the_gradient_away_from_zero_and_zero_at_zero():
    penalty, a, h = L1(0.3), alphas(), 1e-6
    gradients = [torch.full_like(x, 2.0) for x in a]
    penalty.add_gradient(a, gradients)
    for x, gradient in zip(a, gradients, strict=True):
        for i in range(len(x)):
            assert abs(x[i]) > 2 * h
            ends = []
            for sign in (1, -1):
                moved = x.clone()
                moved[i] += sign * h
                ends.append(penalty.value([moved]))
            assert float(gradient[i]) == pytest.approx(2 + float(ends[0] - ends[1]) / (2 * h), rel=1e-8)
    at_zero = [torch.full((2,), 5.0)]
    penalty.add_gradient([torch.zeros(2)], at_zero)
    assert at_zero[0].tolist() == [5.0, 5.0]


def test_subgradient_agrees_with_autograd_of_the_value():
    a = [x.requires_grad_() for x in alphas()]
    expected = torch.autograd.grad(L1(0.3).value(a), a)
    found = [torch.zeros_like(x) for x in a]
    with torch.no_grad():
        L1(0.3).add_gradient(a, found)
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


@pytest.mark.parametrize(("gamma", "step"), [(0.3, 0.5), (1.0, 1.0), (1e-4, 0.1), (0.7, 0.0)])
def test_prox_minimises_its_objective_over_a_grid(gamma, step):
    """prox(a) = argmin_x 1/2 |x - a|^2 + step gamma |x|."""
    grid = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
    for a in [-2.0, -0.5, -0.1500001, -0.1, 0.0, 0.05, 0.1499999, 0.31, 1.7]:
        found = torch.tensor([a], dtype=torch.float64)
        L1(gamma, "proximal").prox([found], step=step)
        best = grid[(0.5 * (grid - a) ** 2 + step * gamma * grid.abs()).argmin()]
        assert abs(float(found) - float(best)) <= 1e-4
        if abs(a) < step * gamma:
            assert float(found) == 0, "exactly"


def test_prox_keeps_what_is_not_a_number():
    """A diverged score must not pass for a pruned one."""
    a = torch.tensor([float("nan"), 0.01])
    L1(1.0, "proximal").prox([a], step=0.1)
    assert a[0].isnan()
    assert a[1] == 0


@pytest.mark.parametrize("penalty", [L1(0.0, "proximal"), L1(0.0), L1(0.3)])
def test_prox_of_a_subgradient_or_of_nothing_is_the_identity(penalty):
    a = alphas()
    penalty.prox(a, step=1.0)
    assert all(torch.equal(x, y) for x, y in zip(a, alphas(), strict=True))


@pytest.mark.parametrize("penalty", [L1(0.0), L1(0.3, "proximal")])
def test_no_gradient_of_nothing_nor_in_proximal_mode(penalty):
    gradients = [torch.ones_like(x) for x in alphas()]
    penalty.add_gradient(alphas(), gradients)
    assert all((g == 1).all() for g in gradients)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("mode", ["subgradient", "proximal"])
def test_strength_is_the_distance_the_penalty_alone_moves_a_score(momentum, mode):
    penalty, steps, lr = L1(0.01, mode), 400, 0.1
    score = torch.nn.Parameter(torch.full((1,), 5.0, dtype=torch.float64))
    optimizer = torch.optim.SGD([score], lr=lr, momentum=momentum)
    for _ in range(steps):
        score.grad = torch.zeros_like(score)
        with torch.no_grad():
            penalty.add_gradient([score], [score.grad])
        optimizer.step()
        with torch.no_grad():
            penalty.prox([score], step=lr)
    moved = 5.0 - score.item()
    assert moved == pytest.approx(penalty.strength(steps * lr, momentum), rel=0.03 if momentum else 1e-9)
