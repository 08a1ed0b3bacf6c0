"""Arguments in Python that are none, or do not go together: one line in Python's own names, and nothing written."""

from __future__ import annotations

import os

import pytest
import torch
from odd_networks import Plain
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

import compress
from compress.plan import UserError

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
IMAGES, LABELS = torch.zeros(96, 3, 8, 8), torch.arange(96) % 4
DATA = TensorDataset(IMAGES, LABELS)
FLAGS = ("--", "select.", "work-dir", "search.method")


class Broken(Dataset):
    def __len__(self):
        return 96

    def __getitem__(self, index):
        raise FileNotFoundError(f"image {index}")


class Stream(IterableDataset):
    def __iter__(self):
        yield from DATA

    def __len__(self):
        return len(DATA)


def learnt_already(network, batch):
    value = network(batch[0]).square().mean()
    value.backward()
    return value


def refused(words, tmp_path, train_data=None, **options):
    options = {"pruning_ratio": 0.4, "method": "magnitude", "round_to": 1, "quiet": True, **options}
    with pytest.raises(UserError, match=words) as error:
        compress.prune(Plain(), X, train_data, **{"work_dir": tmp_path / "run", **options})
    assert "\n" not in str(error.value)
    assert not any(flag in str(error.value) for flag in FLAGS), str(error.value)
    assert not (tmp_path / "run").exists()


BUDGETS = [
    ({"pruning_ratio": 1.5}, "^pruning_ratio = 1.5: must lie between 0 and 1"),
    ({"pruning_ratio": float("nan")}, "^pruning_ratio = nan: must lie between"),
    ({"pruning_ratio": "half"}, "^pruning_ratio = 'half': must be a number"),
    ({"pruning_ratio": 0.99}, "^pruning_ratio = 0.99: out of reach; .* 0.0000 to .*, or lower round_to"),
    ({"budget": {"macs_ratio": 2}}, r'^budget\["macs_ratio"\] = 2: must lie between 0 and 1'),
    ({"budget": {"macs_ratio": None}}, r'^budget\["macs_ratio"\] = None: only .free. goes without'),
    ({"budget": {"macs_ratio": 0.001}}, r'^budget\["macs_ratio"\] = 0.001: out of reach; .* lower round_to$'),
    ({"budget": {"macs_ratio": 0.001, "params_ratio": 0.5}}, r'^budget\["macs_ratio"\] = 0.001: .* round_to$'),
    ({"budget": {"macs_ratio": 0.5, "pruning_ratio": 0.5}}, r'^pruning_ratio and budget\["macs_ratio"\]: only'),
    ({"budget": {"flops": 0.5}}, "'flops' is no cost; choose of 'pruning_ratio', 'macs_ratio', 'params_ratio'"),
    ({"budget": compress.Budget("latency_ms", 5)}, "a limit of latency needs the device's table"),
    ({"budget": [0.5]}, r"budget = \[0.5\]: must say of what"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "words"), BUDGETS)
def test_a_budget_is_told_in_the_names_of_python(options, words, tmp_path):
    refused(words, tmp_path, **{"pruning_ratio": None, **options})


def test_selection_alone_refuses_the_same_budgets():
    scored = compress.score(Plain(), X, method="magnitude", quiet=True)
    for options, words in BUDGETS:
        with pytest.raises(UserError, match=words):
            compress.select(scored, round_to=1, **options)
    with pytest.raises(UserError, match=r"scored = dict: must be what compress.score gives"):
        compress.select({}, pruning_ratio=0.5)


