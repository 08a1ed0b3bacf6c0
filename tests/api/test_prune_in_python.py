"""`compress.prune` and its friends on a network of nobody's list."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, default_collate

import compress
from compress.plan import UserError, WidthPlan

X = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Mine(nn.Module):
    """A residual block and a classifier of 10."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        return self.head(torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))).mean((2, 3)))


def made():
    torch.manual_seed(0)
    return Mine()


@pytest.fixture(scope="module")
def data():
    """Images whose class is where they are bright."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(160) % 10
    images = torch.randn(160, 1, 8, 8, generator=generator) * 0.1
    images[torch.arange(160), 0, labels % 5 + 1] += labels.view(-1, 1).float() / 5
    return TensorDataset(images, labels)


QUICK = {"search": {"epochs": 1}, "finetune": 1, "round_to": 1, "quiet": True}


def test_search_slice_finetune_save_and_load(data, tmp_path):
    net = made()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    loader = DataLoader(data, batch_size=16)
    pruned = compress.prune(net, X, loader, budget={"macs_ratio": 0.5}, val_data=data, **QUICK)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert pruned.after["macs"] <= 0.5 * pruned.before["macs"]
    assert pruned.after["params"] == sum(value.numel() for value in pruned.model.parameters())
    assert set(pruned.before) == {"params", "macs", "top1", "val_loss"}
    assert "macs" in pruned.report()
    again = compress.prune(made(), X, loader, budget={"macs_ratio": 0.5}, val_data=data, **QUICK)
    assert again.plan.kept == pruned.plan.kept
    assert torch.equal(again.model(X), pruned.model(X)), "the same seed gives another network"
    pruned.save(tmp_path / "small")
    loaded = compress.load(tmp_path / "small", network=Mine())
    assert torch.equal(loaded(X), pruned.model(X))
    assert WidthPlan.load(tmp_path / "small" / "plan.json").kept == pruned.plan.kept
    with pytest.raises(UserError, match=r"load\(\.\.\., network=\.\.\.\)"):
        compress.load(tmp_path / "small")
    with pytest.raises(UserError, match="traced on another one"):
        compress.load(tmp_path / "small", network=nn.Sequential(nn.Linear(3, 4)))


def test_methods_without_data_prune_at_once(tmp_path):
    pruned = compress.prune(made(), X, pruning_ratio=0.5, method="magnitude", round_to=1, quiet=True)
    assert 0.4 <= sum(map(len, pruned.plan.kept.values())) / sum(pruned.plan.sizes.values()) <= 0.6
    session_file = pruned.export(tmp_path / "small.onnx")
    assert session_file.stat().st_size > 0


def test_in_rounds_each_starts_from_what_the_one_before_left(data, tmp_path):
    options = {"budget": {"macs_ratio": 0.3}, "val_data": data, "steps": 3, **QUICK}
    pruned = compress.prune(made(), X, data, work_dir=tmp_path / "run", **options)
    assert pruned.after["macs"] <= 0.3 * pruned.before["macs"]
    assert pruned.plan.sizes == {"stem": 8, "conv1": 16}, "of the network that was given"
    assert {name: len(kept) for name, kept in pruned.plan.kept.items()} == {
        group.name: group.size for group in pruned.space.groups
    }
    assert all((pruned.scores[name] != 0).sum() < size for name, size in pruned.plan.sizes.items())
    rows = [
        (tmp_path / "run" / step / "metrics.jsonl").read_text().count("finetune") for step in ("step1", "step2", "")
    ]
    assert rows == [1, 1, 1]
    loaded = compress.load(tmp_path / "run", network=Mine())
    assert torch.equal(loaded(X), pruned.model(X))
    assert compress.prune(made(), X, data, **options).plan.kept == pruned.plan.kept


def test_rounds_without_data_remove_what_one_round_removes():
    """By size alone, without training in between, the worst channels are the worst at any time."""
    options = {"pruning_ratio": 0.75, "method": "magnitude", "round_to": 1, "quiet": True}
    once, twice = (compress.prune(made(), X, steps=steps, **options) for steps in (1, 2))
    assert sum(map(len, twice.plan.kept.values())) == sum(map(len, once.plan.kept.values()))
    assert twice.model(X).shape == (1, 10)


def test_a_loss_of_ones_own_drives_search_and_finetuning(data):
    def loss(network, batch):
        images, labels = batch
        return F.mse_loss(network(images), F.one_hot(labels, 10).float())

    pruned = compress.prune(made(), X, data, pruning_ratio=0.4, loss=loss, val_data=data, **QUICK)
    assert set(pruned.after) == {"params", "macs", "val_loss"}


def test_what_stands_behind_images_and_labels_is_left_to_losses_of_ones_own(data):
    weighed = TensorDataset(*data.tensors, torch.ones(160))
    distilled = {"epochs": 1, "distill": {"temperature": 4.0, "weight": 1.0}}
    first, second = (
        compress.prune(made(), X, each, pruning_ratio=0.4, val_data=each, **{**QUICK, "finetune": distilled})
        for each in (data, weighed)
    )
    assert first.after == second.after


@pytest.mark.parametrize(
    "collate", [lambda items: default_collate(items[1:]), lambda items: default_collate(items * 2)]
)
def test_figures_are_of_the_images_that_a_collate_fn_gives(data, collate):
    class Zero(Mine):
        """Answers class 0, whatever it sees."""

        def forward(self, x):
            return torch.eye(10)[0] + 0 * super().forward(x)

    items = TensorDataset(data.tensors[0], torch.zeros_like(data.tensors[1]))
    loader = DataLoader(items, batch_size=16, collate_fn=collate)
    options = {"pruning_ratio": 0.4, "method": "magnitude", "round_to": 1, "quiet": True}
    assert compress.prune(Zero(), X, val_data=loader, **options).before["top1"] == 100


def test_what_is_kept_in_a_folder_is_the_result_and_its_curves(data, tmp_path):
    options = {"pruning_ratio": 0.4, "work_dir": tmp_path / "run", **QUICK}
    compress.prune(made(), X, data, **options)
    assert {"model.safetensors", "model.json", "plan.json", "metrics.jsonl"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    with pytest.raises(UserError, match="is not empty"):
        compress.prune(made(), X, data, **options)


def test_two_networks_are_compared_in_turn(capsys):
    net = made()
    small = compress.prune(net, X, pruning_ratio=0.5, method="magnitude", round_to=1, quiet=True).model
    found = compress.compare(net, small, X, repeats=3)
    assert found["macs"]["after"] < found["macs"]["before"]
    assert "times fewer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": 0.5}, r"budget = 0.5: must say of what"),
        ({"budget": {"macs_ratio": 0.5}}, "method = 'rarts': learns from data"),
        ({"budget": {"macs_ratio": 0.5}, "pruning_ratio": 0.2}, "give one of them"),
        ({"pruning_ratio": 0.5, "method": "magnitude", "steps": 0}, "steps = 0: must be a whole number of at least 1"),
        ({"pruning_ratio": 0.5, "method": "magnitude", "steps": 10**6}, "at most 100"),
        ({"budget": {"latency_ratio": 0.5}, "method": "magnitude"}, "needs the device's table"),
        ({"pruning_ratio": 0.5, "method": "magnitude", "finetune": 2}, "finetune = 2: needs train_data"),
        ({"pruning_ratio": 0.5, "method": "magnitude", "ignored_layers": ["x"]}, "'x' is no module of Mine"),
        ({"pruning_ratio": 0.5, "method": "magnitude", "classes": ["a"]}, "1 names for a network of 10 outputs"),
        ({"pruning_ratio": 0.5, "train_data": iter([1])}, "must have a length and items"),
        ({"pruning_ratio": 0.5, "train_data": []}, "is empty"),
        ({"pruning_ratio": 0.5, "method": "magnitude", "example_input": torch.zeros(1, 8)}, "must be images"),
        ({"pruning_ratio": 0.5, "method": "magnitude", "example_input": torch.zeros(1, 3, 8, 8)}, "does not take it"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_line(options, words):
    x = options.pop("example_input", X)
    with pytest.raises(UserError, match=words) as error:
        compress.prune(made(), x, options.pop("train_data", None), quiet=True, **options)
    assert "\n" not in str(error.value)
