"""DARTS and MiLeNAS against numpy with gradients by hand, and their limits on the solvable model."""

import numpy as np
import pytest
import torch
from torch import nn

from compress.penalties import L1
from compress.search import Bilevel, Darts1, Darts2, MiLeNas1, darts1_step, darts2_step, gradients_of, milenas1_step

ETA_W, ETA_A, GAMMA = 0.03, 0.05, 0.01
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
C, D = RNG.normal(size=4), RNG.normal(size=4)


# L_a = 1/2 |A (w * a) - C|^2 and L_p = 1/2 |B (w * a) - D|^2, with w and a of length 3.
def grads(matrix, target, w, a):
    residual = matrix.T @ (matrix @ (w * a) - target)
    return residual * a, residual * w


def value(matrix, target, w, a):
    return 0.5 * np.sum((matrix @ (w * a) - target) ** 2)


def problem(w0, a0):
    w, alpha = (nn.Parameter(torch.tensor(x, dtype=torch.float64)) for x in (w0, a0))
    probes = []

    def loss(matrix, target):
        m, t = torch.tensor(matrix), torch.tensor(target)

        def compute(*, probe=False):
            probes.append(probe)
            return 0.5 * (m @ (w * alpha) - t).square().sum()

        return compute

    sets = Bilevel(
        loss_a=loss(A, C),
        loss_p=loss(B, D),
        w=[w],
        alpha=[alpha],
        opt_w=torch.optim.SGD([w], lr=ETA_W),
        opt_alpha=torch.optim.SGD([alpha], lr=ETA_A),
    )
    return sets, w, alpha, probes


def reference(method, w, a):
    """One step by hand."""
    if isinstance(method, Darts2):
        xi = ETA_W if method.xi is None else method.xi
        virtual = w - xi * grads(A, C, w, a)[0]
        v, grad_a = grads(B, D, virtual, a)
        epsilon = method.epsilon / np.linalg.norm(v)
        plus, minus = (grads(A, C, w + sign * epsilon * v, a)[1] for sign in (1, -1))
        a_new = a - ETA_A * (grad_a - xi * (plus - minus) / (2 * epsilon) + GAMMA * np.sign(a))
        return w - ETA_W * grads(A, C, w, a_new)[0], a_new
    w_new = w - ETA_W * grads(A, C, w, a)[0]
    grad_a = grads(B, D, w_new, a)[1]
    if isinstance(method, MiLeNas1):
        grad_a = grads(A, C, w_new, a)[1] + method.lam * grad_a
    return w_new, a - ETA_A * (grad_a + GAMMA * np.sign(a))


CASES = [
    (darts1_step, Darts1()),
    (milenas1_step, MiLeNas1(0.5)),
    (darts2_step, Darts2()),
    (darts2_step, Darts2(xi=0.2, epsilon=0.1)),
]


@pytest.mark.parametrize(("step", "method"), CASES)
def test_steps_equal_numpy(step, method):
    rng = np.random.default_rng(1)  # its own, so that no other test decides where it starts
    w, a = rng.normal(size=3), rng.normal(size=3)
    sets, w_torch, a_torch, _ = problem(w, a)
    for _ in range(15):
        logs, before = step(sets, method, L1(GAMMA)), (w, a)
        w, a = reference(method, w, a)
        assert logs.keys() == {"loss_p", "loss_a"}
        assert not any(loss.requires_grad for loss in logs.values())
        if not isinstance(method, Darts2):  # its loss_a is that of the new scores
            assert logs["loss_a"].item() == pytest.approx(value(A, C, *before))
            assert logs["loss_p"].item() == pytest.approx(value(B, D, w, before[1]))
        np.testing.assert_allclose(w_torch.detach().numpy(), w, rtol=1e-9)
        np.testing.assert_allclose(a_torch.detach().numpy(), a, rtol=1e-9)


