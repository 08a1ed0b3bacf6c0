"""Engines of detectors: average precision through `Engine`, and docs/deploy/detect_tensorrt.py without PyTorch.

The engines are of a small hand-made network with a detector's inputs and outputs. They run in recorded fakes of
TensorRT and CUDA, which ask ONNX Runtime for the results: no GPU took part in the tests with "fake" in their names.
"""

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from drawn_coco import RECIPE, ROOT, annotation_file
from export import fake_cuda, fake_tensorrt
from run_tool import importable

pytest.importorskip("mmdet")
pytest.importorskip("onnxruntime")
import cv2
import onnx
from onnx import TensorProto, helper, numpy_helper

from compress.detection import DetectorSpace
from compress.detection.files import evaluate_file
from compress.export import EngineConfig, build_engine, onnx_session
from compress.export.convert import export_engine
from compress.export.tensorrt import cuda_device
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import UserError
from compress.spaces import Card, save_model

SIDE, PLACES = 128, 5
INPUTS = {"images": ("FLOAT", (1, 3, SIDE, SIDE)), "image_size": ("FLOAT", (1, 2))}
OUTPUTS = {
    "boxes": ("FLOAT", (1, PLACES, 4)),
    "scores": ("FLOAT", (1, PLACES)),
    "labels": ("INT64", (1, PLACES)),
    "masks": ("FLOAT", (1, PLACES, 28, 28)),
}
HOW = {
    "input_size": [3, SIDE, SIDE], "channel_order": "RGB", "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375], "pad_value": 0.0,
}  # fmt: skip
needs_no_gpu = pytest.mark.skipif(cuda_device() is not None, reason="this machine has a GPU")


@pytest.fixture(scope="module")
def truth(coco):
    """The annotations of the validation images."""
    return json.loads(annotation_file(coco, "val2017").read_text())


@pytest.fixture(scope="module")
def file(truth, tmp_path_factory):
    """A "detector" that sees the first image's objects in the same part of every image, and the last two not surely:
    their scores fall with the image's brightness. One place of five holds no detection."""
    image, kinds = truth["images"][0], [category["id"] for category in truth["categories"]]
    objects = [entry for entry in truth["annotations"] if entry["image_id"] == image["id"]]
    x, y, w, h = np.array([entry["bbox"] for entry in objects]).T
    parts = np.stack([x, y, x + w, y + h], 1) / np.tile([image["width"], image["height"]], 2)
    empty = PLACES - len(objects)
    masks = np.zeros((1, PLACES, 28, 28))
    masks[:, : len(objects), :, :20] = 1  # the left of each box
    constants = {
        "parts": np.float32([np.concatenate([parts, np.zeros((empty, 4))])]),
        "labels_": np.array([[*(kinds.index(entry["category_id"]) for entry in objects), *[-1] * empty]]),
        "sure": np.float32([[0.9, 0.8, 0.7, *[0.0] * empty]]), "dark": np.float32([[0, 0.01, 0.02, *[0.0] * empty]]),
        "masks_": masks.astype(np.float32), "corners": np.array([1, 0, 1, 0]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["image_size", "corners"], ["sides"], axis=1),
        helper.make_node("Mul", ["parts", "sides"], ["boxes"]),
        helper.make_node("ReduceMean", ["images"], ["brightness"], keepdims=0),
        helper.make_node("Mul", ["dark", "brightness"], ["change"]),
        helper.make_node("Sub", ["sure", "change"], ["scores"]),
        *(helper.make_node("Identity", [f"{name}_"], [name]) for name in ("labels", "masks")),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape) for name, (kind, shape) in entries]
        for entries in (INPUTS.items(), OUTPUTS.items())
    )
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "detector", inputs, outputs, weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    metadata = {"preprocessing": json.dumps(HOW), "detector": json.dumps({"mask_threshold": 0.5})}
    helper.set_model_props(proto, metadata)
    path = tmp_path_factory.mktemp("detector") / "model_plugin_free.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def engine(file, tmp_path, monkeypatch):
    """Its engine in the fake TensorRT."""
    session = onnx_session(file)

    def compute(**feed):
        return dict(zip(OUTPUTS, session.run(list(OUTPUTS), feed), strict=True))

    fake_tensorrt.install(monkeypatch)
    fake_tensorrt.state["network"] = SimpleNamespace(inputs=INPUTS, outputs=OUTPUTS, compute=compute)
    return build_engine(file, tmp_path / "model.engine", config=EngineConfig(batch=(1, 1, 1)))


@pytest.fixture
def context(config_file, coco):
    class Silent:
        def __getattr__(self, name):
            return lambda *args: None

    options = (
        f"space.config={config_file}",
        f"data.root={coco}",
        f"data.input_size=[{SIDE},{SIDE}]",
        "data.limit=None",
    )
    return make_context(load_recipe(RECIPE, options), Silent())


def test_fake_engine_has_the_average_precision_of_its_file(context, file, engine):
    found, wanted = (evaluate_file(context, path, threads=1) for path in (engine, file))
    assert (found.pop("backend"), wanted.pop("backend")) == ("tensorrt", "onnxruntime")
    assert found == wanted
    assert found["n_images"] == 4
    assert 0 < found["segm_mAP_50"] < found["bbox_mAP_50"] < 100  # right in the first image alone, masks only in part
    runs = [call for call in fake_tensorrt.calls if call[0] == "execute_async_v3"]
    assert runs == [("execute_async_v3", fake_tensorrt.STREAM)] * 4


