"""A network trained on grey images that are no squares: its card, its figures read back, the script for deployments."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np

from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.pipeline.run import train_baseline
from compress.report.progress import TerminalProgress
from compress.spaces import load_card

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("space.depth=11", "train.epochs=1", "train.batch_size=20", "train.warmup_epochs=0", "data.type=npz")


def test_training_and_reading_back(tmp_path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 20, 30), dtype=np.uint8)
    arrays = {"train_images": images[:40], "test_images": images[40:]}
    arrays |= {"train_labels": np.arange(40) % 3, "test_labels": np.arange(20) % 3}
    np.savez(tmp_path / "grey.npz", classes=np.array(["a", "b", "c"]), **arrays)
    sized = (f"data.root={tmp_path / 'grey.npz'}", "data.input_size=[16,28]", "data.resize=20")
    recipe = load_recipe(ROOT / "recipes/width/preresnet20_digits_rarts.py", [*OPTIONS, *sized])
    progress = TerminalProgress(quiet=True)
    train_baseline(recipe, tmp_path / "base", progress=progress)
    card = load_card(tmp_path / "base")
    assert (card.input_size, card.arch["in_channels"]) == ((1, 16, 28), 1)
    context = make_context(recipe, progress)
    figures = context.evaluate_file(str(tmp_path / "base"), batch=7, threads=1)
    trained = json.loads((tmp_path / "base/stages.json").read_text())["train"]
    assert (figures["top1"], figures["n_images"]) == (trained["top1"], 20)
    preprocess = runpy.run_path(str(ROOT / "docs/deploy/check_onnx.py"))["preprocess"]
    seen = np.stack([x.numpy() for x, _ in context.data.test.eval_view().__getitems__(range(20))])
    assert np.abs(preprocess(images[40:], card.preprocessing) - seen).max() < 1.01 / 255 / card.preprocessing["std"][0]
