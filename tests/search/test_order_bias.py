"""Both orders of RARTS rest where full batches say; with mini-batches Gauss-Seidel's scores follow the noise."""

import pytest
import torch

from compress.search import Rarts
from compress.search.order_bias import (
    EQUILIBRIUM,
    TARGET,
    NoisyModel,
    descent,
    predicted_bias,
    predicted_shift,
    score_shift,
)

ORDERS = ("gauss-seidel", "fused")


@pytest.mark.parametrize("optimizer", [descent(0.1), descent(0.02, momentum=0.9)], ids=["plain", "momentum"])
@pytest.mark.parametrize("order", ORDERS)
def test_full_batches_bring_both_orders_to_the_one_equilibrium(order, optimizer):
    model = NoisyModel(Rarts(order=order, lam=0.7, beta=0.3), copies=1, optimizer=optimizer)
    with torch.no_grad():
        for parameter in (model.u, model.w, model.alpha):
            parameter.add_(0.2)
    y = torch.full((1,), TARGET, dtype=torch.float64)
    for _ in range(400):
        model.step(y, y)
    found = [parameter.item() for parameter in (model.u, model.w, model.alpha)]
    assert found == pytest.approx(EQUILIBRIUM, abs=1e-6)


def test_weight_decay_moves_both_orders_to_one_other_place():
    found = []
    for order in ORDERS:
        model = NoisyModel(Rarts(order=order), copies=1, optimizer=descent(0.2, weight_decay=0.05))
        y = torch.full((1,), TARGET, dtype=torch.float64)
        for _ in range(200):
            model.step(y, y)
        found.append(model.alpha.item())
    assert found[0] == pytest.approx(found[1], abs=1e-9)
    assert abs(found[0] - TARGET) > 0.005


@pytest.mark.parametrize("lam", [1.0, 0.4])
@pytest.mark.parametrize("eta", [0.02, 0.01])
def test_gauss_seidels_scores_are_drawn_along_the_noise_of_the_batches(eta, lam):
    """By hand: w' = 1 +- eta lam s/2 on the batch 1/2 +- s, and alpha's gradient there is w' (w' / 2 - y)."""
    noise = 1.5
    by_hand = sum(
        weight * (eta * weight * noise**2 / 2 - (eta * weight * noise) ** 2 / 8) for weight in (1.0, lam)
    )  # of L_p, of lam L_a
    found = score_shift(Rarts(order="gauss-seidel", lam=lam, beta=0.0), eta=eta, noise=noise)
    assert found == pytest.approx(by_hand, rel=1e-9)
    first_order = predicted_shift(Rarts(lam=lam), eta=eta, noise=noise)
    assert abs(found - first_order) < eta * first_order, "what is left is of second order"
    tied = score_shift(Rarts(order="gauss-seidel", lam=lam, beta=1.0), eta=eta, noise=noise)
    assert tied == pytest.approx(found, rel=1e-3), "beta counts in higher orders alone"
    assert score_shift(Rarts(order="fused", lam=lam), eta=eta, noise=noise) == pytest.approx(0, abs=1e-9)


def test_the_mean_score_follows_where_the_drawn_equation_of_alpha_is_zero():
    """The predicted bias solves the equilibrium's equations with alpha's shifted, by a difference quotient of both."""
    eta, noise, h = 0.01, 1.0, 1e-6

    def alpha_gradient(alpha):
        w = (1 + alpha * TARGET) / (1 + alpha**2)  # where w and u rest at this alpha
        return 2 * w * (alpha * w - TARGET)

    slope = (alpha_gradient(TARGET + h) - alpha_gradient(TARGET - h)) / (2 * h)
    expected = predicted_shift(Rarts(), eta=eta, noise=noise) / slope
    assert predicted_bias(eta=eta, noise=noise) == pytest.approx(expected, rel=1e-6)
