"""RVSM and group lasso against numpy, scorers."""

import numpy as np
import pytest
import torch
from torch import nn

from compress.penalties import L1
from compress.plan import UserError
from compress.search import (
    GroupLasso,
    Joint,
    Magnitude,
    OneSet,
    Rvsm,
    grouplasso_step,
    joint_step,
    magnitude_scores,
    random_scores,
    rvsm_step,
    taylor_scores,
)
from compress.search.descent import gradients_of
from compress.search.scorers import channel_rows
from compress.spaces import Group, PreResNetSpace, columns, norm_scales, rows

ETA = 0.1
SPACE = PreResNetSpace(11, 4)
INPUT = (3, 8, 8)


def one_set(w0, a0):
    """L = 1/2 |w|^2 + 1/2 |a - w|^2 with a of any shape and w like it."""
    w, a = (nn.Parameter(torch.tensor(x, dtype=torch.float64)) for x in (w0, a0))
    optimisers = [torch.optim.SGD([p], lr=ETA) for p in (w, a)]
    return OneSet(lambda: 0.5 * w.square().sum() + 0.5 * (a - w).square().sum(), [w], [a], *optimisers), w, a


@pytest.mark.parametrize("penalty", ["l0", "l1", "group"])
def test_rvsm_equals_numpy(penalty):
    rng = np.random.default_rng(1)
    w, a = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    gamma, beta = 0.3, 0.8
    sets, w_torch, a_torch = one_set(w, a)
    u_torch = [a_torch.detach().clone()]
    u = a.copy()
    for _ in range(20):
        logs = rvsm_step(sets, u_torch, Rvsm(penalty, beta), gamma)
        assert logs["loss"].item() == pytest.approx(0.5 * np.sum(w**2) + 0.5 * np.sum((a - w) ** 2))
        grad_w, grad_a = w - (a - w), a - w
        w, a = w - ETA * grad_w, a - ETA * grad_a - ETA * beta * (a - u)
        if penalty == "l0":
            u = np.where(np.abs(a) > np.sqrt(2 * gamma / beta), a, 0)
        elif penalty == "l1":
            u = np.sign(a) * np.maximum(np.abs(a) - gamma / beta, 0)
        else:
            u = a * np.maximum(1 - gamma / beta / np.linalg.norm(a, axis=1, keepdims=True), 0)
        for found, expected in ((w_torch, w), (a_torch, a), (u_torch[0], u)):
            np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9, atol=1e-12)
    assert (u == 0).any(), "the penalty is strong enough to matter"


@pytest.mark.parametrize("mode", ["subgradient", "proximal"])
def test_group_lasso_equals_numpy(mode):
    rng = np.random.default_rng(2)
    w, a = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    gamma = 0.4
    sets, w_torch, a_torch = one_set(w, a)
    for _ in range(10):
        logs = grouplasso_step(sets, GroupLasso(), L1(gamma, mode))
        assert logs["loss"].item() == pytest.approx(0.5 * np.sum(w**2) + 0.5 * np.sum((a - w) ** 2))
        grad_w, grad_a = w - (a - w), a - w
        norms = np.linalg.norm(a, axis=1, keepdims=True)
        w = w - ETA * grad_w
        if mode == "subgradient":
            a = a - ETA * (grad_a + gamma * a / norms)
        else:
            a = a - ETA * grad_a
            a = a * np.maximum(1 - ETA * gamma / np.linalg.norm(a, axis=1, keepdims=True), 0)
        np.testing.assert_allclose(w_torch.detach().numpy(), w, rtol=1e-9)
        np.testing.assert_allclose(a_torch.detach().numpy(), a, rtol=1e-9, atol=1e-12)


def test_gradients_are_averaged_over_processes():
    """Doubling them is descending at twice the rate, where nothing else moves the parameters."""
    start = np.random.default_rng(3).normal(size=(2, 4, 3))
    steps = [lambda s: grouplasso_step(s, GroupLasso(), L1(0.0)), lambda s: joint_step(s, Joint(), L1(0.0))]
    for step in steps:
        (averaged, *found), (plain, *expected) = one_set(*start), one_set(*start)
        averaged.gradient = lambda loss, parameters: [2 * g for g in gradients_of(loss, parameters)]
        for optimiser in (plain.opt_w, plain.opt_alpha):
            optimiser.param_groups[0]["lr"] = 2 * ETA
        step(averaged)
        step(plain)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)


