"""RARTS against a reference in numpy with gradients derived by hand, its equilibrium, and its descent."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from compress.penalties import L1
from compress.plan import UserError
from compress.search import Rarts, TwoSets, gradients_of, rarts_step

N = 5
SPLIT = (3, 2)  # the weights are two tensors
SCORES = (1.0, 0.5, -0.4, 0.2, 0.1)
PLAIN = {"lr": 0.05}
HEAVY = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.02}


def problem():
    """L(x, a) = 1/2 |A (x * a) - b|^2 couples weights and scores; one (A, b) for L_p, one for L_a."""
    rng = np.random.default_rng(0)
    data = [(0.5 * rng.normal(size=(6, N)), rng.normal(size=6)) for _ in range(2)]
    for matrix, _ in data:
        matrix[:, -1] = 0  # nothing but the penalty moves the last score
    return data, rng.normal(size=(2, N))


def gradients(data, x, a):
    """(grad_x, grad_a) of 1/2 |A (x * a) - b|^2, by the chain rule."""
    matrix, b = data
    back = matrix.T @ (matrix @ (x * a) - b)
    return back * a, back * x


class NumpySGD:
    """SGD with momentum: g <- g + wd x; v <- mu v + g (v = g at first); x <- x - lr v."""

    def __init__(self, lr, momentum=0.0, weight_decay=0.0):
        self.lr, self.momentum, self.decay, self.v = lr, momentum, weight_decay, None

    def step(self, x, g):
        g = g + self.decay * x
        self.v = g if self.v is None else self.momentum * self.v + g
        return x - self.lr * self.v


class Reference:
    """(2.12) and its fused order in numpy."""

    def __init__(self, method, penalty, settings):
        (self.data_p, self.data_a), (u, w) = problem()
        self.u, self.w, self.a = u.copy(), w.copy(), np.array(SCORES)
        self.opt_u, self.opt_w, self.opt_a = (NumpySGD(**settings) for _ in range(3))
        self.m, self.penalty = method, penalty

    def step(self):
        lam, beta = self.m.lam, self.m.beta
        w_now, u_now, a = self.w, self.u, self.a
        grad_w = lam * gradients(self.data_a, w_now, a)[0] + beta * (w_now - u_now)
        w_new = self.opt_w.step(w_now, grad_w)
        grad_u = gradients(self.data_p, u_now, a)[0] + beta * (u_now - w_new)
        u_new = self.opt_u.step(u_now, grad_u)
        w_seen, u_seen = (w_new, u_new) if self.m.order == "gauss-seidel" else (w_now, u_now)
        grad_a = lam * gradients(self.data_a, w_seen, a)[1] + gradients(self.data_p, u_seen, a)[1]
        gamma = self.penalty.gamma
        if self.penalty.mode == "subgradient":
            a = self.opt_a.step(a, grad_a + gamma * np.sign(a))
        else:
            a = self.opt_a.step(a, grad_a)
            a = np.sign(a) * np.maximum(np.abs(a) - self.opt_a.lr * gamma, 0)
        self.u, self.w, self.a = u_new, w_new, a


def parameters(values):
    return [nn.Parameter(x) for x in torch.tensor(values).split(SPLIT)]


def quadratic(data, weights, alpha):
    matrix, b = map(torch.tensor, data)
    return lambda probe=False: 0.5 * (matrix @ (torch.cat(weights) * alpha) - b).square().sum()


def two_sets(settings, **kwargs):
    (data_p, data_a), (u0, w0) = problem()
    u, w, alpha = parameters(u0), parameters(w0), nn.Parameter(torch.tensor(SCORES, dtype=torch.float64))
    opt_u, opt_w, opt_alpha = (torch.optim.SGD(p, **settings) for p in (u, w, [alpha]))
    loss_p, loss_a = quadratic(data_p, u, alpha), quadratic(data_a, w, alpha)
    return TwoSets(loss_p, loss_a, u, w, [alpha], opt_u, opt_w, opt_alpha, **kwargs)


def assert_equal(sets, reference):
    for found, expected in ((sets.u, reference.u), (sets.w, reference.w), (sets.alpha, reference.a)):
        np.testing.assert_allclose(torch.cat(list(found)).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", ["gauss-seidel", "fused"])
@pytest.mark.parametrize("mode", ["subgradient", "proximal"])
@pytest.mark.parametrize("settings", [PLAIN, HEAVY], ids=["plain", "momentum"])
@pytest.mark.parametrize(("lam", "beta"), [(0.7, 1.3), (2.0, 0.0)])
def test_every_step_equals_the_numpy_reference(order, mode, settings, lam, beta):
    method, penalty = Rarts(lam=lam, beta=beta, order=order), L1(0.6, mode)
    sets, reference = two_sets(settings), Reference(method, penalty, settings)
    zeros = 0
    for i in range(30):
        if i == 15:  # a schedule acts on the proximal step as well
            reference.opt_a.lr = sets.opt_alpha.param_groups[0]["lr"] = 0.02
        logs = rarts_step(sets, method, penalty)
        assert logs.keys() == {"loss_p", "loss_a"}
        before = reference.u, reference.w, reference.a
        reference.step()
        assert_equal(sets, reference)
        zeros += int((sets.alpha[0] == 0).sum())
        if order == "fused":  # both losses belong to the point before the step
            (data_p, data_a), _ = problem()
            for name, (matrix, b), x in (("loss_p", data_p, before[0]), ("loss_a", data_a, before[1])):
                assert logs[name].item() == pytest.approx(0.5 * np.sum((matrix @ (x * before[2]) - b) ** 2))
    assert not logs["loss_p"].requires_grad
    assert all(p.grad is None for p in [*sets.u, *sets.w, *sets.alpha])
    assert (zeros > 0) == (mode == "proximal"), "the proximal step makes exact zeros"


@pytest.mark.parametrize("order", ["gauss-seidel", "fused"])
def test_averaging_sees_the_gradients_of_the_losses_alone(order):
    """Doubling them is doubling both losses: coupling and penalty are not averaged twice."""
    method, penalty = Rarts(lam=0.7, beta=1.3, order=order), L1(0.2)

    def double(loss, parameters):
        return [2 * g for g in gradients_of(loss, parameters)]

    averaged, plain = two_sets(HEAVY, gradient=double), two_sets(HEAVY)
    loss_p, loss_a = plain.loss_p, plain.loss_a
    plain.loss_p = lambda probe=False: 2 * loss_p()
    plain.loss_a = lambda probe=False: 2 * loss_a()
    for _ in range(5):
        rarts_step(averaged, method, penalty)
        rarts_step(plain, method, penalty)
        for a, b in zip([*averaged.u, *averaged.w, *averaged.alpha], [*plain.u, *plain.w, *plain.alpha], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", ["gauss-seidel", "fused"])
def test_gradients_that_share_memory_do_not_mix(order):
    """Autograd hands one tensor to both terms of a sum, and an expanded one to a plain sum."""
    u, w = ([nn.Parameter(torch.tensor([x, x + 1])) for x in start] for start in ((1.0, 3.0), (2.0, 5.0)))
    alpha = [nn.Parameter(torch.ones(2))]
    opts = [torch.optim.SGD(p, lr=0.1) for p in (u, w, alpha)]
    loss = lambda x: lambda probe=False: (x[0] + x[1]).sum() + 0 * alpha[0].sum()  # noqa: E731
    rarts_step(TwoSets(loss(u), loss(w), u, w, alpha, *opts), Rarts(lam=1.0, beta=1.0, order=order), L1(0.0))
    # w' = w - 0.1 (1 + (w - u)); u' = u - 0.1 (1 + (u - w'))
    for start_u, start_w, found_u, found_w in ((1.0, 2.0, u[0], w[0]), (3.0, 5.0, u[1], w[1])):
        new_w = start_w - 0.1 * (1 + start_w - start_u)
        assert found_w[0].item() == pytest.approx(new_w)
        assert found_u[0].item() == pytest.approx(start_u - 0.1 * (1 + start_u - new_w))


def toy(lr_u, lr_w, lr_a, start=(0.0, 0.0, 0.0)):
    """Example 2.4: L_p = a u - 2 a + 1, L_a = w^2 - 2 a w + a^2."""
    u, w, a = (nn.Parameter(torch.tensor([x], dtype=torch.float64)) for x in start)
    opt_u, opt_w, opt_a = (torch.optim.SGD([p], lr=lr) for p, lr in ((u, lr_u), (w, lr_w), (a, lr_a)))
    loss_p, loss_a = lambda probe=False: (a * u - 2 * a + 1).sum(), lambda probe=False: (w - a).square().sum()
    return TwoSets(loss_p, loss_a, [u], [w], [a], opt_u, opt_w, opt_a)


@pytest.mark.parametrize(
    ("order", "passes"),
    [("gauss-seidel", [("a", False), ("p", False), ("a", True), ("p", True)]), ("fused", [("a", False), ("p", False)])],
)
def test_a_second_pass_of_a_batch_is_a_probe(order, passes):
    sets, found = two_sets(PLAIN), []
    loss_p, loss_a = sets.loss_p, sets.loss_a
    sets.loss_p = lambda *, probe=False: (found.append(("p", probe)), loss_p())[1]
    sets.loss_a = lambda *, probe=False: (found.append(("a", probe)), loss_a())[1]
    rarts_step(sets, Rarts(order=order), L1(0.1))
    assert found == passes


@pytest.mark.parametrize("order", ["gauss-seidel", "fused"])
def test_the_solvable_model_goes_to_its_closed_form(order):
    lam, beta = 10, 5
    sets = toy(0.03, 0.03, 0.03, start=(2.0, -1.0, 3.0))
    for _ in range(1500):
        rarts_step(sets, Rarts(lam=lam, beta=beta, order=order), L1(0.0))
    q = 4 * beta * lam - beta - 2 * lam
    w, u, a = (4 * beta * lam - 2 * beta) / q, (4 * beta * lam - 2 * beta - 4 * lam) / q, 4 * beta * lam / q
    found = [p.item() for p in (*sets.w, *sets.u, *sets.alpha)]
    np.testing.assert_allclose(found, [w, u, a], rtol=0, atol=1e-8)
    # The equilibrium equations (2.19), in these letters
    assert lam * (2 * w - 2 * a) + beta * (w - u) == pytest.approx(0, abs=1e-12)
    assert a + beta * (u - w) == pytest.approx(0, abs=1e-12)
    assert lam * (2 * a - 2 * w) + (u - 2) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("lam", "beta"), [(1.0, 1.0), (0.3, 4.0), (10.0, 5.0)])
def test_the_lagrangian_does_not_increase_under_the_bounds_of_theorem_2_2(lam, beta):
    lipschitz = 4.0  # of the gradients: the Hessians' largest eigenvalues are 1 (L_p) and 4 (L_a)
    sets = toy(
        0.5 / (beta / 2 + lipschitz),
        0.5 / (beta / 2 + lam * lipschitz),
        0.5 / ((1 + lam) * lipschitz),
        (2.0, -1.0, 3.0),
    )

    def lagrangian():
        u, w = sets.u[0], sets.w[0]
        return (sets.loss_p() + lam * sets.loss_a() + beta / 2 * (u - w).square().sum()).item()

    values = [lagrangian()]
    for _ in range(100):
        rarts_step(sets, Rarts(lam=lam, beta=beta), L1(0.0))
        values.append(lagrangian())
    assert all(after <= before + 1e-12 for before, after in pairwise(values))
    assert values[-1] < values[0] - 1


@pytest.mark.parametrize("settings", [{"order": "jacobi"}, {"lam": -1.0}, {"beta": float("nan")}, {"beta": "1"}])
def test_impossible_parameters_are_refused_by_name(settings):
    with pytest.raises(UserError, match=rf"search\.method\.{next(iter(settings))} = "):
        Rarts(**settings)
