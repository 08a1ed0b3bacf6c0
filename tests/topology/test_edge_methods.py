"""Search methods on edges of real supernets: every one moves its logits, DARTS-2 follows the exact second order."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from compress.engine.searchers import SearchModel
from compress.engine.settings import SearchConfig
from compress.engine.tasks import CrossEntropy
from compress.plan import DARTS, UserError
from compress.topology import DartsSupernetSpace, NatsSupernetSpace, TopologySearch

SGD = {"type": "SGD", "lr": 0.1}


class Exact(CrossEntropy):
    """Cross entropy in float64."""

    def loss(self, network, batch, *, label_smoothing=0.0):
        return F.cross_entropy(network(batch[0]), batch[1])


def model_of(space, method, objective=None, **settings):
    config = TopologySearch(1, method, optimizer=SGD, alpha_optimizer={"type": "SGD", "lr": 1.0}, **settings)
    torch.manual_seed(0)
    return SearchModel(space.build(), space, config, input_size=(3, 8, 8), objective=objective).train()


def batch(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 8, 8, generator=generator), torch.arange(n) % 4


@pytest.mark.parametrize("name", ["rarts", "darts1", "darts2", "milenas1", "joint"])
def test_every_method_moves_the_logits_of_all_edges(name):
    space = DartsSupernetSpace(4, 3, num_classes=4, partial=2, edge_norm=True)
    model = model_of(space, {"type": name})
    halves = {"p": batch(4, 1), "a": batch(4, 2)}
    model.train_step(halves if model.method.halves else halves["p"], model.optimizers())
    operations, edges = model.source.alpha()[:2], model.source.alpha()[2:]
    for alpha in operations:
        moved = alpha.detach().abs().amax(1)
        assert moved.min() > 0, "an edge whose logits nothing moves"
    assert all(float(alpha.detach().abs().max()) > 0 for alpha in edges)
    assert sum(score.numel() for score in model.scores().values()) == 224
    assert len(model.scores()) == 2 * len(DARTS.edges)


def test_held_scores_stay_and_the_weights_learn():
    space = NatsSupernetSpace(4, 1, num_classes=4)
    config = TopologySearch(3, {"type": "rarts"}, optimizer=SGD, hold_epochs=2)
    torch.manual_seed(0)
    model = SearchModel(space.build(), space, config, input_size=(3, 8, 8)).train()
    optimizers, (alpha,) = model.optimizers(), model.source.alpha()
    for epoch, held in ((0, True), (1, True), (2, False)):
        model.set_epoch(epoch)
        before, weights = alpha.detach().clone(), model.u.classifier.weight.detach().clone()
        model.train_step({"p": batch(4, 1), "a": batch(4, 2)}, optimizers)
        assert torch.equal(before, alpha.detach()) == held
        assert not torch.equal(weights, model.u.classifier.weight)
    assert optimizers["alpha"].param_groups[0]["lr"] == config.alpha_optimizer["lr"]


def test_scores_are_not_held_to_the_end():
    with pytest.raises(UserError, match=r"search.hold_epochs = 3: must be from 0 to epochs - 1"):
        TopologySearch(3, {"type": "rarts"}, hold_epochs=3)


def test_darts2_follows_the_exact_gradient_of_the_unrolled_loss():
    space = NatsSupernetSpace(4, 1, num_classes=4)
    model = model_of(space, {"type": "darts2", "xi": 0.05, "epsilon": 1e-6}, Exact()).double()
    train, validation = ((x.double(), y) for x, y in (batch(6, 1), batch(6, 2)))
    network, (alpha,) = model.weights("w"), model.source.alpha()
    with torch.no_grad():
        alpha.copy_(torch.randn(alpha.shape, generator=torch.Generator().manual_seed(3)))
    start = alpha.detach().clone()
    w = dict(network.named_parameters())

    def loss(tensors, data):
        return F.cross_entropy(functional_call(network, tensors, data[0]), data[1])

    slopes = torch.autograd.grad(loss(w, train), list(w.values()), create_graph=True)
    unrolled = {name: p - 0.05 * slope for (name, p), slope in zip(w.items(), slopes, strict=True)}
    (exact,) = torch.autograd.grad(loss(unrolled, validation), alpha)
    (first,) = torch.autograd.grad(loss(w, validation), alpha)
    model.train_step({"p": validation, "a": train}, model.optimizers())
    followed = start - alpha.detach()  # a step of length 1
    torch.testing.assert_close(followed, exact, rtol=1e-3, atol=1e-6)
    assert float((first - exact).abs().max()) > 20 * float((followed - exact).abs().max()), "the second order counts"


def test_the_fused_step_computes_each_loss_once(monkeypatch):
    space = NatsSupernetSpace(4, 1, num_classes=4)
    counts = {}
    for order in ("fused", "gauss-seidel"):
        model = model_of(space, {"type": "rarts", "order": order})
        passes = []
        for name in "uw":
            model.weights(name).register_forward_hook(lambda *_, name=name, passes=passes: passes.append(name))
        model.train_step({"p": batch(4, 1), "a": batch(4, 2)}, model.optimizers())
        counts[order] = sorted(passes)
    assert counts == {"fused": ["u", "w"], "gauss-seidel": ["u", "u", "w", "w"]}


def test_a_supernet_after_the_search_is_no_longer_the_searchs():
    space = NatsSupernetSpace(4, 1, num_classes=4)
    model = model_of(space, {"type": "rarts", "order": "fused"})
    model.train_step({"p": batch(4, 1), "a": batch(4, 2)}, model.optimizers())
    folded = model.folded(space)
    even = folded.weights(torch.device("cpu"))["cell"]
    assert torch.equal(even, torch.full((6, 5), 0.2))
    own = model.weights("u").weights(torch.device("cpu"))["cell"]
    assert torch.equal(own, model.weights("w").weights(torch.device("cpu"))["cell"])
    assert not torch.equal(own, even)


def test_a_penalty_of_edges_is_refused_by_a_search_of_widths():
    with pytest.raises(UserError, match=r"search\.penalty = 'zero_one': rarts has no edges"):
        SearchConfig(1, {"type": "rarts"}, penalty="zero_one")
