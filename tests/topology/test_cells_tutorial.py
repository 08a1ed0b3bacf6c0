"""The tutorial on cells, followed on a few digits."""

from __future__ import annotations

import json

import pytest
from followed import QUICK, follow

SEARCH = ["data.limit=60", "search.epochs=1", "search.batch_size=15"]
NETWORK = [*QUICK, "data.limit=140", "train.warmup_epochs=0", "export.parity_images=20"]


@pytest.mark.slow
def test_a_cell_for_your_data(tmp_path, monkeypatch, capsys):
    follow("cells.md", tmp_path, monkeypatch, {"search-topology": SEARCH, "retrain": NETWORK, "prune": NETWORK})
    printed = capsys.readouterr().out
    assert "normal [[[" in printed
    assert "reduction [[[" in printed
    assert (tmp_path / "cells.svg").read_text().startswith("<svg")
    summary = json.loads((tmp_path / "runs/small/summary.json").read_text())
    assert summary["params"]["after"] < summary["params"]["before"]
    assert (tmp_path / "net.onnx").exists()
