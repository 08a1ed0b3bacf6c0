"""Whole detectors as ONNX files: both forms answer as MMDetection does, and TensorRT-RTX builds the plugin-free one."""

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_coco import FULL, ROOT, TWIN
from whole_detectors import detector, halved, model_section, spread

pytest.importorskip("mmdet")
pytest.importorskip("onnxruntime")
import onnx

from compress.detection import DetectorSpace
from compress.detection.data import CocoData, DetectionData
from compress.detection.export import compare_detections, export_detector
from compress.detection.run import load_config
from compress.export import ParityError, export_half, onnx_session
from compress.plan import UserError

SCRIPT = ROOT / "docs/deploy/detect_onnx.py"
COCO_MINI = Path(os.environ.get("COMPRESS_SHARED_DATA", ROOT.parent / "shared/data")) / "coco-mini"
SIZE = (3, 128, 128)
FORMS = ("onnxruntime", "plugin-free")
FILES = [pytest.param("onnxruntime", marks=pytest.mark.slow), "plugin-free"]
"""Of the forms those whose files are made each time; test_detector_forms.py makes the other one's of a Faster R-CNN."""
NEED_PLUGINS = {"NonMaxSuppression", "RoiAlign", "NonZero", "Loop", "If", "Scan", "ScatterND", "ScatterElements"}
real_images = pytest.mark.skipif(not COCO_MINI.is_dir(), reason="the COCO subset is not here")


@pytest.fixture(scope="module")
def samples(data):
    return [data.test[i] for i in range(len(data.test))]


@pytest.fixture(scope="module")
def network(config, samples):
    return halved(detector(config.model.to_dict(), few=True), samples, SIZE[1:])


@pytest.fixture(scope="module")
def file_of(network, tmp_path_factory):
    """`file_of(form)`: a small cascade with masks. That all levels and stages are computed, the graph's tests say."""
    folder = tmp_path_factory.mktemp("files")
    metadata = {"classes": json.dumps([f"class {i}" for i in range(80)])}

    @cache
    def made(form):
        return export_detector(network, folder / f"{form}.onnx", input_size=SIZE, form=form, metadata=metadata)

    return made


def script():
    spec = importlib.util.spec_from_file_location("detect_onnx", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("form", FILES)
def test_the_file_detects_what_mmdetection_detects(form, file_of, network, samples):
    entry = compare_detections(network, file_of(form), samples)
    assert entry["n_images"] == 4
    assert 20 < entry["n_detections"] < 80
    assert entry["n_unmatched"] == 0
    assert entry["max_box_diff"] < 1e-2
    assert entry["max_score_diff"] < 1e-4
    assert 0 < entry["max_mask_diff"] < 1e-2


@pytest.mark.parametrize("form", FILES)
def test_inputs_outputs_and_metadata(form, file_of):
    session = onnx_session(file_of(form))
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("images", "tensor(float)", [1, *SIZE]),
        ("image_size", "tensor(float)", [1, 2]),
    ]
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
        ("boxes", "tensor(float)", [1, 20, 4]),
        ("scores", "tensor(float)", [1, 20]),
        ("labels", "tensor(int64)", [1, 20]),
        ("masks", "tensor(float)", [1, 20, 28, 28]),
    ]
    metadata = session.get_modelmeta().custom_metadata_map
    assert len(json.loads(metadata["classes"])) == 80
    how, settings = json.loads(metadata["preprocessing"]), json.loads(metadata["detector"])
    assert (how["channel_order"], how["input_size"], how["pad_value"]) == ("RGB", list(SIZE), 0)
    assert how["mean"] == pytest.approx([123.675, 116.28, 103.53])
    assert (settings["form"], settings["fixed_sampling"], settings["mask_threshold"]) == (form, None, 0.5)


@pytest.mark.parametrize("form", FILES)
def test_float16_finds_the_same(form, file_of, network, samples, tmp_path):
    """Images of 128 pixels have areas, and scores of 48 boxes and 80 classes indices, that float16 would round.

    That would lose a third of the detections. Which boxes overlap by a half is rounding's choice in one or two cases.
    """
    half = export_half(file_of(form), tmp_path / "half.onnx")
    entry = compare_detections(network, half, samples, unmatched_share=0.1)
    assert entry["n_detections"] > 20
    assert entry["max_score_diff"] > 1e-5


