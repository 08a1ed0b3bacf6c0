"""Joint steps against a reference in numpy with gradients derived by hand, and with weights of no effect."""

import numpy as np
import pytest
import torch
from torch import nn

from compress.penalties import L1
from compress.search import Bilevel, Darts1, Darts2, Joint, MiLeNas1, NetSlim, OneSet, joint_step
from compress.search.bilevel import darts1_step, darts2_step, milenas1_step

N = 5


@pytest.mark.parametrize("mode", ["subgradient", "proximal"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_every_step_equals_the_numpy_reference(mode, momentum):
    rng = np.random.default_rng(0)
    matrix, b, start = 0.5 * rng.normal(size=(6, N)), rng.normal(size=6), rng.normal(size=N)
    lr_w, lr_a, decay, gamma = 0.05, 0.03, 0.02, 0.9
    w, alpha = nn.Parameter(torch.tensor(start)), nn.Parameter(torch.ones(N, dtype=torch.float64))
    one = OneSet(
        loss=lambda: 0.5 * (torch.tensor(matrix) @ (w * alpha) - torch.tensor(b)).square().sum(),
        w=[w],
        alpha=[alpha],
        opt_w=torch.optim.SGD([w], lr=lr_w, momentum=momentum, weight_decay=decay),
        opt_alpha=torch.optim.SGD([alpha], lr=lr_a, momentum=momentum),
    )
    x, a, v_x, v_a = start.copy(), np.ones(N), np.zeros(N), np.zeros(N)
    for _ in range(25):
        logs = joint_step(one, NetSlim(), L1(gamma, mode))
        residual = matrix @ (x * a) - b
        assert logs["loss"].item() == pytest.approx(0.5 * residual @ residual)
        back = matrix.T @ residual
        grad_x, grad_a = back * a + decay * x, back * x
        if mode == "subgradient":
            grad_a = grad_a + gamma * np.sign(a)
        v_x, v_a = momentum * v_x + grad_x, momentum * v_a + grad_a
        x, a = x - lr_w * v_x, a - lr_a * v_a
        if mode == "proximal":
            a = np.sign(a) * np.maximum(np.abs(a) - lr_a * gamma, 0)
        np.testing.assert_allclose(w.detach().numpy(), x, rtol=0, atol=1e-12)
        np.testing.assert_allclose(alpha.detach().numpy(), a, rtol=0, atol=1e-12)
    assert (np.count_nonzero(a == 0) > 0) == (mode == "proximal")
    assert w.grad is None
    assert alpha.grad is None


def test_weights_that_the_loss_does_not_depend_on_stay_in_every_method():
    def fresh():
        w, idle, alpha = (nn.Parameter(torch.full((2,), value)) for value in (1.0, 3.0, 0.5))
        options = {
            "w": [w, idle],
            "alpha": [alpha],
            "opt_w": torch.optim.SGD([w, idle], lr=0.1),
            "opt_alpha": torch.optim.SGD([alpha], lr=0.1),
        }
        return lambda **given: (w * alpha - 2).square().sum(), options

    for step, method in ((darts1_step, Darts1()), (darts2_step, Darts2()), (milenas1_step, MiLeNas1())):
        loss, options = fresh()
        step(Bilevel(loss_a=loss, loss_p=loss, **options), method, L1(0.0))
        assert options["w"][0][0] != 1
        assert torch.equal(options["w"][1], torch.full((2,), 3.0))
    loss, options = fresh()
    joint_step(OneSet(loss=loss, **options), Joint(), L1(0.0))
    assert options["w"][0][0] != 1
    assert torch.equal(options["w"][1], torch.full((2,), 3.0))
