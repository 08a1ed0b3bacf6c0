"""Ordinary training: distillation, resuming, rates, evaluation."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.registry import OPTIMIZERS
from quiet import Killed, Quiet
from torch import nn

from compress.engine.data import DataConfig, load_data
from compress.engine.loaders import eval_loader
from compress.engine.settings import DistillConfig, FinetuneConfig, TrainConfig
from compress.engine.training import Classifier, Job, distillation_loss, evaluate_top1, train
from compress.plan import UserError
from compress.spaces import PreResNetSpace

SGD = {"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig(limit=64, input_size=16, resize=16), seed=0)


def build(seed=0):
    torch.manual_seed(seed)
    return PreResNetSpace(11, 10).build()


def run(folder, data, network, config, *, progress=None, resume=False, teacher=None):
    job = Job(folder / "finetune", folder / "metrics.jsonl", "finetune", 0, progress or Quiet(), resume=resume)
    loader = eval_loader(data.test, batch_size=64)
    train(network, data.train, config, job, evaluate=lambda net: evaluate_top1(net, loader), teacher=teacher)
    return network


def rows(folder):
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read]


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def numpy_kl(student, teacher, temperature):
    def softmax(x):
        e = np.exp(x / temperature - (x / temperature).max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    p, q = softmax(teacher), softmax(student)
    return float((p * (np.log(p) - np.log(q))).sum(1).mean())


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_the_divergence_from_teacher_to_student(temperature):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 6, 10)).astype(np.float32) * 5
    found = distillation_loss(torch.tensor(student), torch.tensor(teacher), temperature).item()
    assert found == pytest.approx(numpy_kl(student, teacher, temperature), rel=1e-5)
    assert found != pytest.approx(numpy_kl(teacher, student, temperature), rel=1e-2), "it is not symmetric"
    assert distillation_loss(torch.tensor(teacher), torch.tensor(teacher), temperature).item() == pytest.approx(
        0, abs=1e-6
    )


def test_the_losses_of_a_batch_and_that_the_teacher_stays_out_of_state_and_gradients():
    network, teacher = build(0), build(1)
    model = Classifier(network, teacher=teacher, distill=DistillConfig(temperature=4.0, weight=2.5))
    x, labels = torch.randn(6, 3, 16, 16), torch.arange(6)
    losses = model(x, labels)
    logits, teacher_logits = (net.double()(x.double()) for net in (deepcopy(network).train(), deepcopy(teacher).eval()))
    kl = numpy_kl(logits.detach().numpy(), teacher_logits.detach().numpy(), 4.0)
    assert losses["loss_kd"].item() == pytest.approx(2.5 * kl, rel=1e-3)
    log_p = torch.log_softmax(logits, 1)[torch.arange(6), labels]
    assert losses["loss_ce"].item() == pytest.approx(-log_p.mean().item(), rel=1e-3)
    sum(losses.values()).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert not teacher.training
    assert {name.removeprefix("network.") for name in model.state_dict()} == set(network.state_dict())


def test_a_killed_fine_tuning_with_distillation_resumes_to_the_same_bits(tmp_path, data):
    config = FinetuneConfig(epochs=3, batch_size=16, optimizer=SGD, warmup_epochs=1, distill=DistillConfig())
    teacher = build(1)
    whole = run(tmp_path / "whole", data, build(), config, teacher=teacher)
    with pytest.raises(Killed):
        run(tmp_path / "killed", data, build(), config, teacher=teacher, progress=Quiet(last=2))
    resumed = run(tmp_path / "killed", data, build(seed=5), config, teacher=teacher, resume=True)
    assert same(whole, resumed)
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    assert {"loss_ce", "loss_kd", "loss", "lr", "top1"} <= rows(tmp_path / "whole")[0].keys()
    for row in rows(tmp_path / "whole"):
        assert row["loss"] == pytest.approx(row["loss_ce"] + row["loss_kd"], abs=2e-6)
    state = torch.load(tmp_path / "whole" / "finetune" / "last.pth", weights_only=True)
    assert {name.partition(".")[0] for name in state["state_dict"]} == {"network"}


def test_a_checkpoint_of_another_network_is_not_gone_on_with(tmp_path, data):
    """MMEngine would take what fits and leave the rest as it is."""
    config = FinetuneConfig(epochs=3, batch_size=16, optimizer=SGD, warmup_epochs=0, distill=None)
    with pytest.raises(Killed):
        run(tmp_path, data, build(), config, progress=Quiet(last=2))
    last = tmp_path / "finetune" / "last.pth"
    whole = torch.load(last, weights_only=True)
    state = whole["state_dict"]
    first = next(iter(state))
    for other in (
        {f"x.{name}" if name == first else name: value for name, value in state.items()},
        {**state, first: state[first][:1]},
        {name: value for name, value in state.items() if name != first},
        {},
        [],
    ):
        torch.save({**whole, "state_dict": other}, last)
        with pytest.raises(UserError, match=r"last\.pth is of another network or version .* differ.*; delete it to"):
            run(tmp_path, data, build(), config, resume=True)


class Dropping(nn.Module):
    """A linear network with dropout, which writes down what it is shown in training."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3 * 16 * 16, 10)
        self.seen = []

    def forward(self, x):
        if self.training:
            self.seen.append(round(x.double().sum().item(), 3))
        return self.linear(nn.functional.dropout(x.flatten(1), 0.5, self.training))