def test_a_run_becomes_engines_for_both_orientations_by_the_fake(file, space, network, data, tmp_path, monkeypatch):
    """From files without plugins, for the batch that was asked for, or one image."""
    asked = []

    def export(self, network, card, path, **options):
        asked.append(options)
        return [Path(shutil.copy(file, path.with_name(f"{path.stem}{end}.onnx"))) for end in ("", "_portrait")]

    monkeypatch.setattr(DetectorSpace, "export", export)
    fake_tensorrt.install(monkeypatch)
    fake_tensorrt.state["network"] = SimpleNamespace(inputs=INPUTS, outputs=OUTPUTS, compute=None)
    run = tmp_path / "run"
    save_model(run / "model", network, Card(space.name, space.arch, data.classes, data.preprocessing))
    built = export_engine(run, tmp_path / "m.engine", config=EngineConfig(), input_size=(96, 128))
    assert [path.name for path in built] == ["m.engine", "m_portrait.engine"]
    assert [path.name for path in built.values()] == ["m.engine.onnx", "m_portrait.engine.onnx"]
    assert all(path.is_file() for path in (*built, *built.values()))
    with pytest.raises(UserError, match="batch = 4:4:4: input 'images' is bound to batches of 1"):
        export_engine(run, tmp_path / "m.engine", config=EngineConfig(batch=(4, 4, 4)))
    assert asked == [
        {"input_size": (96, 128), "plugin_free": True, "batch": 1},
        {"input_size": None, "plugin_free": True, "batch": 4},
    ]


def test_fake_engine_of_a_classifier_is_no_detector(context, file, tmp_path, monkeypatch):
    fake_tensorrt.install(monkeypatch)
    path = build_engine(file, tmp_path / "m.engine", config=EngineConfig())
    with pytest.raises(UserError) as caught:
        evaluate_file(context, path, threads=1)
    assert str(caught.value) == f"{path}: no detector of this project; `nncompress prune` leaves one as model.onnx"


@needs_no_gpu
def test_evaluating_an_engine_without_a_gpu_is_one_line(context, engine, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(UserError) as caught:
        evaluate_file(context, engine, threads=1)
    assert str(caught.value) == (
        f"{engine}: running needs an NVIDIA GPU with driver, and here is none; building works without"
    )


@pytest.fixture
def deploy(monkeypatch):
    """The scripts of docs/deploy by name, and whichever they import from beside them."""
    names = ("detect_onnx", "detect_tensorrt", "run_tensorrt")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    with importable(ROOT / "docs/deploy"):
        yield import_module
    for name in names:
        sys.modules.pop(name, None)


def test_fake_detect_tensorrt_finds_what_detect_onnx_finds(deploy, engine, file, coco, tmp_path, monkeypatch, capsys):
    """With fakes of TensorRT and of CUDA: no GPU took part."""
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(runtime=fake_cuda.FakeCuda()))
    said, written = [], []
    for image in sorted((coco / "val2017").iterdir())[:2]:
        for script, model, more in (("detect_onnx", file, []), ("detect_tensorrt", engine, ["--repeat", "4"])):
            masks = tmp_path / f"{script}.npz"
            monkeypatch.setattr(sys, "argv", [script, str(model), str(image), "--masks", str(masks), *more])
            deploy(script).main()
            said.append(capsys.readouterr().out.splitlines())
            with np.load(masks) as arrays:
                written.append(dict(arrays))
        assert said[-1] == [*said[-2], "1.5 ms (10th percentile 1.5, 90th 1.5, 4 calls)"]
        assert said[-2][-1] == "3 objects"
        assert written[-1]["masks"].shape == (3, *cv2.imread(str(image)).shape[:2])
        for name, values in written[-2].items():
            np.testing.assert_array_equal(written[-1][name], values)
    assert said[0] != said[2]


def test_fake_detect_tensorrt_refuses_in_one_line(deploy, engine, coco, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(runtime=fake_cuda.FakeCuda()))
    image = str(next((coco / "val2017").iterdir()))
    card = json.loads((engine.parent / "model.engine.json").read_text())
    card["metadata"] = {"preprocessing": "{}"}
    (engine.parent / "model.engine.json").write_text(json.dumps(card))
    none = engine.parent / "none.engine"
    for given, message in (
        (engine, f"error: {engine}: no detector's engine; build it from a run's model_plugin_free.onnx"),
        (none, f"error: [Errno 2] No such file or directory: '{none}.json'"),
    ):
        monkeypatch.setattr(sys, "argv", ["detect_tensorrt.py", str(given), image])
        with pytest.raises(SystemExit) as end:
            deploy("detect_tensorrt").main()
        assert end.value.code == 2
        assert capsys.readouterr().err == f"{message}\n"


@needs_no_gpu
def test_detect_tensorrt_without_a_gpu_is_one_line(coco, tmp_path):
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    image = str(next((coco / "val2017").iterdir()))
    told = {"metadata": {"detector": "{}", "preprocessing": json.dumps(HOW)}}
    (tmp_path / "m.engine.json").write_text(json.dumps(told))
    command = [sys.executable, "docs/deploy/detect_tensorrt.py", str(tmp_path / "m.engine"), image]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: CUDA: cudaError")
    assert len(done.stderr.splitlines()) == 1


def test_detect_tensorrt_needs_no_torch_and_no_onnxruntime():
    code = "import sys, detect_tensorrt; print({'torch', 'compress', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "docs/deploy", capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
