"""What surrounds a call changes nothing of it, and it changes nothing of its surroundings; what it gives travels on."""

from __future__ import annotations

import pickle
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import random_state
import torch
from odd_networks import Plain
from torch.utils.data import TensorDataset

import compress
from compress.plan import UserError

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(32) % 4)
ONE_SHOT = {"method": "magnitude", "pruning_ratio": 0.4, "round_to": 1, "quiet": True}
LEARNED = {
    "pruning_ratio": 0.4,
    "search": {"epochs": 1, "batch_size": 8},
    "finetune": {"epochs": 1, "batch_size": 8},
    "round_to": 1,
    "quiet": True,
}


def made():
    torch.manual_seed(0)
    return Plain()


@contextmanager
def in_double():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def usual():
    """What a call at the top of a script gives."""
    return compress.prune(made(), X, DATA, **LEARNED)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, in_double, nullcontext])
def test_a_call_gives_the_same_within_anything(around, usual):
    network = made()
    with around(), random_state.untouched("pruning"):
        pruned = compress.prune(network, X, DATA, **LEARNED)
    with around():
        assert compress.groups_of(network, X.clone()).groups
    assert all(
        torch.equal(a, b)
        for a, b in zip(pruned.model.state_dict().values(), usual.model.state_dict().values(), strict=True)
    )


def test_a_result_can_be_pickled(usual):
    again = pickle.loads(pickle.dumps(usual))
    assert torch.equal(again.model(X), usual.model(X))
    assert again.space.build()(X).shape == (2, 4)


def test_scores_of_ones_own_choose_the_channels():
    scored = compress.score(made(), X, method="magnitude", quiet=True)
    mine = {name: list(range(len(each))) for name, each in scored.scores.items()}
    plan = compress.select(replace(scored, scores=mine), pruning_ratio=0.5, round_to=1)
    assert plan.kept == {"a": tuple(range(8 - plan.widths["a"], 8)), "b": tuple(range(6 - plan.widths["b"], 6))}
    for wrong, words in (
        ({"a": mine["a"]}, r"scores\['b'\]: is missing"),
        ({**mine, "c": [1.0]}, r"scores\['c'\]: is no group"),
        ({**mine, "a": [1.0, 2.0]}, r"scores\['a'\]: are \[2\]; give one for each channel, \[8\]"),
        ({**mine, "a": "high"}, r"scores\['a'\]: are no numbers"),
        ({**mine, 1: [1.0], "c": [1.0]}, r"scores\[1\]: is no group"),
        (None, r"scores = NoneType: must map groups to their scores"),
    ):
        with pytest.raises(UserError, match=words):
            compress.select(replace(scored, scores=wrong), pruning_ratio=0.5, round_to=1)


def test_the_mean_of_ones_own_loss_is_over_items_not_batches():
    data = TensorDataset(torch.zeros(12, 3, 8, 8), torch.arange(12.0))
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    pruned = compress.prune(made(), X, val_data=loader, loss=lambda network, batch: batch[1].mean(), **ONE_SHOT)
    assert pruned.before["val_loss"] == 5.5
