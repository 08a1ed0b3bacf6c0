"""`nncompress estimate`: steps as they are taken, hours by the rate, disk as a run leaves it, data that are absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tool_runs import RECIPE

from compress.engine.data import DataConfig, load_data
from compress.engine.loaders import train_loader
from compress.engine.sizes import DataSize, data_size
from compress.pipeline.estimate import estimate
from compress.pipeline.recipe import load_recipe
from compress.plan import UserError


def files(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_steps_and_hours_are_those_of_the_run(tiny):
    recipe = load_recipe(RECIPE, tiny(data__limit=None)[1:])
    data = load_data(recipe.data, seed=0)
    found = estimate(recipe, tflops=2.0)
    train, search, tune = found.stages
    assert (found.data.train, found.data.judged, found.data.classes) == (len(data.train), len(data.test), 10)
    assert train.steps == recipe.train.epochs * len(train_loader(data.train, batch_size=20, seed=0))
    half = data.train.subset(range(len(data.train) // 2))
    assert search.steps == recipe.search.epochs * len(train_loader(half, batch_size=10, seed=0))
    assert tune.steps == 2 * train.steps
    assert train.hours == pytest.approx(train.flops / 2e12 / 3600)
    assert train.flops == pytest.approx(train.steps * train.footprint.flops, rel=0.2)
    assert (found.measured, found.buckets) == (None, 0)
    shared = estimate(recipe, tflops=2.0, processes=4)
    assert shared.stages[0].steps == train.steps // 4
    assert shared.stages[0].footprint == train.footprint
    assert shared.buckets == train.footprint.gradients


def test_disk_is_what_runs_leave_at_most(tiny, baseline, finished):
    found = estimate(load_recipe(RECIPE, tiny()[1:]), tflops=1.0)
    for run, folder in (("train", baseline), ("prune", finished[0])):
        assert files(folder) / 3 < found.disk[run]
        assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) < found.disk[run]


def test_sizes_of_data_without_reading_images(tmp_path):
    assert data_size(DataConfig(type="cifar100", root="nowhere", holdout=0.1)) == DataSize(45_000, 5_000, 100, 5_000)
    assert data_size(DataConfig(limit=100)) == DataSize(100, 100, 10)
    digits = load_data(DataConfig(holdout=0.2), seed=0)
    size = data_size(DataConfig(holdout=0.2))
    assert (size.train, size.judged) == (len(digits.train), len(digits.test))
    for part, count in (("train", 3), ("val", 1)):
        folder = tmp_path / part / "ape"
        folder.mkdir(parents=True)
        for i in range(count):
            (folder / f"{i}.png").write_bytes(b"no image")
    assert data_size(DataConfig(type="imagefolder", root=str(tmp_path))) == DataSize(3, 1, 1)


def test_the_command_says_which_rate_it_took_and_where_data_are_missing(tool, tiny, tmp_path):
    file = tmp_path / "found.json"
    result = tool("estimate", RECIPE, "--json", file, *tiny())
    assert (result.code, result.stderr) == (0, "")
    text = " ".join(result.stdout.split())
    assert "60 training and 60 evaluation images, 1 process" in text
    assert "measured here" in text
    found = json.loads(file.read_text())
    assert [stage["name"] for stage in found["stages"]] == ["train", "search", "finetune"]
    swin = ["width/mobilenetv2_imagenet20_rarts", "--tflops", 10, "--gpus", 8]
    for more, says in (
        ([], "or give --train-images, --val-images and --classes"),
        (["--classes", 20], "belong together"),
        (["--train-images", 100, "--val-images", 5, "--classes", 20], "train.batch_size = 64: more than the 12 images"),
    ):
        result = tool("estimate", *swin, *more, cwd=tmp_path)
        assert (result.code, result.stderr.count("\n")) == (2, 1)
        assert says in result.stderr


def test_batches_that_no_process_can_fill_are_refused(tiny):
    with pytest.raises(UserError, match=r"search.batch_size = 10: more than the 3 images of each half"):
        estimate(load_recipe(RECIPE, tiny(train__batch_size=7)[1:]), tflops=1.0, processes=8)


def test_batches_of_one_image(tiny):
    """Are taken where every BatchNorm has maps of more than a pixel."""
    sizes = {"train__batch_size": 1, "search__batch_size": 1, "finetune__batch_size": 1}
    found = estimate(load_recipe(RECIPE, tiny(**sizes, data__resize=8, data__input_size=8)[1:]), tflops=1.0)
    assert [stage.steps for stage in found.stages] == [60, 60, 120]
    small = tiny(**sizes, data__resize=4, data__input_size=4)[1:]
    with pytest.raises(UserError, match=r"recipe: train.batch_size = 1: one image at a time"):
        estimate(load_recipe(RECIPE, small), tflops=1.0)
