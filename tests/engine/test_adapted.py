"""Networks whose classifier is fresh and all else pretrained: two rates in one training."""

import json

import pytest
import torch
from quiet import Quiet

from compress.engine.data import DataConfig, load_data
from compress.engine.optimisers import Adapted
from compress.engine.settings import BaselineConfig, pretrained_factor
from compress.engine.training import Classifier, Job, train
from compress.plan import UserError
from compress.spaces import PreResNetSpace

SGD = {"type": "SGD", "lr": 0.05, "momentum": 0.9}


@pytest.mark.parametrize(
    ("optimizer", "given", "factor"),
    [
        (SGD, None, 0.2),
        ({**SGD, "lr": 0.1}, None, 0.1),
        ({**SGD, "lr": 1.0}, None, 0.1),
        ({**SGD, "lr": 0.01}, None, 1.0),
        ({**SGD, "lr": 0.001}, None, 1.0),
        ({**SGD, "lr": 0.0}, None, 1.0),
        ({"type": "SGD"}, None, 1.0),
        ({"type": "AdamW", "lr": 1e-3}, None, 1.0),
        ({"type": "AdamW", "lr": 1e-3}, 0.3, 0.3),
        ({**SGD, "lr": 0.001}, 0.0, 0.0),
    ],
)
def test_rates_of_fine_tuning_are_left_and_larger_ones_lowered(optimizer, given, factor):
    config = BaselineConfig(epochs=1, optimizer=optimizer, pretrained_lr_factor=given)
    assert pretrained_factor(config) == pytest.approx(factor)


@pytest.mark.parametrize("factor", [-0.1, 1.1, "a"])
def test_a_factor_out_of_range_is_refused(factor):
    with pytest.raises(UserError, match=r"train\.pretrained_lr_factor = "):
        BaselineConfig(epochs=1, pretrained_lr_factor=factor)


def build():
    torch.manual_seed(0)
    return PreResNetSpace(11, 10).build()


def test_every_parameter_is_in_one_of_two_groups():
    network = build()
    model = Classifier(network)
    fresh, old = Adapted(("fc",), 0.2).optimizer(SGD, model, network, name="train.optimizer").param_groups
    assert {id(value) for value in fresh["params"]} == {id(value) for value in network.fc.parameters()}
    assert len(fresh["params"]) + len(old["params"]) == len(list(network.parameters()))
    assert (fresh["lr"], old["lr"]) == (0.05, pytest.approx(0.01))


def trained(folder, factor):
    network = build()
    data = load_data(DataConfig(limit=64), seed=0)
    job = Job(folder / "train", folder / "metrics.jsonl", "train", 0, Quiet())
    config = BaselineConfig(epochs=2, batch_size=32, optimizer=SGD, warmup_epochs=1)
    adapted = None if factor is None else Adapted(("fc",), factor)
    train(network, data.train, config, job, evaluate=lambda net: {"top1": 0.0}, adapted=adapted)
    rates = [json.loads(line)["lr"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return dict(network.named_parameters()), rates


def test_pretrained_weights_learn_at_their_share_of_the_rate(tmp_path):
    (whole, rates), (one, same_rates), (still, _) = (
        trained(tmp_path / str(factor), factor) for factor in (None, 1.0, 0.0)
    )
    before = dict(build().named_parameters())
    assert rates == same_rates  # those of the recipe, which the classifier has
    for name, value in before.items():
        torch.testing.assert_close(one[name], whole[name], rtol=1e-6, atol=1e-7)
        assert torch.equal(still[name], value) == (not name.startswith("fc.")), name
