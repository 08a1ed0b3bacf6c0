"""Training checkpoints of MMEngine as they are: their logs are read as nothing, whatever else is code is refused."""

import os
import pickletools
import zipfile

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from compress.plan import UserError
from compress.spaces import read_state, read_weights
from compress.spaces.inert import Nothing


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x, mode="tensor"):
        return {"loss": self.fc(torch.stack(x)).square().mean()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The work folder of a training with averaged weights, two epochs of two steps, and the network that it left."""
    work = tmp_path_factory.mktemp("mmengine")
    torch.manual_seed(0)
    images = [{"x": torch.randn(2)} for _ in range(4)]
    sampler = {"type": "DefaultSampler", "shuffle": True}
    loader = {"dataset": images, "batch_size": 2, "sampler": sampler, "collate_fn": {"type": "pseudo_collate"}}
    runner = Runner(
        Net(),
        work_dir=str(work),
        train_dataloader=loader,
        train_cfg={"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.1}},
        param_scheduler=[{"type": "MultiStepLR", "milestones": [1]}],
        custom_hooks=[{"type": "EMAHook", "momentum": 0.5}],
        experiment_name=f"checkpoints_{work.name}",
        log_level="ERROR",
    )
    runner.train()
    return work, {name: value.clone() for name, value in runner.model.state_dict().items()}


def names_in(file):
    with zipfile.ZipFile(file) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("data.pkl"))
        return {argument for op, argument, _ in pickletools.genops(archive.read(name)) if op.name == "GLOBAL"}


def test_epochs_of_a_real_training_are_read_without_trust(trained):
    work, plain = trained
    file = work / "epoch_2.pth"
    assert {"mmengine.logging.history_buffer HistoryBuffer", "__builtin__ getattr"} <= names_in(file)
    before = set(torch.serialization.get_safe_globals())
    averaged = read_weights(file)
    assert set(torch.serialization.get_safe_globals()) == before
    assert averaged.averaged
    assert "--no-ema" in averaged.said
    found = read_weights(file, ema=False).state
    assert found.keys() == averaged.state.keys() == plain.keys()
    assert all(torch.equal(found[name], value) for name, value in plain.items())
    whole = torch.load(file, weights_only=False)
    assert all(torch.equal(value, whole["state_dict"][name]) for name, value in averaged.state.items())
    assert not torch.equal(averaged.state["fc.weight"], plain["fc.weight"])


def test_arrays_and_numbers_of_numpy_and_parts_of_configs_beside_the_weights_are_no_obstacle(tmp_path):
    meta = {
        "dataset_meta": ConfigDict(a=1),
        "palette": np.zeros((2, 3), np.uint8),
        "best": np.float32(3),
        "when": np.datetime64(0, "s"),
    }
    torch.save({"state_dict": {"w": torch.ones(2)}, "meta": meta}, tmp_path / "net.pth")
    assert torch.equal(read_state(tmp_path / "net.pth")["w"], torch.ones(2))


class Calls:
    """Unpickling it calls `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def buffer(**state):
    found = HistoryBuffer([1.0], [1])
    found.__dict__.update(state)
    return found


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("smuggled", "named"),
    [
        (lambda folder: Calls(os.mkdir, folder), "mkdir"),
        (lambda folder: Calls(os.system, f"mkdir {folder}"), "system"),
        (lambda folder: Calls(eval, f"__import__('os').mkdir({folder!r})"), "eval"),
        (lambda folder: buffer(_log_history=Calls(os.mkdir, folder)), "mkdir"),
        (lambda folder: buffer(_statistics_methods={"mean": os.mkdir}), "mkdir"),
        (lambda folder: buffer(x=Calls(HistoryBuffer.update, buffer(), 1.0)), "call"),
        (lambda folder: Calls(np.load, folder), "load"),
    ],
)
def test_code_beside_the_logs_is_refused_in_one_line(tmp_path, smuggled, named, legacy):
    folder = tmp_path / "ran"
    hub = {"log_scalars": {"train/loss": buffer()}, "runtime_info": {"x": smuggled(str(folder))}}
    value = {"state_dict": {"w": torch.ones(2)}, "message_hub": hub}
    torch.save(value, tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=rf"net\.pth: refused, it holds more than weights \(\S*({named})\S*\); if you"):
        read_state(tmp_path / "net.pth")
    assert not folder.exists()


def test_what_is_read_as_nothing_calls_nothing(tmp_path):
    """Not even NumPy, which would make an array of any size, or an attribute of what PyTorch itself allows."""
    huge = Calls(np._core.multiarray._reconstruct, np.ndarray, (1 << 50,), b"d")
    value = {"w": torch.ones(2), "a": huge, "b": Calls(getattr, torch.Size, "__base__"), "c": buffer(w=torch.zeros(1))}
    torch.save(value, tmp_path / "net.pth")
    assert read_state(tmp_path / "net.pth").keys() == {"w"}
    assert vars(Nothing(1, 2)) == {}
