"""Numbers that are no numbers end a stage in one line, before a row, a checkpoint or a network holds them."""

import json
from types import SimpleNamespace

import pytest
import torch
from quiet import Quiet
from torch import nn

from compress.engine import finite
from compress.engine.data import DataConfig, load_data
from compress.engine.finite import FiniteOnly, odd_tensor
from compress.engine.searching import search
from compress.engine.settings import SearchConfig, TrainConfig
from compress.engine.tasks import Classification
from compress.engine.training import Job, train
from compress.plan import UserError
from compress.spaces import PreResNetSpace

SPACE = PreResNetSpace(11, 10)


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig(limit=64), seed=0)


class Breaking(nn.Module):
    """A linear network that breaks in training pass `at`: its answers (`loss`), or its gradients alone (`gradient`)."""

    def __init__(self, at=None, what="loss"):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3 * 32 * 32, 10)
        self.at, self.what, self.passes = at, what, 0

    def forward(self, x):
        self.passes += self.training
        logits = self.linear(x.flatten(1))
        if self.passes != self.at:
            return logits
        # The root of 0 is 0 and its slope infinite.
        return logits * torch.nan if self.what == "loss" else logits + (0 * self.linear.bias.sum()).sqrt()


def run(folder, data, network, *, resume=False, evaluate=lambda _: {}):
    """Three epochs of four iterations."""
    config = TrainConfig(epochs=3, batch_size=16, optimizer={"type": "SGD", "lr": 1e-3})
    job = Job(folder / "train", folder / "metrics.jsonl", "train", 0, Quiet(), resume=resume)
    train(network, data.train, config, job, evaluate=evaluate)
    return network


def rows(folder):
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read]


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (lambda: Breaking(at=7), "train: training diverged in epoch 2: loss = nan in iteration 3 of 4; lower "
         "train.optimizer.lr and start again in a new --work-dir; epoch 1 is kept, from which --resume "
         "goes on"),
        (lambda: Breaking(at=8, what="gradient"), "train: training diverged in epoch 2: network.linear.bias is not "
         "finite; lower train.optimizer.lr and start again in a new --work-dir; epoch 1 is kept, from which "
         "--resume goes on"),
        (lambda: Breaking(at=1), "train: training diverged in epoch 1: loss = nan in iteration 1 of 4; lower "
         "train.optimizer.lr and start again in a new --work-dir"),
    ],
    ids=["loss", "gradient", "first"],
)  # fmt: skip
def test_training_stops_where_it_breaks_and_keeps_the_last_good_epoch(tmp_path, data, network, says):
    broken = network()
    with pytest.raises(UserError) as error:
        run(tmp_path / "broken", data, broken)
    assert str(error.value) == says
    assert broken.passes == broken.at, "not a pass more"
    kept = 1 if "epoch 1 is kept" in says else 0
    assert len(rows(tmp_path / "broken")) == kept
    assert [p.name for p in (tmp_path / "broken/train").glob("last*")] == ["last.pth"] * kept
    whole, resumed = run(tmp_path / "whole", data, Breaking()), run(tmp_path / "broken", data, Breaking(), resume=True)
    assert resumed.passes == 12 - 4 * kept
    assert torch.equal(resumed.linear.weight, whole.linear.weight)
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_epoch_whose_evaluation_is_no_number_is_not_kept(tmp_path, data, value):
    figures = iter([{"val_loss": 1.0}, {"val_loss": value}])
    with pytest.raises(UserError, match=rf"train: training diverged in epoch 2: val_loss = {value} after it; lower"):
        run(tmp_path, data, Breaking(), evaluate=lambda _: next(figures))
    assert [row["epoch"] for row in rows(tmp_path)] == [1]
    assert torch.load(tmp_path / "train/last.pth", weights_only=True)["meta"]["epoch"] == 1


class Poisoned(Classification):
    """Its loss is infinite in pass `at`."""

    def __init__(self, data, at):
        super().__init__(data)
        self.at, self.passes = at, 0

    def loss(self, network, batch, *, label_smoothing=0.0):
        self.passes += 1
        found = super().loss(network, batch, label_smoothing=label_smoothing)
        return found / 0 if self.passes == self.at else found


@pytest.mark.parametrize(
    ("kind", "at", "loss"), [("rarts", 1, "loss_a"), ("darts1", 2, "loss_p"), ("joint", 1, "loss")]
)
def test_searches_name_what_to_lower(tmp_path, data, kind, at, loss):
    config = SearchConfig(epochs=1, batch_size=16, method={"type": kind})
    job = Job(tmp_path / "search", tmp_path / "metrics.jsonl", "search", 0, Quiet())
    says = (
        rf"search: training diverged in epoch 1: {loss} = inf in iteration 1 of \d; "
        r"lower search\.optimizer\.lr, search\.alpha_optimizer\.lr or search\.gamma and start again in a new --work-dir"
    )
    with pytest.raises(UserError, match=says):
        search(SPACE.build(), SPACE, Poisoned(data, at), config, job, evaluate=lambda _: {})
    assert rows(tmp_path) == []
    assert not list((tmp_path / "search").glob("last*"))


def test_what_a_search_hands_over_is_finite(tmp_path, data):
    network = SPACE.build()
    with torch.no_grad():
        network.layer2[0].conv1.weight.fill_(3e38)  # finite, but not the sum of a filter's
    job = Job(tmp_path / "search", tmp_path / "metrics.jsonl", "search", 0, Quiet())
    config = SearchConfig(epochs=1, method={"type": "magnitude"})
    with pytest.raises(UserError, match=r"search: what it found for 'layer2\.0\.conv1' is not finite: .*--checkpoint"):
        search(network, SPACE, Classification(data), config, job, evaluate=lambda _: {})


class Far(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    device = property(lambda self: torch.device("cuda", 0))


def hook_after(losses, *, far):
    """A hook that has seen `losses`, one an iteration, of an epoch of 200; and the runner."""
    hook, runner = FiniteOnly("train"), SimpleNamespace(epoch=4, train_dataloader=range(200), model=nn.Linear(1, 1))
    hook.before_train_epoch(runner)
    for i, loss in enumerate(losses):
        value = torch.tensor(loss)
        hook.after_train_iter(runner, i, None, {"loss": value.as_subclass(Far) if far else value})
    return hook, runner


def test_losses_on_a_gpu_are_looked_at_now_and_then_and_the_first_odd_one_is_named():
    odd = [0.5] * 9 + [float("nan")] * (finite.EVERY - 10)
    hook, runner = hook_after(odd, far=True)
    says = "in epoch 5: loss = nan in iteration 10 of 200;"
    with pytest.raises(UserError, match=says):
        hook.after_train_iter(runner, len(odd), None, {"loss": torch.tensor(1.0).as_subclass(Far)})
    hook, runner = hook_after([0.5] * finite.EVERY + odd[:10], far=True)
    with pytest.raises(UserError, match=f"loss = nan in iteration {finite.EVERY + 10} of 200;"):
        hook.after_train_epoch(runner)
    with pytest.raises(UserError, match=says):
        hook_after(odd[:10], far=False)
    hook, runner = hook_after([0.5] * 7, far=True)
    hook.after_train_epoch(runner)
    assert hook.unseen == []


def test_the_first_odd_tensor_is_named():
    fine = {"a": torch.zeros(2), "b": torch.zeros(0), "count": torch.tensor(3)}
    assert odd_tensor(fine) is None
    assert odd_tensor({}) is None
    for value in (float("nan"), float("inf"), -float("inf")):
        assert odd_tensor({**fine, "c": torch.tensor([[0.0, value]]), "d": torch.tensor(value)}) == "c"
