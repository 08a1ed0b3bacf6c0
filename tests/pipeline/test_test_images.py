"""Test images are evaluated when a stage has ended, images set aside after every epoch: nobody tunes by watching."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.engine.data import load_data
from compress.pipeline import images
from compress.pipeline.recipe import load_recipe
from compress.pipeline.run import train_baseline
from compress.report.progress import TerminalProgress

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("data.limit=60", "train.epochs=2", "train.batch_size=20", "train.warmup_epochs=0")


@pytest.fixture
def read(monkeypatch) -> list[list[int]]:
    """The places of the images of every evaluation, in order."""
    seen: list[list[int]] = []
    whole = images.eval_loader
    monkeypatch.setattr(
        images, "eval_loader", lambda split, **how: seen.append(split.ids.tolist()) or whole(split, **how)
    )
    return seen


@pytest.mark.parametrize("holdout", [0.0, 0.2])
def test_what_an_epoch_and_what_the_end_of_training_looks_at(tmp_path, read, holdout) -> None:
    recipe = load_recipe(ROOT / "recipes/width/preresnet20_digits_rarts.py", [*OPTIONS, f"data.holdout={holdout}"])
    train_baseline(recipe, tmp_path / "base", progress=TerminalProgress(quiet=True))
    data = load_data(recipe.data, seed=recipe.seed)
    assert read == [data.test.ids.tolist()] * (3 if holdout else 1)
    rows = [json.loads(line) for line in (tmp_path / "base/metrics.jsonl").read_text().splitlines()]
    assert [("top1" in row, "train_top1" in row) for row in rows] == [(holdout > 0, True)] * 2
    if holdout:
        assert rows[-1]["top1"] == json.loads((tmp_path / "base/stages.json").read_text())["train"]["top1"]
