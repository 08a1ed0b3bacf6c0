"""The thesis's network, at full size with the slow tests: searched for a step, sliced, saved, exported."""

from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from compress.costs import count_macs, count_params
from compress.export import compare_with_onnx, export_onnx
from compress.penalties import L1
from compress.pruning import Budget, select, slice_model
from compress.search import Rarts, TwoSets, rarts_step
from compress.spaces import Alphas, Card, PreResNetSpace, fold_scores, load_model, save_model

SIZE = (3, 32, 32)
FULL = {20: (219_482, 33_737_216), 164: (1_703_258, 247_646_720)}
"""Depth -> parameters and MACs of the unpruned network."""


def images(n, seed):
    return torch.randn(n, *SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=[20, pytest.param(164, marks=pytest.mark.slow)])
def space(request):
    return PreResNetSpace(request.param, 10, score_inputs=True)


@pytest.fixture(scope="module")
def searched(space, randomised):
    """u and alpha after one iteration of each order on batches of 4."""
    u = randomised(space, 0).train()
    w, alphas = deepcopy(u), Alphas(space.groups)
    alphas.attach(u)
    alphas.attach(w)
    labels = torch.arange(4)
    sets = TwoSets(
        loss_p=lambda probe=False: F.cross_entropy(u(images(4, 1)), labels),
        loss_a=lambda probe=False: F.cross_entropy(w(images(4, 2)), labels),
        u=list(u.parameters()),
        w=list(w.parameters()),
        alpha=list(alphas.parameters()),
        opt_u=torch.optim.SGD(u.parameters(), lr=1e-3),
        opt_w=torch.optim.SGD(w.parameters(), lr=1e-3),
        opt_alpha=torch.optim.SGD(alphas.parameters(), lr=1e-3),
    )
    for order in ("gauss-seidel", "fused"):
        before = alphas.scores(), u.fc.weight.clone(), w.fc.weight.clone()
        logs = rarts_step(sets, Rarts(order=order), L1(1e-4))
        assert all(torch.isfinite(loss) for loss in logs.values())
        assert all(not torch.equal(before[0][name], score) for name, score in alphas.scores().items())
        assert not torch.equal(before[1], u.fc.weight)
        assert not torch.equal(before[2], w.fc.weight)
    return u.eval(), alphas


@pytest.fixture(scope="module")
def sliced(space, searched):
    """Ratio -> (gated network with the pruned scores at zero, sliced network, its space, plan)."""
    u, alphas = searched
    scores = alphas.scores()
    plain = space.build()
    plain.load_state_dict(u.state_dict())
    fold_scores(plain, space, scores)
    networks = {}
    for ratio in (0.4, 0.6):
        plan = select(scores, space.operators(SIZE), Budget("pruning_ratio", ratio), space=space.name)
        networks[ratio] = (*slice_model(plain.eval(), space, plan), plan)
    return networks


@pytest.mark.parametrize("ratio", [0.4, 0.6])
def test_sliced_equals_the_searched_network_with_its_pruned_scores_at_zero(space, searched, sliced, ratio):
    (u, alphas), (n_params, n_macs) = searched, FULL[space.depth]
    small, _, plan = sliced[ratio]
    assert plan.record["pruned_ratio"] == pytest.approx(ratio, abs=1e-3)
    assert count_params(small) == plan.record["params"]["after"] < (1 - ratio) * n_params
    assert count_macs(small, SIZE) == plan.record["macs"]["after"] < (1 - ratio) * n_macs
    before = alphas.scores()
    masked = {name: torch.zeros_like(score) for name, score in before.items()}
    for name, kept in plan.kept.items():
        masked[name][list(kept)] = before[name][list(kept)]
    alphas.load_scores(masked)
    with torch.no_grad():
        expected, found = u(images(2, 3)), small(images(2, 3))
    alphas.load_scores(before)
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-5


def test_the_sliced_network_is_saved_loaded_and_exported(sliced, tmp_path):
    small, small_space, _ = sliced[0.4]
    card = Card(small_space.name, small_space.arch, tuple("0123456789"), {"input_size": list(SIZE)})
    save_model(tmp_path / "model", small, card)
    loaded, loaded_space, _ = load_model(tmp_path)
    assert loaded_space == small_space
    assert all(torch.equal(value, small.state_dict()[name]) for name, value in loaded.state_dict().items())
    export_onnx(loaded, tmp_path / "model.onnx", input_size=SIZE)
    batches = [(images(3, seed), torch.zeros(3, dtype=torch.int64)) for seed in (4, 5)]
    figures = compare_with_onnx(small, tmp_path / "model.onnx", batches, tolerance=1e-4)
    assert figures["n_images"] == 6
    assert figures["top1_agreement"] == 100
