"""A detector's last stages: what they hand to the exporter, and what of them is left out."""

import json
import re

import pytest
import torch
from drawn_coco import ONE_STAGE, RECIPE, UNEXPORTED, Silent, options_of, write_config
from run_tool import run_tool

pytest.importorskip("mmdet")
from compress.detection import DetectorSpace, stages
from compress.detection.run import load_config
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
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


def test_exported_files_know_their_classes_and_rounding_may_decide_a_few_detections(context, data, monkeypatch):
    calls = []

    def compared(network, file, images, *, unmatched_share):
        calls.append((file.name, unmatched_share))
        return {"n_unmatched": 1, "max_score_diff": 0.0}

    def exported(network, file, *, metadata, **options):
        assert json.loads(metadata["classes"]) == list(data.classes)
        assert metadata["plan_sha256"] == "f" * 64
        assert "preprocessing" not in metadata, "the file's own says how images are padded"

    monkeypatch.setattr(stages, "export_detector", exported)
    monkeypatch.setattr(stages, "compare_detections", compared)
    figures = {}
    stages.export_detectors(context, figures)
    assert figures["fitting"] == {"images": 4, "of": 4}
    assert calls == [(f"{name}.onnx", 0.02) for name in ("baseline", "model", "model_plugin_free")]
    assert json.loads((context.folder / "parity.json").read_text())["model"]["n_unmatched"] == 1


def test_images_that_are_larger_than_the_file_takes_are_counted(data):
    """A file that lies on its side takes no upright ones."""
    tall = [sample["inputs"].shape[1] > 96 for sample in (data.test[i] for i in range(len(data.test)))]
    assert 0 < sum(tall) < len(tall)
    chosen, seen = stages.fitting(data.test, (96, 128), 24)
    assert (len(chosen), seen) == (len(tall) - sum(tall), len(tall))


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
