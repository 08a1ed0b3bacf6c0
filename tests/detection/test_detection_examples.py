"""The examples in detection's docstrings run as they stand, on the drawn images and the small detector."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from docstring_examples import Example, examples, run_example
from drawn_coco import RECIPE, Silent, options_of
from mmengine.config import Config
from PIL import Image

pytest.importorskip("mmdet")
from compress.detection.evaluation import average_precision, detect
from compress.detection.export import export_detector
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import WidthPlan
from compress.spaces import Card

EXAMPLES = [example for example in examples() if example.module.startswith("compress.detection")]
EXPORTING = (
    "detection.calibration:export_calibrated",
    "detection.export.any_size:export_any_size",
    "detection.export.convert:export_detector",
    "detection.export.forms:export_forms",
    "detection.export.int8:quantize_detector",
    "detection.export.parity:compare_detections",
    "detection.files:evaluate_file",
)
"""Examples that need an exported detector: half a minute each."""
IMAGES = {
    "detection.export.convert:export_detector": (1, 3, 800, 1344),
    "detection.export.int8:quantize_detector": (1, 3, 128, 128),
}
"""Sizes of `images`."""


@pytest.fixture
def names(coco: Path, config_file: Path, data, space, network) -> dict[str, Any]:
    """Name -> what makes what the examples call so."""
    sizes = {group.name: group.size for group in space.groups}
    options = options_of(config_file, coco, "data.input_size=[128,128]")
    truth = data.test.ann_file
    kept = {name: tuple(range(n - n // 4)) for name, n in sizes.items()}
    return {
        "Config": lambda: Config, "Image": lambda: Image, "path": lambda: str(config_file),
        "network": lambda: network, "unpruned": lambda: network, "pruned": lambda: network,
        "dataset": lambda: data.test, "run": lambda: Path("runs/det"),
        "plan": lambda: WidthPlan(space.name, sizes=sizes, kept=kept),
        "stages": lambda: dict.fromkeys(("load", "finetune"), average_precision(detect(network, data.test), truth)),
        "card": lambda: Card(space.name, space.arch, data.classes, data.preprocessing),
        "data": lambda: data,
        "Path": lambda: Path,
        "context": lambda: make_context(load_recipe(RECIPE, options), Silent()),
    }  # fmt: skip


@pytest.mark.parametrize(
    "example",
    [pytest.param(each, marks=pytest.mark.slow) if str(each) in EXPORTING else each for each in EXAMPLES],
    ids=str,
)
def test_example_of_detection(example: Example, names: dict[str, Any], coco: Path, network, tmp_path: Path) -> None:
    shutil.copytree(coco, tmp_path / "data/coco")
    (tmp_path / "runs/det").mkdir(parents=True)
    if str(example) in EXPORTING[4:]:
        file = tmp_path / ("runs/det/model.onnx" if "evaluate" in str(example) else "detector.onnx")
        export_detector(network, file, input_size=(3, 128, 128))
    if str(example) == "detection.drawing:draw_detections":
        names["path"] = lambda: next((coco / "val2017").iterdir())
    names["images"] = lambda: torch.zeros(IMAGES[str(example)]).numpy()
    run_example(example, names, tmp_path)


def test_every_example_of_detection_is_run() -> None:
    assert len(EXAMPLES) >= 11
    assert {str(each) for each in EXAMPLES} >= {*EXPORTING}