def test_a_budget_of_ones_own_says_its_own_name():
    with pytest.raises(UserError, match=r"^macs_ratio = 2: must lie between 0 and 1"):
        compress.Budget("macs_ratio", 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"round_to": 0}, "^round_to = 0: must be a whole number of at least 1"),
        ({"round_to": "8"}, "^round_to = '8' must be of type int"),
        ({"seed": -1}, "^seed = -1: must be a whole number of at least 0"),
        ({"seed": 1.5}, "^seed = 1.5 must be of type int"),
        ({"streams": "no"}, "^streams = 'no' must be of type bool"),
        ({"method": 5}, "^method = 5: must be the name of a method"),
        ({"method": "nothing"}, "^method = 'nothing': must be one of"),
        ({"method": {"order": "fused"}}, "^method = .*: must be the name"),
        ({"ignored_layers": "ab"}, "^ignored_layers = 'ab': must be a list"),
        ({"ignored_layers": ["x"]}, "^ignored_layers: 'x' is no module of Plain"),
        ({"ignored_layers": [nn.Linear(2, 2)]}, "^ignored_layers: Linear.* is no module"),
        ({"ignored_layers": [dict]}, "^ignored_layers: <class 'dict'> is no module"),
        ({"classes": "abcd"}, "^classes = 'abcd': must be a list of names"),
        ({"classes": ["a"]}, "^classes: 1 names for a network of 4 outputs"),
        ({"loss": "mse"}, "^loss = str: must be a function"),
        ({"work_dir": 5}, "^work_dir = 5: must be the path of a folder"),
        ({"work_dir": ""}, "^work_dir = '': must be the path of a folder"),
        ({"work_dir": __file__}, "^work_dir = .*: is a file; give a folder"),
    ],
)
def test_an_argument_that_is_none_is_one_line(options, words, tmp_path):
    refused(words, tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"search": [1]}, r"^search = \[1\]: must be a dict of settings"),
        ({"search": {"epoch": 1}}, "unknown key search.epoch = 1; did you mean search.epochs"),
        ({"search": {"batch_size": 49}}, "^search.batch_size = 49: more than the 48 items of each half of train_data"),
        ({"method": {"type": "rarts", "ordr": 1}}, "^method.ordr: rarts has no such parameter"),
        ({"finetune": True}, "^finetune = True: must be a dict"),
        ({"finetune": "no"}, "^finetune = 'no': must be a dict"),
        (
            {"finetune": {"distill": {"temperature": 4.0, "weight": 1.0}}, "loss": lambda network, batch: 0},
            "^finetune.distill: is of logits under cross entropy, and fine-tuning has a loss of your own",
        ),
        *(
            (
                {section: {"label_smoothing": 0.1}, "loss": lambda network, batch: 0},
                f"^{section}.label_smoothing = 0.1: is of the labels of cross entropy, and there is a loss of your own",
            )
            for section in ("search", "finetune")
        ),
        (
            {"search": {"accumulate": 2}, "loss": lambda network, batch: 0},
            "^search.accumulate = 2: batches of a loss of your own cannot be divided; leave it away",
        ),
        ({"finetune": {"batch_size": 97}}, "^finetune.batch_size = 97: more than the 96 items of train_data"),
        ({"pruning_ratio": None}, "^budget: none, but rarts .* would prune nothing; give pruning_ratio"),
    ],
)
def test_settings_of_learning_are_checked_first(options, words, tmp_path):
    refused(words, tmp_path, DataLoader(DATA, batch_size=8), **{"method": "rarts", **options})


WRONG_DATA = [
    (Stream(), " = Stream: must have a length and items"),
    ("abc", " = str: must have a length"),
    ([], ": is empty"),
    ((IMAGES, LABELS), r" = \[Tensor, Tensor\]: is no data set; give torch.utils.data.TensorDataset"),
    (Broken(), r"\[\d+\]: cannot be read \(image \d+\)"),
    (TensorDataset(IMAGES), ": a batch does not fit the network .*, and labels int64"),
    (TensorDataset(IMAGES[:, :1], LABELS), ": a batch does not fit the network .*3 channels"),
    (TensorDataset(IMAGES.byte(), LABELS), ": a batch does not fit the network"),
    (TensorDataset(IMAGES, LABELS + 1), "Target 4 is out of bounds"),
    (TensorDataset(IMAGES, LABELS.int()), r": a batch does not fit the network \(labels are int32 \[\d+\]\)"),
    (
        TensorDataset(IMAGES, torch.eye(4)[LABELS]),
        r": a batch does not fit the network \(labels are float32 \[\d+, 4\]\)",
    ),
    (TensorDataset(IMAGES[:, None], LABELS), r": a batch does not fit the network \(images are float32 \[\d+, 1, 3, 8"),
    ([{"image": IMAGES[0], "label": 0}] * 96, r": a batch does not fit the network \(a batch is a dict\)"),
    ([(object(), 0)] * 96, ": its items make no batch .* DataLoader with collate_fn"),
    ([(torch.zeros(3, 8, 8 + i % 2), 0) for i in range(96)], ": its items make no batch"),
]


