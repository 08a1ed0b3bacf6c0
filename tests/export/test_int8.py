"""INT8 files: as accurate, smaller, and calibrated on training images alone."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from digits_run import digits, trained_run
from onnx import numpy_helper
from run_tool import run_tool
from small_networks import onnx_file, real_images

from compress.engine.datasets import ImageSplit
from compress.export import (
    EngineConfig,
    Int8Config,
    build_engine,
    onnx_session,
    quantize_int8,
)
from compress.export.convert import calibration_images, export_int8
from compress.export.tensorrt import load_engine_card
from compress.measure.accuracy import evaluate_model
from compress.measure.models import count_weights, open_model
from compress.plan import UserError


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    """The trained run as INT8, by the command."""
    path = tmp_path_factory.mktemp("int8") / "model.int8.onnx"
    assert run_tool("export", trained_run(), "--to", "ort-int8", "--calibration-images", 100, "-o", path) == 0
    return path


def initializer(proto, suffix):
    (found,) = [numpy_helper.to_array(t) for t in proto.graph.initializer if t.name.endswith(suffix)]
    return found


def test_accuracy_stays_and_the_file_shrinks(int8):
    full = trained_run() / "model.onnx"
    before, after = (evaluate_model(open_model(path), digits()) for path in (full, int8))
    assert before["top1"] > 90
    assert abs(after["top1"] - before["top1"]) <= 1
    assert after["loss"] == pytest.approx(before["loss"], abs=0.02)
    assert int8.stat().st_size < 0.4 * full.stat().st_size
    assert count_weights(int8) == count_weights(full)


def test_metadata_are_kept_and_tell_how_it_was_made(int8):
    entries = [{e.key: e.value for e in onnx.load(p).metadata_props} for p in (trained_run() / "model.onnx", int8)]
    assert entries[1].keys() - entries[0].keys() == {"quantization"}
    assert entries[0].items() <= entries[1].items()
    record = json.loads(entries[1]["quantization"])
    assert (record["calibration"], record["calibration_images"]) == ("minmax", 100)
    assert (record["weights"], record["activations"], record["per_channel"]) == ("int8", "uint8", True)


def test_only_training_images_are_looked_at(tmp_path):
    class Recording:
        """A source that remembers which of its images were read."""

        def __init__(self, source):
            self.source, self.labels, self.seen = source, source.labels, []

        def read(self, ids):
            self.seen += ids.tolist()
            return self.source.read(ids)

    data = digits()
    train, test = (Recording(split.source) for split in (data.train, data.test))
    # Every second training image is in the split, as with a held-out part.
    halves = {
        "train": ImageSplit(train, data.train.ids[::2], data.train.transform),
        "test": ImageSplit(test, data.test.ids, data.test.transform),
    }
    path = tmp_path / "m.onnx"
    assert export_int8(trained_run(), path, replace(data, **halves), images=50) == {path: 50}
    assert test.seen == []
    assert len(train.seen) == len(set(train.seen)) == 50
    assert set(train.seen) <= set(data.train.ids[::2].tolist())


def test_the_choice_of_images_is_seeded_and_balanced():
    train = digits().train
    chosen, again, other = (calibration_images(train, 200, seed=seed) for seed in (3, 3, 4))
    assert (chosen.ids == again.ids).all()
    assert set(chosen.ids) != set(other.ids)
    shares = np.bincount(chosen.labels, minlength=10) / 200
    assert np.abs(shares - np.bincount(train.labels, minlength=10) / len(train)).max() <= 1 / 200
    assert calibration_images(train, 10**6, seed=0) is train


@pytest.mark.parametrize("calibration", ["minmax", "entropy", "percentile"])
def test_logits_stay_close_and_ranges_cover_the_images(small, batches, calibration, tmp_path, capfd):
    path = quantize_int8(small, tmp_path / "q.onnx", batches, config=Int8Config(calibration=calibration))
    assert capfd.readouterr().out == ""
    images = torch.cat(batches).numpy()
    wanted, given = (onnx_session(p).run(None, {"images": images})[0] for p in (small, path))
    # In the mean: two of the methods cut outliers off on purpose.
    assert np.square(given - wanted).mean() < 0.05**2 * np.square(wanted).mean()
    assert not np.array_equal(given, wanted)
    spans = 255 * initializer(onnx.load(path), "images_scale"), images.max() - images.min()
    if calibration == "minmax":
        assert spans[0] == pytest.approx(spans[1], rel=1e-5)
    else:
        assert spans[0] <= spans[1] * 1.001


def test_each_channel_has_its_scale_and_zero_is_zero(small, batches, tmp_path):
    proto = onnx.load(quantize_int8(small, tmp_path / "q.onnx", batches, config=Int8Config(reduce_range=False)))
    weights, scales = initializer(proto, "4.weight_quantized"), initializer(proto, "4.weight_scale")
    assert weights.dtype == np.int8
    assert scales.shape == (4,)
    assert scales[2] > 20 * scales[1]
    assert (np.abs(weights).max(1) == 127).all()
    assert not initializer(proto, "4.weight_zero_point").any()
    assert initializer(proto, "images_zero_point").dtype == np.uint8
    assert {e.key for e in proto.metadata_props} == {"a", "quantization"}


@pytest.mark.parametrize(
    ("activations", "given", "largest"), [("uint8", None, 64), ("uint8", False, 127), ("int8", None, 127)]
)
def test_products_of_bytes_fit_16_bits_on_every_x86_processor(small, batches, tmp_path, activations, given, largest):
    config = Int8Config(activations=activations, reduce_range=given)
    proto = onnx.load(quantize_int8(small, tmp_path / "q.onnx", batches, config=config))
    assert np.abs(initializer(proto, "4.weight_quantized")).max() == largest
    record = json.loads({e.key: e.value for e in proto.metadata_props}["quantization"])
    assert record["reduce_range"] is (largest == 64)


def test_other_processors(small, batches, tmp_path):
    config = Int8Config(activations="int8", reduce_range=True)
    proto = onnx.load(quantize_int8(small, tmp_path / "q.onnx", batches, config=config))
    zero = initializer(proto, "images_zero_point")
    assert (zero.dtype, int(zero)) == (np.int8, 0)
    assert np.abs(initializer(proto, "4.weight_quantized")).max() <= 64


def optimised(path, target):
    """The operators that ONNX Runtime makes of the file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(target), 3  # it warns of files for one machine
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(target).graph.node)


