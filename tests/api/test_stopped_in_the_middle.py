"""Calls that end in the middle, by a number that is none or by Ctrl-C: one line, and no folder that looks whole."""

from __future__ import annotations

import pytest
import torch
from odd_networks import Plain
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import compress
from compress.plan import UserError

X = torch.zeros(1, 3, 8, 8)
LOADER = DataLoader(TensorDataset(torch.randn(32, 3, 8, 8), torch.arange(32) % 4), batch_size=8)
OPTIONS = {"pruning_ratio": 0.4, "round_to": 1, "search": {"epochs": 1}, "finetune": 2, "quiet": True}


def ending(call, what):
    """Cross entropy that from its `call`-th call on is NaN, or raises `what`."""
    calls = 0

    def loss(network, batch):
        nonlocal calls
        calls += 1
        if calls >= call and isinstance(what, type):
            raise what
        value = F.cross_entropy(network(batch[0]), batch[1])
        return value * what if calls >= call else value

    return loss


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            3,
            r"^search: training diverged in epoch 1: .* = nan in iteration 1 of 2; lower search.optimizer.lr,.*again$",
        ),
        (20, r"^finetune: training diverged in epoch 2: .*; lower finetune.optimizer.lr and call again; epoch 1 was"),
    ],
)
def test_a_loss_that_becomes_no_number_is_one_line_in_the_words_of_python(call, words, tmp_path):
    with pytest.raises(UserError, match=words) as error:
        compress.prune(Plain(), X, LOADER, loss=ending(call, float("nan")), work_dir=tmp_path / "run", **OPTIONS)
    assert "--" not in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "model.json").exists()


def test_ctrl_c_leaves_no_network_and_a_folder_that_is_not_taken_again(tmp_path):
    network, folder = Plain().train(), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        compress.prune(network, X, LOADER, loss=ending(16, KeyboardInterrupt), work_dir=folder, **OPTIONS)
    assert network.training
    assert {path.name for path in folder.iterdir()}.isdisjoint({"model.json", "model.safetensors", "plan.json"})
    with pytest.raises(UserError, match=r"model.json: no such file"):
        compress.load(folder, network=Plain())
    with pytest.raises(UserError, match=r"^work_dir = .*: is not empty; give a new folder"):
        compress.prune(network, X, LOADER, work_dir=folder, **OPTIONS)
