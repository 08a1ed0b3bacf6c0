"""Detectors in 8-bit integers: backbone and neck alone, calibrated on training images, in both orientations."""

import json

import pytest
import torch
from drawn_coco import RECIPE, Silent, options_of
from whole_detectors import model_section, neck_maps, spread

pytest.importorskip("mmdet")
pytest.importorskip("onnxruntime")
import onnx
import onnxruntime

from compress.detection import DetectorSpace
from compress.detection.export import export_detector
from compress.detection.export.int8 import PREFIX, quantize_detector
from compress.detection.files import evaluate_file, open_forms
from compress.detection.stages import detector_feed, fitting, places, shown_to
from compress.export.convert import export_int8
from compress.export.forms import other_form
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import UserError
from compress.spaces import Card, save_model

SIZE = (96, 128)


@pytest.fixture(scope="module")
def context(config_file, coco):
    options = [each for each in options_of(config_file, coco) if not each.startswith("data.input_size=")]
    options.append(f"data.input_size={[*SIZE]}")
    return make_context(load_recipe(RECIPE, options), Silent())


@pytest.fixture(scope="module")
def run(context, config, tmp_path_factory):
    """A run's folder with a small cascade, and the network."""
    folder = tmp_path_factory.mktemp("run")
    space = DetectorSpace(num_classes=80, model=model_section(config.model.to_dict(), "cascade-mask", few=True))
    torch.manual_seed(0)
    network = spread(space.build())
    save_model(
        folder / "model", network, Card(space.name, space.arch, context.data.classes, context.data.preprocessing)
    )
    return folder, network


@pytest.fixture(scope="module")
def file(run, context):
    """The INT8 file for images that lie; that for those that stand is beside it."""
    path = run[0] / "det.int8.onnx"
    assert export_int8(run[0], path, context.data, images=2) == {path: 2, other_form(path, SIZE): 2}
    return path


def integers(proto):
    """Names of the weights in 8 bits."""
    return [t.name for t in proto.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]


def layers_of(network):
    """The convolutions and linear layers of backbone and neck."""
    modules = (*network.backbone.modules(), *network.neck.modules())
    return [each for each in modules if isinstance(each, torch.nn.Conv2d | torch.nn.Linear)]


def test_backbone_and_neck_alone_are_integers(file, run):
    proto = onnx.load(file)
    assert len(integers(proto)) == len(layers_of(run[1]))
    assert all(name.startswith("int8/") for name in integers(proto))
    kinds = {t.name: t.data_type for t in proto.graph.initializer if ".roi_head." in t.name or ".rpn_head." in t.name}
    assert set(kinds.values()) == {onnx.TensorProto.FLOAT}
    told = {entry.key: entry.value for entry in proto.metadata_props}
    assert [entry.domain for entry in proto.opset_import].count("") == 1
    assert "ai.onnx" not in {entry.domain for entry in proto.opset_import}
    record = json.loads(told["quantization"])
    assert (record["of"], record["calibration_images"], record["weights"]) == ("backbone and neck", 2, "int8")


def neck_in(file, feed):
    """The maps that leave the neck in the INT8 `file`."""
    proto = onnx.load(file)
    told = next(json.loads(entry.value) for entry in proto.metadata_props if entry.key == "detector")
    names = [PREFIX + name for name in told["maps"]]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return {tuple(found.shape): torch.from_numpy(found) for found in session.run(names, feed)}


def test_both_forms_compute_what_the_network_computes(file, run, context):
    """As closely as 8 bits allow: which boxes are found of random weights hangs on less."""
    for form, size in ((file, SIZE), (other_form(file, SIZE), SIZE[::-1])):
        (sample,) = fitting(context.data.test, size, 1)
        feed = detector_feed(run[1], sample, size)
        found = neck_in(form, feed)
        with torch.no_grad():
            maps = run[1].extract_feat(torch.from_numpy(feed["images"]))
        assert len(found) == len(maps)
        for each in maps:
            error = float((found[tuple(each.shape)] - each).norm() / each.norm())
            assert 0 < error < 0.1
    assert [each.size for each in open_forms(file, threads=1, trust=False)] == [SIZE, SIZE[::-1]]
    assert evaluate_file(context, file, threads=1)["n_images"] == 4


def test_the_file_is_smaller(file, run, tmp_path):
    whole = export_detector(run[1], tmp_path / "float.onnx", input_size=(3, *SIZE))
    weights = sum(layer.weight.numel() for layer in layers_of(run[1]))
    assert whole.stat().st_size - file.stat().st_size > 2 * weights  # three bytes of four, less what scales take
    told, maps = neck_maps(whole, run[1])
    assert told == maps


def test_images_of_the_other_orientation_are_turned_where_there_are_too_few(context):
    lying, standing = places(context.data.train_evaluation, SIZE, 8)
    assert min(len(lying), len(standing)) > 0
    assert not {*lying} & {*standing}
    shapes = [shown_to(context.data.train_evaluation, SIZE, i)["inputs"].shape for i in standing]
    assert all(width > height for _, height, width in shapes)
    assert sum(map(len, places(context.data.train_evaluation, SIZE, 8, most=3))) <= 3


def test_what_is_no_float_file_of_one_size_is_refused(file, tmp_path):
    with pytest.raises(UserError, match="is quantised already; give the float32 network"):
        quantize_detector(file, tmp_path / "m.onnx", [{}])
    info = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("images", "maps")
    ]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["images"], ["maps"])], "older", info[:1], info[1:])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "older.onnx")
    with pytest.raises(UserError, match="does not tell the maps that leave its neck; export the detector again"):
        quantize_detector(tmp_path / "older.onnx", tmp_path / "m.onnx", [{}])
    assert not (tmp_path / "m.onnx").exists()


def test_calibration_sees_training_images_alone(file, run, context, monkeypatch):
    seen = []
    training = context.data.train_evaluation
    monkeypatch.setattr(
        type(training), "__getitem__", lambda self, i: seen.append(self.ann_file) or self.prepare_data(i)
    )
    export_int8(run[0], run[0] / "again.onnx", context.data, images=2, seed=1)
    assert seen
    assert {name.rpartition("/")[2] for name in seen} == {"instances_train2017.json"}
