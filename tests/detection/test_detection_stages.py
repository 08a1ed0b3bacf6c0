"""What a detector's last stages hand to the exporter."""

import json

import pytest
from drawn_coco import RECIPE, Silent, options_of

pytest.importorskip("mmdet")
from compress.detection import stages
from compress.pipeline.context import make_context
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
    stages.export_detectors(context, {})
    assert calls == [(f"{name}.onnx", 0.02) for name in ("baseline", "model", "model_plugin_free")]
    assert json.loads((context.folder / "parity.json").read_text())["model"]["n_unmatched"] == 1