def test_random_scores_follow_the_seed():
    first, again, other = (random_scores(SPACE, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layer3.0.conv1"], other["layer3.0.conv1"])


@pytest.mark.parametrize("p", [1, 2])
def test_magnitude_is_the_normalised_norm_of_filters(p):
    model = SPACE.build()
    scores = magnitude_scores(model, SPACE, Magnitude(p))
    weight = model.layer1[0].conv1.weight.detach().flatten(1)
    norms = (weight.abs() ** p).sum(1) ** (1 / p)
    torch.testing.assert_close(scores["layer1.0.conv1"], norms / norms.mean())
    inputs = PreResNetSpace(11, 4, score_inputs=True)
    columns = magnitude_scores(model, inputs, Magnitude(p))["layer2.0.input"]
    expected = model.layer2[0].conv1.weight.detach().flatten(2).norm(p=p, dim=(0, 2))
    torch.testing.assert_close(columns, expected / expected.mean())


def test_magnitudes_have_no_scale():
    torch.manual_seed(0)
    model = SPACE.build()
    before = magnitude_scores(model, SPACE, Magnitude())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e-3)
    torch.testing.assert_close(magnitude_scores(model, SPACE, Magnitude()), before)


def test_all_producers_and_all_readers_of_a_channel_count():
    """Two linear layers make its channels, beside a bias-like vector, or two read them."""
    model = nn.ModuleDict({name: nn.Linear(3, 3) for name in "abcd"} | {"norm": nn.LayerNorm(3)})
    made = channel_rows(model, Group("g", 3, rows("a", "norm", "b"), columns("c", "d")))
    assert torch.equal(made, torch.cat([model["a"].weight, model["b"].weight], dim=1))
    read = channel_rows(model, Group("g", 3, rows("norm"), columns("c", "d")))
    assert torch.equal(read, torch.cat([model["c"].weight.T, model["d"].weight.T], dim=1))


def test_taylor_scores_are_means_over_batches():
    torch.manual_seed(0)
    model, batches = SPACE.build(), [(torch.randn(3, *INPUT), torch.arange(3)) for _ in range(3)]

    def loss(network, data):
        return torch.nn.functional.cross_entropy(network(data[0]), data[1])

    each = [taylor_scores(model, SPACE, loss, [batch]) for batch in batches]
    for name, score in taylor_scores(model, SPACE, loss, batches).items():
        torch.testing.assert_close(score, torch.stack([own[name] for own in each]).mean(0))
    assert not any(score.any() for score in taylor_scores(model, SPACE, loss, []).values())


def test_taylor_scores_are_squared_gate_gradients_by_finite_differences():
    torch.manual_seed(0)
    model = SPACE.build().double().eval()
    batch = (torch.randn(6, *INPUT, dtype=torch.float64), torch.arange(6) % 4)

    def loss(network, data):
        return torch.nn.functional.cross_entropy(network(data[0]), data[1])

    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores = taylor_scores(model, SPACE, loss, [batch])
    step = 1e-5
    with torch.no_grad():
        weight = model.layer2[0].conv2.weight  # reads layer2.0.conv1
        changes = []
        for sign in (1, -1):
            weight[:, 3] *= 1 + sign * step
            changes.append(float(loss(model, batch)))
            weight[:, 3] /= 1 + sign * step
    slope = (changes[0] - changes[1]) / (2 * step)
    assert float(scores["layer2.0.conv1"][3]) == pytest.approx(slope**2, rel=1e-4)
    model.load_state_dict(before)
    assert not any(hasattr(module, "score") for module in model.modules())


def test_netslim_says_when_a_space_has_no_batch_norm():
    model = SPACE.build()
    model.layer1[0].bn2 = nn.Identity()
    with pytest.raises(UserError, match=r"group 'layer1\.0\.conv1' has no BatchNorm"):
        norm_scales(model, SPACE.groups)
