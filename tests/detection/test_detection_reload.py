"""What a run leaves behind, in a fresh process: for `compress.load`, and for MMDetection alone."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from drawn_coco import RECIPE, Silent, options_of, write_config

pytest.importorskip("mmdet")
import mmdet

from compress.detection.data import CocoData, DetectionData
from compress.detection.run import load_config, write_mmdetection
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.pruning import Budget, SelectConfig, select, slice_model
from compress.search import random_scores
from compress.spaces import Card, save_model

TOOLS = Path(mmdet.__file__).parent / ".mim/tools"
LOADING = """
import sys
import torch
torch.set_num_threads(1)
import compress
assert "compress.detection" not in sys.modules
folder, image, out = sys.argv[1:]
ours = compress.load(folder)
assert "compress.detection" in sys.modules

from mmdet.apis import inference_detector, init_detector
theirs = init_detector(f"{folder}/model.py", f"{folder}/model.pth", device="cpu")
assert type(theirs.backbone).__name__ == "SlicedSwinTransformer"
found = inference_detector(theirs, image).pred_instances
states = [{name: value.shape for name, value in network.state_dict().items()} for network in (ours, theirs)]
torch.save({"states": states, "classes": theirs.dataset_meta["classes"], **found.to_dict()}, out)
"""
STARTED = "import compress.detection, runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
"""Runs a tool of MMDetection, whose own imports need operators before it reads the config that would bring them."""


def run(*arguments, cwd):
    result = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def finished(space, network, coco, tmp_path_factory):
    """A run's folder with a pruned detector, and the detector. The recipe names the data, not the config."""
    folder = tmp_path_factory.mktemp("run")
    file = write_config(tmp_path_factory.mktemp("elsewhere") / "twin.py", Path("data/coco"))
    data = CocoData(load_config(str(file)), DetectionData(root=str(coco), input_size=(128, 128)))
    budget, settings = Budget("pruning_ratio", 0.4), SelectConfig(ranking="kind")
    plan = select(random_scores(space, seed=0), space.operators((3, 64, 64)), budget, settings, space=space.name)
    small, small_space = slice_model(network, space, plan)
    save_model(folder / "model", small, Card(space.name, small_space.arch, data.classes, data.preprocessing))
    write_mmdetection(folder / "model", small, small_space, data)
    return folder, small, data


def check_found(instances, expected):
    assert len(expected) > 0
    for key in ("bboxes", "scores", "labels", "masks"):
        assert torch.equal(torch.as_tensor(instances[key]), getattr(expected, key)), key


def test_the_config_reads_the_recipes_data(finished, coco):
    config = load_config(str(finished[0] / "model.py"))
    for part in ("train_dataloader", "val_dataloader", "test_dataloader"):
        assert config[part].dataset.data_root == str(coco)
    for part in ("val_evaluator", "test_evaluator"):
        assert config[part].ann_file == str(coco / "annotations/instances_val2017.json")
    assert config.data_root == str(coco), "what MMDetection's tools and further configs build on"
    assert config.custom_imports["imports"] == ["compress.detection"]
    widths = config.model.backbone.head_dims
    assert [len(stage) for stage in widths] == [2, 2, 2, 2]
    assert max(width for stage in widths for width in stage) < 32


def test_the_checkpoint_holds_tensors_and_plain_values(finished):
    saved = torch.load(finished[0] / "model.pth", weights_only=True)
    assert saved["meta"]["dataset_meta"]["classes"] == list(finished[2].classes)
    own = finished[1].state_dict()
    assert saved["state_dict"].keys() == own.keys()
    assert all(torch.equal(value, own[name]) for name, value in saved["state_dict"].items())


def test_a_fresh_process_finds_the_detector_and_so_does_mmdetection(finished, coco, tmp_path):
    folder, network, data = finished
    info = data.test.get_data_info(1)
    run("-c", LOADING, folder, info["img_path"], tmp_path / "found.pt", cwd=tmp_path)
    found = torch.load(tmp_path / "found.pt", weights_only=False)
    assert found["states"][0] == found["states"][1] == {k: v.shape for k, v in network.state_dict().items()}
    assert tuple(found["classes"]) == data.classes
    (sample,) = network.test_step({"inputs": [data.test[1]["inputs"]], "data_samples": [data.test[1]["data_samples"]]})
    check_found(found, sample.pred_instances)


@pytest.mark.slow
def test_mmdetections_own_test_and_training_and_the_way_back(finished, coco, tmp_path):
    folder, network, data = finished
    files = (folder / "model.py", folder / "model.pth")
    run(
        "-c",
        STARTED,
        TOOLS / "test.py",
        *files,
        "--work-dir",
        tmp_path / "t",
        "--out",
        tmp_path / "t.pkl",
        cwd=tmp_path,
    )
    with open(tmp_path / "t.pkl", "rb") as file:
        found = {sample["img_id"]: sample["pred_instances"] for sample in pickle.load(file)}
    for i in range(len(data.test)):
        shown = data.test[i]
        (sample,) = network.test_step({"inputs": [shown["inputs"]], "data_samples": [shown["data_samples"]]})
        own = found[sample.img_id]
        for key in ("bboxes", "scores", "labels"):
            assert torch.equal(own[key], getattr(sample.pred_instances, key)), key
    options = ["train_cfg.max_epochs=1", "train_dataloader.batch_size=2", f"load_from={files[1]}"]
    work = tmp_path / "train"
    run("-c", STARTED, TOOLS / "train.py", files[0], "--work-dir", work, "--cfg-options", *options, cwd=tmp_path)
    state = torch.load(work / "epoch_1.pth", weights_only=False)["state_dict"]
    own = network.state_dict()
    assert {name: value.shape for name, value in state.items()} == {name: value.shape for name, value in own.items()}
    assert any(not torch.equal(state[name], own[name]) for name in own)
    (log,) = work.glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert any("coco/bbox_mAP" in row for row in rows)
    recipe = load_recipe(RECIPE, options_of(files[0], coco))
    back, _ = make_context(recipe, Silent(), checkpoint=str(work / "epoch_1.pth")).baseline
    assert all(torch.equal(value, state[name]) for name, value in back.state_dict().items())