def test_float32_biases_keep_integer_operators_and_answers(small, batches, tmp_path):
    """Of `int8` activations, for TensorRT: the classifier's bias is added behind it, convolutions keep theirs."""
    config = Int8Config(activations="int8", reduce_range=True)  # the answers are this processor's
    path = quantize_int8(small, tmp_path / "q.onnx", batches, config=config)
    proto, full = onnx.load(path), onnx.load(small)
    assert json.loads({e.key: e.value for e in proto.metadata_props}["quantization"])["biases"] == "float32"
    np.testing.assert_array_equal(initializer(proto, "4.bias"), initializer(full, "4.bias"))
    np.testing.assert_array_equal(initializer(proto, "0.bias"), initializer(full, "0.bias"))
    assert not [t.name for t in proto.graph.initializer if t.data_type == onnx.TensorProto.INT32]
    found = optimised(path, tmp_path / "optimised.onnx")
    assert (found["QGemm"], found["Gemm"], found["Conv"] + found["QLinearConv"]) == (1, 0, 1)
    images = torch.cat(batches).numpy()
    wanted, given = (onnx_session(p).run(None, {"images": images})[0] for p in (small, path))
    assert np.abs(given - wanted).max() < 0.05 * np.abs(wanted).max()
    as_integers = onnx.load(quantize_int8(small, tmp_path / "u.onnx", batches))
    assert initializer(as_integers, "0.bias_quantized").dtype == np.int32


@pytest.mark.parametrize("name", ["preresnet", "mobilenetv2", "vit"])
def test_tensorrt_rtx_takes_symmetric_activations_alone(name, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    source = onnx_file(tmp_path, name, pruned=name == "mobilenetv2")
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rtx = EngineConfig(backend="tensorrt-rtx", batch=(1, 2, 4))
    for activations in ("uint8", "int8"):
        config = Int8Config(activations=activations)
        quantize_int8(source, tmp_path / f"{activations}.onnx", [images], config=config)
    engine = build_engine(tmp_path / "int8.onnx", tmp_path / "m.engine", config=rtx)
    assert load_engine_card(engine)["precision"] == "int8"
    with pytest.raises(UserError, match=r"cannot take node '.*' \(operator (Q|Deq)uantizeLinear: invalid node"):
        build_engine(tmp_path / "uint8.onnx", tmp_path / "n.engine", config=rtx)


def integer_inputs(path):
    """{operator: for each of its nodes, whether all inputs come from integers}."""
    graph = onnx.load(path).graph
    decoded = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    found = {}
    for node in graph.node:
        found.setdefault(node.op_type, []).append(set(node.input) <= decoded)
    return found


def test_sums_are_integers_except_in_transformers(int8, tmp_path):
    source = onnx_file(tmp_path, "vit")
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    path = quantize_int8(source, tmp_path / "q.onnx", [images])
    assert all(integer_inputs(path)["MatMul"])
    assert not any(integer_inputs(path)["Add"])
    assert all(integer_inputs(int8)["Conv"])
    assert all(integer_inputs(int8)["Add"])
    wanted, given = (onnx_session(p).run(None, {"images": images.numpy()})[0] for p in (source, path))
    assert np.abs(given - wanted).max() < 0.2 * np.abs(wanted).max()


@pytest.mark.parametrize("name", [pytest.param("darts", marks=pytest.mark.slow), "nats"])
def test_networks_of_cells_stay_close(name, tmp_path):
    """Pools and concatenations stand between their integers."""
    source = onnx_file(tmp_path, name)
    images = real_images(32, 24)
    path = quantize_int8(source, tmp_path / "q.onnx", images.split(8))
    wanted, given = (onnx_session(p).run(None, {"images": images.numpy()})[0] for p in (source, path))
    spread = wanted - wanted.mean(0)
    assert np.square(given - wanted).mean() < 0.1**2 * np.square(spread).mean()
    assert all(integer_inputs(path)["Conv"])
    assert all(integer_inputs(path)["Gemm"])
