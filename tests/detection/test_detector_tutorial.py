"""The tutorial on detectors, followed on drawn shapes."""

from __future__ import annotations

import json

import pytest
from drawn_coco import draw_coco, options_of, write_config
from followed import follow

pytest.importorskip("mmdet")
import compress.detection  # noqa: F401  before MMDetection's data sets, which the drawing asks for classes


@pytest.mark.slow
def test_a_detector_on_coco(tmp_path, monkeypatch, capsys):
    draw_coco(tmp_path / "coco", {"train2017": 4, "val2017": 2})
    config = write_config(tmp_path / "small.py", tmp_path / "coco")
    settings = [each for each in options_of(config, tmp_path) if not each.startswith("data.root=")]
    follow("detector.md", tmp_path, monkeypatch, {"train": settings, "prune": settings})
    summary = json.loads((tmp_path / "runs/det20/summary.json").read_text())
    assert summary["params"]["after"] < summary["params"]["before"]
    printed = capsys.readouterr().out
    assert "['boxes', 'scores', 'labels', 'masks']" in printed
    assert "['person', 'bicycle', 'car']" in printed
