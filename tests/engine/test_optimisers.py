"""Optimisers of recipes: registered types, arguments of the right kinds, and able to make a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from compress.engine.optimisers import check_optimizer, make_optimizer
from compress.engine.settings import SearchConfig, TrainConfig
from compress.plan import UserError


def make(**settings: Any) -> torch.optim.Optimizer:
    return make_optimizer(settings, [nn.Parameter(torch.zeros(3))], name="train.optimizer")


@pytest.mark.parametrize(
    "kind",
    ["pydoc.pipepager", "torch.optim.SGD", "mmengine.SGD", "mmengine::SGD", "builtins.exec", "", None, 3, [], "Sgd"],
)
def test_only_registered_types(kind: Any) -> None:
    with pytest.raises(UserError, match=r"^train\.optimizer\.type = .*: no such type; use 'SGD'"):
        make(type=kind, lr=0.1)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"type": "SGD", "lr": "fast"}, "lr = 'fast'"),
        ({"type": "SGD", "lr": True}, "lr = True"),
        ({"type": "SGD", "lr": 1e30}, "lr = 1e\\+30: must be a finite number of at least 0 and at most 10000"),
        ({"type": "SGD", "lr": -0.1}, "lr = -0.1"),
        ({"type": "SGD", "lr": 0.1, "momentum": "x"}, "momentum = 'x'"),
        ({"type": "SGD", "lr": 0.1, "nesterov": 1}, "nesterov = 1: must be True or False"),
        ({"type": "SGD", "lr": 0.1, "weight_decay": float("inf")}, "weight_decay = inf"),
        ({"type": "AdamW", "betas": 0.9}, "betas = 0.9: must be a list of 2 numbers"),
        ({"type": "AdamW", "betas": [0.9, "x"]}, r"betas\[1\] = 'x'"),
        ({"type": "AdamW", "betas": [0.9, 2.0]}, "Invalid beta"),
        ({"type": "SGD", "lr": 0.1, "params": []}, "params"),
        ({"type": "SGD", "lr": 0.1, "speed": 3}, "speed"),
    ],
)
def test_wrong_arguments(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=rf"^train\.optimizer.*{says}"):
        make(**settings)


@pytest.mark.parametrize("kind", ["LBFGS", "SparseAdam", "Muon", "Optimizer", "ZeroRedundancyOptimizer"])
def test_those_that_cannot_step_as_training_steps(kind: str) -> None:
    with pytest.raises(UserError, match=r"^search\.alpha_optimizer: "):
        SearchConfig(epochs=1, alpha_optimizer={"type": kind})


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "NAdam", "RAdam", "Adagrad", "Adadelta", "ASGD"])
def test_those_that_can(kind: str) -> None:
    state = torch.get_rng_state()
    check_optimizer({"type": kind, "lr": 0.1}, name="train.optimizer")
    assert TrainConfig(epochs=1, optimizer={"type": kind, "lr": 100.0, "weight_decay": 0}).epochs == 1
    assert torch.equal(torch.get_rng_state(), state)