def test_every_epoch_differs_and_randomness_inside_the_network_resumes_too(tmp_path, data):
    config = TrainConfig(epochs=3, batch_size=16, optimizer={"type": "SGD", "lr": 1e-3})
    whole = run(tmp_path / "whole", data, Dropping(), config)
    epochs = [tuple(whole.seen[i : i + 4]) for i in (0, 4, 8)]
    assert len({batch for epoch in epochs for batch in epoch}) == 12, "another order, another augmentation"
    with pytest.raises(Killed):
        run(tmp_path / "killed", data, Dropping(), config, progress=Quiet(last=2))
    torch.rand(5)
    resumed = run(tmp_path / "killed", data, Dropping(), config, resume=True)
    assert tuple(resumed.seen) == epochs[1] + epochs[2]
    assert same(whole, resumed)


def test_rows_of_other_stages_stay(tmp_path, data):
    line = json.dumps({"stage": "search", "epoch": 7, "epochs": 7, "loss": 1.0})
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    run(tmp_path, data, build(), TrainConfig(epochs=1, batch_size=32, optimizer=SGD))
    assert [(row["stage"], row["epoch"]) for row in rows(tmp_path)] == [("search", 7), ("finetune", 1)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("step", [0.08, 0.08, 0.008, 0.0008]),
        # Two iterations an epoch, and the rate moves after each but the last.
        ("cosine", [0.08 * (1 + np.cos(np.pi * t / 8)) / 2 for t in (2, 4, 6, 7)]),
    ],
)
def test_rates_follow_the_schedule(tmp_path, data, schedule, expected):
    """A row's rate is the one in force when its epoch ends."""
    optimizer = {"type": "SGD", "lr": 0.08}
    run(tmp_path, data, build(), TrainConfig(epochs=4, batch_size=32, optimizer=optimizer, schedule=schedule))
    np.testing.assert_allclose([row["lr"] for row in rows(tmp_path)], expected, atol=2e-8)


def test_training_learns(tmp_path):
    """64 steps on 64 digits: the loss falls well below chance's log(10) = 2.3."""
    plain = load_data(DataConfig(limit=64, augment="none"), seed=0)
    network = run(tmp_path, plain, build(), TrainConfig(epochs=8, batch_size=8, optimizer=SGD))
    losses = [row["loss"] for row in rows(tmp_path)]
    assert losses[0] > 2.3
    assert losses[-1] < 2.0
    assert evaluate_top1(network, eval_loader(plain.train, batch_size=50))["top1"] > 30


def test_a_training_that_diverges_says_so(tmp_path, data):
    with pytest.raises(UserError, match=r"finetune: training diverged.*lower finetune\.optimizer\.lr"):
        run(tmp_path, data, build(), TrainConfig(epochs=1, batch_size=8, optimizer={"type": "SGD", "lr": 1e4}))


class Constant(nn.Module):
    """Answers class 2 with a margin of log(9) over nine others, whatever it sees."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(10).index_fill(0, torch.tensor(2), np.log(9.0)))

    def forward(self, x):
        assert not self.training
        return self.logits.expand(len(x), -1)


def test_evaluation_counts_every_image_once(data):
    model = Constant().train()
    figures = evaluate_top1(model, eval_loader(data.test, batch_size=7))
    share = float((data.test.labels == 2).mean())
    assert figures["top1"] == pytest.approx(100 * share, abs=1e-4)
    assert figures["val_loss"] == pytest.approx(share * np.log(2) + (1 - share) * np.log(18), abs=1e-5)
    assert model.training, "its mode is restored"


def test_steps_of_several_batches_are_taken_without_a_word(data, tmp_path, recwarn, monkeypatch):
    """MMEngine has one for schedules that go on before the first step."""
    taken, step = [], torch.optim.SGD.step

    class Counted(torch.optim.SGD):
        def step(self, *arguments):
            taken.append(len(self.param_groups[0]["params"]))
            return step(self, *arguments)

    monkeypatch.setitem(OPTIMIZERS.module_dict, "Counted", Counted)
    settings = {"type": "Counted", "lr": 0.05}
    run(tmp_path, data, build(), TrainConfig(epochs=2, batch_size=8, accumulate=4, optimizer=settings))
    assert len([n for n in taken if n > 1]) == 2 * 8 // 4, "settings are tried on one parameter"
    assert [str(each.message) for each in recwarn] == []