@pytest.mark.parametrize(("data", "words"), WRONG_DATA)
def test_data_that_do_not_fit_are_named(data, words, tmp_path):
    refused(f"^val_data{words}" if words[0] in " :\\" else words, tmp_path, val_data=data)
    loading = data if isinstance(data, Stream | str) or not len(data) else DataLoader(data, batch_size=8)
    refused(f"^train_data{words}" if words[0] in " :\\" else words, tmp_path, loading, method="rarts")


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda network, batch: None, "^loss: gives NoneType; must give a tensor without dimensions"),
        (lambda network, batch: network(batch[0]), "^loss: gives Tensor"),
        (lambda network, batch: 1 / 0, "^loss: raises ZeroDivisionError for a batch of train_data"),
        (lambda network, batch: batch["image"], "^loss: raises TypeError"),
        (lambda network: 0, "^loss: raises TypeError"),
        (
            lambda network, batch: network(batch[0]).mean().detach(),
            "^loss: does not depend on the network's parameters",
        ),
        (lambda network, batch: network(batch[0]).mean() * float("nan"), "^loss = nan: of the first batch"),
        (learnt_already, r"^loss: has no gradient for a batch of train_data \(.*second time.*\); call no backward\(\)"),
    ],
)
def test_a_loss_that_is_none_is_told_before_anything_is_trained(loss, words, tmp_path):
    refused(words, tmp_path, DataLoader(DATA, batch_size=8), method="rarts", loss=loss)


def test_batches_of_a_sampler_of_batches_are_as_large_as_it_says(tmp_path):
    loader = DataLoader(DATA, batch_sampler=BatchSampler(RandomSampler(DATA), 49, drop_last=True))
    refused("^search.batch_size = 49: more than the 48 items of each half", tmp_path, loader, method="rarts")


def test_what_a_loss_raises_stays_behind_the_line(tmp_path):
    def loss(network, batch):
        raise KeyError("mine")

    with pytest.raises(UserError) as error:
        compress.prune(Plain(), X, DATA, pruning_ratio=0.4, round_to=1, loss=loss, search={"batch_size": 8}, quiet=True)
    assert isinstance(error.value.__cause__, KeyError)


@pytest.mark.parametrize("path", [None, 3, "", "a\0b"])
def test_a_path_that_is_none_is_one_line(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pruned = compress.prune(Plain(), X, pruning_ratio=0.4, method="magnitude", round_to=1, quiet=True)
    for call in (pruned.save, pruned.export, compress.load):
        with pytest.raises(UserError, match=r"^(folder|path|run) = .*: must be the path of a"):
            call(path)
    assert not any(tmp_path.iterdir())


def test_a_saved_network_is_not_replaced_by_its_export(tmp_path):
    pruned = compress.prune(Plain(), X, pruning_ratio=0.4, method="magnitude", round_to=1, quiet=True)
    folder = pruned.save(tmp_path / "small")
    for name in ("model.json", "model.safetensors", "plan.json"):
        with pytest.raises(UserError, match=rf"^path = .*{name}: belongs to the run in that folder"):
            pruned.export(folder / name)
    compress.load(folder, network=Plain())(X)


def test_a_relative_work_dir_is_that_of_the_call(tmp_path, monkeypatch):
    class Wandering(TensorDataset):
        def __getitem__(self, index):
            os.chdir(tmp_path / "elsewhere")
            return super().__getitem__(index)

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    options = {"search": {"epochs": 1, "batch_size": 8}, "finetune": False, "round_to": 1, "quiet": True}
    compress.prune(Plain(), X, Wandering(IMAGES, LABELS), pruning_ratio=0.4, work_dir="run", **options)
    assert (tmp_path / "run" / "model.json").is_file()
    assert not any((tmp_path / "elsewhere").iterdir())


def test_one_sample_that_a_batchnorm_refuses_is_told_before_training(tmp_path):
    class Pooled(Plain):
        def __init__(self):
            super().__init__()
            self.last = nn.BatchNorm1d(6)

        def forward(self, x):
            return self.head(self.last(self.features(self.first(x))))

    network = Pooled().train()
    options = {"pruning_ratio": 0.4, "round_to": 1, "work_dir": tmp_path / "run", "quiet": True}
    loader = DataLoader(DATA, batch_size=8)
    with pytest.raises(UserError, match=r"^train_data: a batch does not fit the network .*more than 1 value"):
        compress.prune(network, X, loader, finetune={"batch_size": 1}, **options)
    with pytest.raises(UserError, match=r"^train_data: a batch does not fit the network .*more than 1 value"):
        compress.prune(network, X, loader, search={"accumulate": 8}, **options)
    assert not (tmp_path / "run").exists()
    assert network.training
    assert int(network.last.num_batches_tracked) == 0
    assert compress.groups_of(network, X).groups
