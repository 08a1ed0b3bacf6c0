"""Detectors' recipes as data: the config, which is Python, runs only where a user names it; types are registered."""

from __future__ import annotations

import json

import pytest
from drawn_coco import RECIPE, Silent, options_of

from compress.detection.run import load_config
from compress.detection.task import DetectionTask
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.pipeline.recorded import recorded_recipe
from compress.plan import UserError


@pytest.fixture
def record(config_file, coco, tmp_path):
    """A run folder whose record names a config in Python that leaves a trace when it runs."""
    values = load_recipe(RECIPE, options_of(config_file, coco)).to_json()
    text = f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    (tmp_path / "config.py").write_text(text + config_file.read_text())
    values["space"]["config"] = str(tmp_path / "config.py")
    (tmp_path / "recipe.json").write_text(json.dumps({"train": values}))
    (tmp_path / "mine.json").write_text(json.dumps(values))
    return tmp_path


@pytest.mark.parametrize("config", ["config.py", "mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py"])
def test_a_record_runs_no_config(record, config):
    file = record / "recipe.json"
    value = json.loads(file.read_text())
    value["train"]["space"]["config"] = config
    file.write_text(json.dumps(value))
    with pytest.raises(UserError) as caught:
        recorded_recipe(record, remedy="give --recipe RECIPE")
    assert f"{file}: space.config = '{config}': is Python" in str(caught.value)
    assert str(caught.value).endswith("--cfg-options space.config=FILE; or give --recipe RECIPE")
    assert not (record / "ran").exists()


def test_a_recipe_in_json_runs_no_config(record):
    with pytest.raises(UserError, match=r"mine\.json: space\.config = .* is Python, which a file of data must not run"):
        load_recipe(record / "mine.json")
    assert not (record / "ran").exists()


def test_a_config_that_the_user_names_is_read(record, config_file):
    for recipe in (
        recorded_recipe(record, [f"space.config={config_file}"], remedy="give --recipe RECIPE"),
        load_recipe(record / "mine.json", [f"space.config={config_file}"]),
    ):
        assert len(make_context(recipe, Silent()).data.test) == 4
    assert not (record / "ran").exists()


def test_configs_may_raise_anything(config_file, tmp_path):
    for text, says in (("raise SystemExit(3)", "SystemExit: 3"), ("_base_ = 'odd.py'", "lead back to themselves")):
        (tmp_path / "odd.py").write_text(text)
        with pytest.raises(UserError, match=says):
            load_config(str(tmp_path / "odd.py"))
    (tmp_path / "odd.yaml").write_text("model: !!python/object/apply:os.system ['true']")
    with pytest.raises(UserError, match="must be MMDetection's config in Python"):
        load_config(str(tmp_path / "odd.yaml"))


def test_types_of_the_configs_optimiser_and_schedule_are_registered(config_file, coco, network):
    recipe = load_recipe(RECIPE, options_of(config_file, coco, "train.schedule=step"))
    task = DetectionTask(make_context(recipe, Silent()).data)
    odd = "pydoc.pipepager"
    task.data.config.param_scheduler = [{"type": odd, "begin": 0, "end": 3, "by_epoch": True}]
    with pytest.raises(UserError, match=r"param_scheduler\[0\]\.type = 'pydoc\.pipepager': no such type"):
        task.schedule(recipe.train)
    task.wrapper = {"constructor": odd, "paramwise_cfg": {"bias_lr_mult": 2.0}}
    with pytest.raises(UserError, match=r"optim_wrapper\.constructor = 'pydoc\.pipepager': no such type"):
        task.training_optimizer(recipe.train, network, name="train.optimizer")
