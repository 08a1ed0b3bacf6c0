"""A detector's last stages: what they hand to the exporter, and what of them is left out."""

import json
import re
from dataclasses import replace

import pytest
import torch
from drawn_coco import ONE_STAGE, RECIPE, UNEXPORTED, Silent, options_of, write_config
from run_tool import run_tool

pytest.importorskip("mmdet")
from compress.detection import DetectorSpace, stages
from compress.detection.run import load_config
from compress.export.forms import orientation
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import UserError
from compress.spaces import Card, save_model


@pytest.fixture
def context(config_file, coco, space, network, data, tmp_path):
    """A run that is to be exported."""
    recipe = load_recipe(RECIPE, options_of(config_file, coco))
    c = make_context(recipe, Silent())
    c.open(tmp_path / "run", {})
    for name in ("baseline", "model"):
        save_model(c.folder / name, network, Card(space.name, space.arch, data.classes, data.preprocessing, "f" * 64))
    return c


@pytest.mark.parametrize("size", [(128, 128), (96, 128)])
def test_exported_files_know_their_classes_and_rounding_may_decide_a_few_detections(size, context, data, monkeypatch):
    """A size that lies has a second file, and is compared on images that stand."""
    calls = []

    def compared(network, file, images, *, unmatched_share):
        assert images
        calls.append((file.name, unmatched_share, {orientation(image["inputs"].shape[1:]) for image in images}))
        return {"n_detections": 3 if "baseline" in file.name else 0, "n_unmatched": 1, "max_score_diff": 0.0}

    def exported(network, file, *, metadata, scale, **options):
        assert json.loads(metadata["classes"]) == list(data.classes)
        assert metadata["plan_sha256"] == "f" * 64
        assert "preprocessing" not in metadata, "the file's own says how images are padded"
        assert scale == [128, 128]
        return file

    for module in (stages, stages.forms):
        monkeypatch.setattr(module, "export_detector", exported)
    monkeypatch.setattr(stages, "compare_detections", compared)
    context.recipe = replace(context.recipe, data=replace(context.recipe.data, input_size=size))
    figures, noted = {}, []
    monkeypatch.setattr(Silent, "note", lambda self, text: noted.append(text), raising=False)
    stages.export_detectors(context, figures)
    both = {"landscape", "portrait"}
    if size == (128, 128):
        wanted = {"baseline": both, "model": both, "model_plugin_free": both}
    else:
        own = {"": {"landscape"}, "_portrait": {"portrait"}}
        names = ("baseline", "model", "model_portrait", "model_plugin_free", "model_plugin_free_portrait")
        wanted = {name: own["_portrait" * name.endswith("_portrait")] for name in names}
    assert calls == [(f"{name}.onnx", 0.02, shown) for name, shown in wanted.items()]
    silent = [text.partition(": PyTorch finds no object") for text in noted]
    assert [name for name, found, _ in silent if found] == [f"{name}.onnx" for name in wanted if name != "baseline"]
    turned = {f"{name}.onnx": list(size[:: -1 if name.endswith("_portrait") else 1]) for name in wanted}
    assert figures["files"] == turned
    parity = json.loads((context.folder / "parity.json").read_text())
    assert parity["model"]["n_unmatched"] == 1
    assert parity.keys() == {"opset", *wanted}


def test_a_file_is_compared_on_images_of_its_orientation_or_on_turned_ones(data):
    shapes = [tuple(sample["inputs"].shape[1:]) for sample in stages.fitting(data.test, (128, 96), 24)]
    assert shapes == [(128, 96)]  # 128 x 98 is too wide
    (turned,) = stages.fitting(data.test.get_subset([0]), (128, 96), 24)
    (shown,) = stages.fitting(data.test.get_subset([0]), (96, 128), 24)
    assert shown["inputs"].shape == (3, 96, 128)
    assert torch.equal(turned["inputs"], shown["inputs"].transpose(1, 2))
    assert turned["data_samples"].img_shape == (128, 96)
    with pytest.raises(UserError, match=r"data.input_size = \(64, 96\): every validation image file is larger"):
        stages.fitting(data.test, (64, 96), 24)


@pytest.fixture(scope="module")
def one_stage(coco, tmp_path_factory):
    """Config and checkpoint of a small detector without RoIs, with a suppression that is not exported."""
    folder = tmp_path_factory.mktemp("one_stage")
    file = write_config(folder / "retina.py", coco, ONE_STAGE + UNEXPORTED)
    network = DetectorSpace(num_classes=80, model=load_config(str(file)).model.to_dict()).build()
    torch.save({"state_dict": network.state_dict()}, folder / "retina.pth")
    return file, folder / "retina.pth"


def test_what_fine_tuning_recommends_works(one_stage, coco, tmp_path, capsys):
    file, checkpoint = one_stage
    options = ("--cfg-options", *options_of(file, coco))
    assert run_tool("finetune", RECIPE, "--checkpoint", checkpoint, "--work-dir", tmp_path / "run", *options) == 0
    tool, arguments = re.search(r"\(`nncompress (\w+) (.+)` judges it again\)", capsys.readouterr().out).groups()
    assert run_tool(tool, *arguments.split()) == 0


def test_a_run_of_a_detector_that_is_not_exported_leaves_export_and_measure_out(one_stage, coco, tmp_path, capsys):
    """Known before anything is trained, and everything else is as for other detectors."""
    file, checkpoint = one_stage
    run = tmp_path / "run"
    arguments = ("--checkpoint", checkpoint, "--work-dir", run, "--pruning-ratio", 0.2)
    with pytest.warns(UserWarning, match="stages export and measure will be left out: test_cfg.nms = "):
        code = run_tool("prune", RECIPE, *arguments, "--cfg-options", *options_of(file, coco))
    out = capsys.readouterr()
    assert code == 0, out.err
    assert out.out.count("left out: test_cfg.nms = ") == 2
    stages_done = json.loads((run / "stages.json").read_text())
    assert "soft_nms" in stages_done["export"]["left_out"]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["params"]["after"] < summary["params"]["before"]
    assert summary["bbox_mAP"].keys() == {"before", "after"}
    assert (summary["latency_ms"], summary["parity_max_abs_diff"]) == ({}, None)
    categories = json.loads((run / "categories.json").read_text())
    assert (categories["images"], len(categories["categories"])) == (4, 80)
    rows = {row["name"]: row["bbox_mAP"] for row in categories["categories"]}
    assert rows == {  # nothing is evaluated again for them
        name: {
            "before": figures["bbox_mAP"],
            "after": stages_done["finetune"]["per_category"][name]["bbox_mAP"],
        }
        for name, figures in stages_done["load"]["per_category"].items()
    }
    page = (run / "report.html").read_text()
    assert "The stage measure was left out: test_cfg.nms = " in page
    assert "latency.json is not in this run folder" not in page
    assert (run / "model.pth").is_file()
    assert not list(run.glob("*.onnx"))


def test_a_one_stage_detector_of_common_parts_is_exported(coco, tmp_path):
    file = write_config(tmp_path / "retina.py", coco, ONE_STAGE)
    recipe = load_recipe(RECIPE, options_of(file, coco))
    assert make_context(recipe, Silent()).unexported is None
