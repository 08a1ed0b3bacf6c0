"""The Python that README, docs and docstrings show is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from docstring_examples import examples, run_example
from torch import nn
from torch.utils.data import TensorDataset

import compress

ROOT = Path(__file__).resolve().parents[2]


class MyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=4, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=4),
            nn.ReLU(),
        )
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def images():
    """Of four classes."""
    return TensorDataset(torch.randn(128, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(128) % 4)


@pytest.mark.parametrize("file", ["README.md", "docs/any_network.md"])
def test_the_example_runs(file, tmp_path, monkeypatch, capsys):
    text = next(
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)
        if "compress.prune" in block
    )
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {"MyNet": MyNet, "train_set": images(), "val_set": images()}
    exec(text, names)
    for part in re.findall(r"```python\n(.*?)```", (ROOT / file).read_text(), re.DOTALL):
        if "compress.score" in part:
            exec(part, names)
            assert sum(value.numel() for value in names["small"].parameters()) < names["pruned"].before["params"]
    assert {"small.onnx", "small"} <= {path.name for path in tmp_path.iterdir()}
    assert names["pruned"].after["macs"] <= 0.5 * names["pruned"].before["macs"]
    assert "times fewer" in capsys.readouterr().out


@pytest.mark.parametrize("example", [each for each in examples() if each.module.startswith("compress.api")], ids=str)
def test_an_example_of_a_docstring_runs(example, tmp_path):
    torch.manual_seed(0)
    pruned = SimpleNamespace(model=MyNet())
    names = {"net": MyNet, "prune": lambda: compress.prune, "compare": lambda: compress.compare, "train_set": images}
    names["images"] = lambda: torch.randn(1, 3, 32, 32)
    run_example(example, {**names, "val_set": images, "pruned": lambda: pruned}, tmp_path)