@pytest.mark.parametrize(("step", "method"), CASES)
def test_gradients_are_averaged_over_processes(step, method):
    """Doubling them is doubling both losses; the penalty is not averaged."""
    starts = np.random.default_rng(4).normal(size=(2, 3))
    averaged, plain = (problem(*starts)[0] for _ in range(2))
    averaged.gradient = lambda loss, parameters: [2 * g for g in gradients_of(loss, parameters)]
    loss_a, loss_p = plain.loss_a, plain.loss_p
    plain.loss_a, plain.loss_p = (lambda probe=False, x=x: 2 * x(probe=probe) for x in (loss_a, loss_p))
    for _ in range(3):
        step(averaged, method, L1(GAMMA))
        step(plain, method, L1(GAMMA))
    for one, other in zip([*averaged.w, *averaged.alpha], [*plain.w, *plain.alpha], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_the_finite_difference_is_epsilon_long():
    (w0, a0), seen = np.random.default_rng(5).normal(size=(2, 3)), []
    sets, w, _, _ = problem(w0, a0)
    loss_a = sets.loss_a
    sets.loss_a = lambda *, probe=False: (seen.append(w.detach().clone()), loss_a(probe=probe))[1]
    darts2_step(sets, Darts2(xi=0.1, epsilon=0.02), L1(0.0))
    lengths = [float((x - torch.tensor(w0)).norm()) for x in seen]
    assert lengths == pytest.approx([0, 0.02, 0.02, 0], abs=1e-12)
    torch.testing.assert_close(seen[1] + seen[2], 2 * torch.tensor(w0))


def test_second_order_gradient_is_the_total_derivative():
    """alpha's direction is d/da L_p(w - xi grad_w L_a(w, a), a), which autograd gives through the virtual step."""
    (w0, a0), xi = np.random.default_rng(2).normal(size=(2, 3)), 0.1
    sets, w, alpha, _ = problem(w0, a0)
    virtual = w - xi * torch.autograd.grad(sets.loss_a(), w, create_graph=True)[0]
    loss = 0.5 * (torch.tensor(B) @ (virtual * alpha) - torch.tensor(D)).square().sum()
    exact = torch.autograd.grad(loss, alpha)[0]
    darts2_step(sets, Darts2(xi=xi, epsilon=1e-3), L1(0.0))
    found = (torch.tensor(a0) - alpha.detach()) / ETA_A
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-8)


def test_virtual_steps_are_probes_and_leave_the_weights_bit_by_bit():
    w0, a0 = np.random.default_rng(3).normal(size=(2, 3))
    sets, w, _, probes = problem(w0, a0)
    sets.opt_w = torch.optim.SGD([w], lr=0.0)
    darts2_step(sets, Darts2(xi=0.3), L1(0.0))
    assert torch.equal(w.detach(), torch.tensor(w0))
    assert probes == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("step", "method", "passes"),
    [(darts1_step, Darts1(), [False, False]), (milenas1_step, MiLeNas1(), [False, False, True])],
)
def test_only_the_first_pass_of_a_batch_is_no_probe(step, method, passes):
    sets, _, _, probes = problem(np.ones(3), np.ones(3))
    step(sets, method, L1(0.0))
    assert probes == passes


def test_a_flat_validation_loss_does_not_divide_by_zero():
    sets, w, alpha, _ = problem(np.ones(3), np.ones(3))
    for slope in (0, 1e-42):
        sets.loss_p = lambda *, probe=False, slope=slope: (slope * w * alpha).sum()
        darts2_step(sets, Darts2(), L1(0.0))
        assert torch.isfinite(alpha).all()


def test_an_infinite_validation_loss_reaches_the_scores_and_raises_nothing():
    sets, w, alpha, _ = problem(np.ones(3), np.ones(3))
    sets.loss_p = lambda *, probe=False: (1e200 * w.square() * alpha).square().sum()
    darts2_step(sets, Darts2(), L1(0.0))
    assert not torch.isfinite(alpha).all()
