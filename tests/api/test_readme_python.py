"""The Python that README and docs show is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

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


@pytest.mark.parametrize("file", ["README.md", "docs/any_network.md"])
def test_the_example_runs(file, tmp_path, monkeypatch, capsys):
    text = next(
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)
        if "compress.prune" in block
    )
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(128, 3, 32, 32), torch.arange(128) % 4)
    names = {"MyNet": MyNet, "train_set": data, "val_set": data}
    exec(text, names)
    assert {"small.onnx", "small"} <= {path.name for path in tmp_path.iterdir()}
    assert names["pruned"].after["macs"] <= 0.5 * names["pruned"].before["macs"]
    assert "times fewer" in capsys.readouterr().out