@pytest.mark.parametrize("form", FILES)
def test_the_plugin_free_form_alone_has_no_operator_that_needs_a_plugin(form, file_of):
    used = {node.op_type for node in onnx.load(file_of(form)).graph.node}
    assert used & NEED_PLUGINS >= {"onnxruntime": {"RoiAlign", "NonMaxSuppression"}, "plugin-free": set()}[form]
    assert form == "onnxruntime" or not used & NEED_PLUGINS


def test_a_file_of_other_weights_is_told_by_image_and_detection(file_of, config, samples):
    other = detector(config.model.to_dict(), seed=1, few=True)
    with pytest.raises(
        ParityError, match=r"image .*\.png: .* detection \d+, label \d+, score 0\.\d+, box \("
    ) as caught:
        compare_detections(other, file_of("plugin-free"), samples)
    assert "\n" not in str(caught.value)
    assert compare_detections(other, file_of("plugin-free"), samples, unmatched_share=1)["n_unmatched"] > 0


def test_unfit_images_and_files_are_refused(file_of, network, samples, tmp_path):
    file = file_of("plugin-free")
    with pytest.raises(UserError, match="samples: none"):
        compare_detections(network, file, [])
    large = {**samples[0], "inputs": torch.zeros(3, 160, 128, dtype=torch.uint8)}
    large["data_samples"] = samples[0]["data_samples"].clone()
    large["data_samples"].set_metainfo({"img_shape": (160, 128)})
    with pytest.raises(UserError, match="an image of 160 x 128 is larger"):
        compare_detections(network, file, [large])
    stripped = onnx.load(file)
    del stripped.metadata_props[:]
    onnx.save(stripped, tmp_path / "other.onnx")
    with pytest.raises(UserError, match="no detector of this project"):
        compare_detections(network, tmp_path / "other.onnx", samples)


def test_a_failed_export_leaves_the_older_file(network, tmp_path, monkeypatch):
    file = tmp_path / "m.onnx"
    file.write_bytes(b"older")
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **kwargs: None)
    with pytest.raises(RuntimeError, match="returned no program"):
        export_detector(network, file, input_size=SIZE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]
    assert file.read_bytes() == b"older"


@pytest.mark.parametrize("form", FILES)
def test_the_script_without_torch_finds_the_same_in_the_original_image(form, file_of, network, samples):
    import cv2

    detect, session = script().detect, onnx_session(file_of(form))
    for sample in samples:
        image = cv2.imread(sample["data_samples"].img_path)
        found = detect(session, image)
        data = network.data_preprocessor({key: [value] for key, value in sample.items()})
        height, width = data["inputs"].shape[2:]
        images = torch.nn.functional.pad(data["inputs"], (0, SIZE[2] - width, 0, SIZE[1] - height))
        with torch.no_grad():
            expected = network.predict(images, data["data_samples"], rescale=True)[0].pred_instances.numpy()
        assert found["masks"].shape == (len(expected), *image.shape[:2])
        # Detections of nearly equal scores may change places.
        apart = np.abs(found["boxes"][:, None] - expected.bboxes).max(-1) + 1e4 * (
            found["labels"][:, None] != expected.labels
        )
        order = apart.argmin(0)
        assert sorted(order.tolist()) == list(range(len(expected)))
        np.testing.assert_allclose(found["boxes"][order], expected.bboxes, atol=1e-2)
        np.testing.assert_allclose(found["scores"][order], expected.scores, atol=1e-4)
        differing = (found["masks"][order] != expected.masks).sum()
        assert differing <= 1e-3 * expected.masks.sum()


def test_the_script_imports_no_torch():
    text = SCRIPT.read_text()
    assert "torch" not in text
    assert "compress" not in text.replace("savez_compressed", "")


@pytest.fixture(scope="module")
def adaptive(config):
    """As the full detector: RoIs are sampled as finely as they need."""
    section = model_section(config.model.to_dict())
    for extractor in ("bbox_roi_extractor", "mask_roi_extractor"):
        section["roi_head"][extractor]["roi_layer"]["sampling_ratio"] = 0
    torch.manual_seed(0)
    return spread(DetectorSpace(num_classes=80, model=section).build())


