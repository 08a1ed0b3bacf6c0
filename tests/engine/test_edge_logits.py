"""Scores of another place, the logits of operations on the edges of a cell, driven by the steps that drive gates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from compress.engine.searchers import SearchModel
from compress.engine.settings import SearchConfig
from compress.penalties import PENALTIES, ExpectedLatency, PenaltyType
from compress.plan import UserError
from compress.search import METHODS, ScoreSource

LATENCY_EO = torch.tensor([[0.0, 1.0, 9.0], [9.0, 1.0, 0.0]])
DEAR = {"edge0": 2, "edge1": 0}


class Edge(nn.Module):
    """A mixture of three operations on [B, 4, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = nn.ModuleList([nn.Conv2d(4, 4, k, padding=k // 2, bias=False) for k in (1, 3, 5)])
        self.logits = lambda: torch.zeros(3)

    def forward(self, x):
        return sum(p * operation(x) for p, operation in zip(self.logits().softmax(0), self.operations, strict=True))


class CellSpace:
    """A stem, two edges and a classifier; it has no groups of channels."""

    name, groups = "cell", ()

    def build(self):
        edges = [Edge(), nn.BatchNorm2d(4), nn.ReLU(), Edge(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
        return nn.Sequential(nn.Conv2d(3, 4, 3), *edges)


class EdgeLogits(nn.Module, ScoreSource):
    """Logits of the operations on every edge, shared by all networks; they score by their softmax."""

    place = "edges"

    def __init__(self, n_edges):
        super().__init__()
        self.edges = nn.ParameterList(torch.zeros(3) for _ in range(n_edges))

    @classmethod
    def of(cls, networks, site):
        logits = cls(2)
        for network in networks:
            for i, edge in enumerate(module for module in network.modules() if isinstance(module, Edge)):
                edge.logits = lambda i=i: logits.edges[i]
        return logits

    def alpha(self):
        return list(self.edges)

    def scores(self, values=None):
        found = self.alpha() if values is None else values
        return {f"edge{i}": value.detach().softmax(0).cpu() for i, value in enumerate(found)}


@pytest.fixture(params=["rarts", "darts1", "darts2", "milenas1", "joint"])
def kind(request, monkeypatch):
    """The name of a method whose scores live on edges, and a penalty on them."""
    name = f"{request.param}-edges"
    monkeypatch.setitem(METHODS, name, replace(METHODS[request.param], name=name, source=EdgeLogits))
    penalty = PenaltyType("edges", lambda terms: ExpectedLatency(terms.gamma, LATENCY_EO), places=("edges",))
    monkeypatch.setitem(PENALTIES, "edges", penalty)
    return name


def stepped(kind, gamma, n=8):
    torch.manual_seed(0)
    space = CellSpace()
    sgd = {"type": "SGD", "lr": 0.05}
    config = SearchConfig(
        1, {"type": kind}, gamma=gamma, penalty="edges", optimizer=sgd, alpha_optimizer={**sgd, "lr": 0.2}
    )
    network = space.build()
    model = SearchModel(network, space, config, input_size=(3, 8, 8)).train()
    optimizers = model.optimizers()
    for _ in range(n):
        halves = {half: (torch.randn(6, 3, 8, 8), torch.arange(6) % 3) for half in "pa"}
        model.train_step(halves if model.method.halves else halves["p"], optimizers)
    return network, model, space


def test_every_gated_method_moves_edge_logits_and_hears_their_penalty(kind):
    _, free, _ = stepped(kind, 0.0)
    _, charged, _ = stepped(kind, 1.0)
    assert all(float((score - 1 / 3).abs().max()) > 1e-6 for score in free.scores().values())
    for edge, dear in DEAR.items():
        assert float(charged.scores()[edge][dear]) < float(free.scores()[edge][dear]) - 0.1
    assert charged.info()["penalty"] == "edges"
    assert charged.strength() is None


def test_weight_sets_share_the_logits_and_go_on_as_they_are(kind):
    network, model, space = stepped(kind, 0.5, n=2)
    sets = [model.weights(name) for name in model.method.weight_sets]
    for own in sets:
        assert own[1].logits() is model.source.edges[0]
        assert not torch.equal(own[0].weight, network[0].weight)
    folded = model.folded(space)
    mean = torch.stack([own[0].weight for own in sets]).mean(0)
    torch.testing.assert_close(folded[0].weight, mean, rtol=0, atol=1e-7)
    assert torch.equal(folded[1].logits(), torch.zeros(3)), "no longer the search's"


def test_a_penalty_of_edges_is_refused_by_methods_with_gates(kind):
    name = kind.removesuffix("-edges")
    message = rf"search\.penalty = 'edges': {name} has no edges for it to act on; use .*{kind}"
    with pytest.raises(UserError, match=message):
        SearchConfig(epochs=1, method={"type": name}, penalty="edges")
    with pytest.raises(UserError, match=rf"search\.fixed_scale = True: {kind} has no gates to scale"):
        SearchConfig(epochs=1, method={"type": kind}, penalty="edges", fixed_scale=True)
