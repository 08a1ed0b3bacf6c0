"""What retraining adds: cutout, gradients that are clipped, an auxiliary head, and paths dropped as epochs pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from quiet import Killed, Quiet
from torch import nn
from torch.nn import functional as F

from compress.engine.data import DataConfig, load_data
from compress.engine.extras import Auxiliary, Progressing
from compress.engine.loaders import eval_loader
from compress.engine.settings import TrainConfig
from compress.engine.training import Classifier, Job, evaluate_top1, train
from compress.plan import UserError

SGD = {"type": "SGD", "lr": 0.05, "momentum": 0.9}


class Small(nn.Module):
    """Two convolutions; a head reads behind the first one, whose outputs are dropped more and more."""

    def __init__(self):
        super().__init__()
        self.conv, self.last, self.fc = nn.Conv2d(3, 4, 3, stride=4), nn.Conv2d(4, 4, 3), nn.Linear(4, 10)
        self.told, self.dropped = [], 0.0

    def forward(self, x):
        return self.with_features(x)[0]

    def with_features(self, x):
        y = F.dropout(F.relu(self.conv(x)), self.dropped, training=self.training)
        return self.fc(self.last(y).mean((2, 3))), y

    def make_auxiliary(self):
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
        return Auxiliary(head, 0.4)

    def set_training_progress(self, share):
        self.told.append(share)
        self.dropped = 0.5 * share


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig(limit=48), seed=0)


def small(seed=0):
    torch.manual_seed(seed)
    return Small()


def run(folder, data, network, *, progress=None, resume=False, **more):
    job = Job(folder / "train", folder / "metrics.jsonl", "train", 0, progress or Quiet(), resume=resume)
    loader = eval_loader(data.test, batch_size=64)
    config = TrainConfig(epochs=3, batch_size=16, optimizer=SGD, **more)
    train(network, data.train, config, job, evaluate=lambda net: evaluate_top1(net, loader))
    return network


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_the_auxiliary_head_adds_to_the_loss_and_is_no_part_of_the_network():
    network = small()
    names = {*network.state_dict()}
    model = Classifier(network, label_smoothing=0.1)
    x, labels = torch.randn(6, 3, 16, 16), torch.arange(6)
    losses = model(x, labels)
    logits, features = network.with_features(x)
    expected = 0.4 * F.cross_entropy(model.auxiliary(features), labels, label_smoothing=0.1)
    assert losses.keys() == {"loss_ce", "loss_auxiliary", "train_top1"}
    assert losses["loss_auxiliary"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["loss_ce"].item() == pytest.approx(F.cross_entropy(logits, labels, label_smoothing=0.1).item())
    assert {*network.state_dict()} == names
    assert {name.partition(".")[0] for name in model.state_dict()} == {"network", "auxiliary"}


def test_a_killed_training_resumes_to_the_same_bits_with_head_and_dropped_paths(tmp_path, data):
    whole = run(tmp_path / "whole", data, small())
    with pytest.raises(Killed):
        run(tmp_path / "killed", data, small(), progress=Quiet(last=2))
    resumed = run(tmp_path / "killed", data, small(seed=5), resume=True)
    assert same(whole, resumed)
    assert whole.told == [0, 1 / 3, 2 / 3]
    assert resumed.told == [1 / 3, 2 / 3], "the epoch that was not saved is told again"
    states = [torch.load(tmp_path / name / "train" / "last.pth", weights_only=True) for name in ("whole", "killed")]
    heads = [state["state_dict"]["auxiliary.2.weight"] for state in states]
    assert torch.equal(*heads)
    network = small()
    fresh = Classifier(network).auxiliary[2].weight
    assert not torch.equal(heads[0], fresh.detach()), "the head is trained"


def test_a_network_that_wants_no_progress_is_not_told():
    Progressing(nn.Linear(2, 2), 4).set_epoch(1)
    network = Small()
    Progressing(network, 4).set_epoch(1)
    assert network.told == [0.25]


def test_gradients_are_clipped_to_the_norm_that_is_given(tmp_path, data):
    """With plain descent and one batch an epoch, no step is longer than rate times norm."""
    norm, rate = 1e-3, 0.5
    network = small()
    before = torch.cat([p.detach().flatten().clone() for p in network.parameters()])
    job = Job(tmp_path / "train", tmp_path / "metrics.jsonl", "train", 0, Quiet())
    config = TrainConfig(epochs=1, batch_size=48, optimizer={"type": "SGD", "lr": rate}, clip_norm=norm)
    train(network, data.train, config, job, evaluate=lambda net: {"top1": 0.0})
    moved = float((torch.cat([p.detach().flatten() for p in network.parameters()]) - before).norm())
    assert 0 < moved <= rate * norm * (1 + 1e-4)
    with pytest.raises(UserError, match=r"train\.clip_norm = 0: must be a finite number above 0"):
        TrainConfig(epochs=1, clip_norm=0)


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_cutout_erases_one_square_and_leaves_the_rest(augment):
    plain = load_data(DataConfig(limit=40, augment=augment, input_size=32), seed=0).train
    cut = load_data(DataConfig(limit=40, augment=augment, input_size=32, cutout=12), seed=0).train
    items = [(i, epoch) for i in range(40) for epoch in range(3)]
    sides, squares = set(), set()
    for (x, label), (y, other) in zip(*(s.train_view(1).__getitems__(items) for s in (plain, cut)), strict=True):
        gone = (y == 0).all(0)
        assert label == other
        assert torch.equal(x[:, ~gone], y[:, ~gone])
        rows, columns = (np.flatnonzero(gone.any(axis)) for axis in (1, 0))
        assert gone.sum() == len(rows) * len(columns) > 0, "a rectangle"
        assert len(rows) == np.ptp(rows) + 1 <= 12
        sides |= {len(rows), len(columns)}
        squares.add((int(rows[0]), int(columns[0])))
    assert max(sides) == 12
    assert min(sides) >= 6, "the centre is inside"
    assert len(squares) > 60
    assert torch.equal(plain.eval_view()[3][0], cut.eval_view()[3][0]), "not in evaluation"


def test_cutout_leaves_the_other_draws_alone():
    split = load_data(DataConfig(limit=10), seed=0).train
    assert replace(split.transform, cutout=4).draws == split.transform.draws + 2
    with pytest.raises(UserError, match="cutout = 0: must be a whole number of at least 1"):
        DataConfig(cutout=0)