@pytest.mark.slow
def test_adaptive_sampling_is_exact_in_one_form_and_replaced_in_the_other(adaptive, samples, tmp_path):
    exact = export_detector(adaptive, tmp_path / "exact.onnx", input_size=SIZE)
    assert compare_detections(adaptive, exact, samples)["max_score_diff"] < 1e-4
    with pytest.warns(UserWarning, match="sampling_ratio = 0: form plugin-free takes 2 samples"):
        fixed = export_detector(adaptive, tmp_path / "fixed.onnx", input_size=SIZE, form="plugin-free")
    assert compare_detections(adaptive, fixed, samples)["max_score_diff"] < 1e-4  # MMDetection at that ratio too
    assert all(layer.sampling_ratio == 0 for layer in adaptive.roi_head.bbox_roi_extractor[0].roi_layers)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cascade", "mask", "faster"])
def test_other_two_stage_detectors_are_exported_too(kind, config, samples, tmp_path):
    network = detector(config.model.to_dict(), kind)
    for form in FORMS:
        file = export_detector(network, tmp_path / f"{form}.onnx", input_size=SIZE, form=form)
        entry = compare_detections(network, file, samples)
        assert entry["n_detections"] > 20
        assert (entry["max_mask_diff"] > 0) == ("mask" in kind)


def build_for_8_9(file):
    """An engine of TensorRT-RTX for compute capability 8.9, which needs no GPU."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    from compress.export import EngineConfig, build_engine

    config = EngineConfig(backend="tensorrt-rtx", batch=(1, 1, 1), compute_capabilities=("8.9",))
    return build_engine(file, file.with_suffix(".engine"), config=config)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_tensorrt_builds_the_plugin_free_form(precision, file_of, tmp_path):
    from compress.export.tensorrt import load_engine_card

    file = file_of("plugin-free")
    card = load_engine_card(
        build_for_8_9(file if precision == "float32" else export_half(file, tmp_path / "half.onnx"))
    )
    assert card["precision"] == precision
    assert [(o["name"], o["dtype"]) for o in card["outputs"]][:3] == [
        ("boxes", "float32"),
        ("scores", "float32"),
        ("labels", "int64"),
    ]
    assert json.loads(card["metadata"]["detector"])["form"] == "plugin-free"


def real(path, side, n):
    """The detector of the config at `path`, and `n` validation images of COCO whose longer side has `side` pixels."""
    config = load_config(str(path))
    resize = next(step for step in config.val_dataloader.dataset.pipeline if step["type"] == "Resize")
    resize["scale"] = (side, side)
    data = CocoData(config, DetectionData(root=str(COCO_MINI), input_size=(side, side)))
    torch.manual_seed(0)
    network = spread(DetectorSpace(num_classes=80, model=config.model.to_dict()).build())
    return network, [data.test[i] for i in range(n)]


@pytest.mark.slow
@real_images
def test_the_twin_agrees_on_twenty_real_images(tmp_path):
    network, samples = real(TWIN, 256, 20)
    for form in FORMS:
        file = export_detector(network, tmp_path / f"{form}.onnx", input_size=(3, 256, 256), form=form)
        entry = compare_detections(network, file, samples)
        assert entry["n_images"] == 20
        assert entry["n_detections"] > 400


@pytest.mark.slow
@real_images
@pytest.mark.filterwarnings("ignore:sampling_ratio = 0")
def test_the_full_cascade_mask_rcnn_agrees_and_is_built(tmp_path):
    network, samples = real(FULL, 320, 2)
    for form in FORMS:
        file = export_detector(network, tmp_path / f"{form}.onnx", input_size=(3, 320, 320), form=form)
        assert compare_detections(network, file, samples)["n_detections"] > 50
    assert build_for_8_9(file).stat().st_size > 1e8


def test_the_script_refuses_other_files_in_one_line(coco, tmp_path):
    image = next((coco / "val2017").iterdir())
    broken, other = tmp_path / "broken.onnx", tmp_path / "other.onnx"
    broken.write_bytes(b"no model")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [output])
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), other)
    for file, words in ((broken, "INVALID_PROTOBUF"), (other, "no detector's file"), (tmp_path / "none.onnx", "exist")):
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(file), str(image)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {file}: ")
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
