"""Files that take pixels: the same answers as with preprocessing outside, whatever the weights' type and the tool."""

import json
import os
import runpy
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from digits_run import RECIPE, ROOT, digits, trained_run
from onnx import TensorProto, numpy_helper
from run_tool import run_tool

from compress.engine.transforms import Transform
from compress.export import (
    compare_with_onnx,
    export_half,
    export_pixels,
    network_input,
    onnx_session,
    quantize_int8,
)
from compress.export.convert import export_int8, write_onnx
from compress.export.tensorrt import load_engine_card
from compress.measure.accuracy import evaluate_model
from compress.measure.benchmark import benchmark_models
from compress.measure.models import count_weights, open_model
from compress.plan import UserError
from compress.spaces import load_model

CHECK = runpy.run_path(str(ROOT / "docs/deploy/check_onnx.py"))


@pytest.fixture(scope="module")
def stored():
    """The test images of digits as they are stored, uint8 [N, H, W, 3]."""
    (images_BCHW,) = digits().test.source.read(digits().test.ids)
    return images_BCHW.permute(0, 2, 3, 1).contiguous().numpy()


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """The trained run as a float32 file that takes pixels, by the command."""
    path = tmp_path_factory.mktemp("pixels") / "model.uint8.onnx"
    assert run_tool("export", trained_run(), "--to", "onnx", "--uint8-input", "-o", path) == 0
    return path


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def how(path):
    return json.loads(metadata(path)["preprocessing"])


def logits(path, stored):
    """Of all images: prepared as the file says, by a script that knows nothing of this library."""
    (answer,) = onnx_session(path).run(["logits"], {"images": CHECK["preprocess"](stored, how(path))})
    return answer


def farthest(given, wanted):
    return np.abs(given - wanted).max() / np.abs(wanted).max()


def test_float32_answers_as_with_preprocessing_outside(pixels, stored):
    wanted, given = logits(trained_run() / "model.onnx", stored), logits(pixels, stored)
    assert CHECK["preprocess"](stored, how(pixels)).dtype == np.uint8
    assert farthest(given, wanted) <= 1e-5
    assert (given.argmax(1) == wanted.argmax(1)).all()


def changed(path, **preprocessing):
    """A copy of the run's file whose preprocessing says something else; None: nothing."""
    proto = onnx.load(trained_run() / "model.onnx")
    told = {entry.key: entry.value for entry in proto.metadata_props}
    told["preprocessing"] = json.dumps(
        {k: v for k, v in (json.loads(told["preprocessing"]) | preprocessing).items() if v is not None}
    )
    onnx.helper.set_model_props(proto, told)
    onnx.save(proto, path)
    return path


def test_colours_have_their_own_mean_and_std(tmp_path):
    """Digits are grey: here every channel differs, in the images and in the normalisation."""
    full = changed(tmp_path / "m.onnx", mean=[0.5, 0.4, 0.1], std=[0.25, 0.5, 0.125], resize=None)
    path = export_pixels(full, tmp_path / "p.onnx")
    images = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), np.uint8)
    preprocessing = how(full) | {"resize": None}
    (wanted,) = onnx_session(full).run(None, {"images": CHECK["preprocess"](images, preprocessing)})
    (given,) = onnx_session(path).run(None, {"images": images})
    assert farthest(given, wanted) <= 1e-5
    (mirrored,) = onnx_session(path).run(None, {"images": images[..., ::-1].copy()})
    assert farthest(mirrored, wanted) > 1e-2


def test_float16_answers_as_with_preprocessing_outside(stored, tmp_path):
    half, both = tmp_path / "half.onnx", tmp_path / "both.onnx"
    write_onnx(trained_run() / "model.onnx", half, fp16=True)
    write_onnx(trained_run() / "model.onnx", both, fp16=True, uint8_input=True)
    wanted, given = logits(half, stored), logits(both, stored)
    # A last bit of difference before the rounding to float16 becomes a last bit of float16, 5e-4, behind it.
    assert farthest(given, wanted) <= 1e-3
    assert (given.argmax(1) == wanted.argmax(1)).all()


def test_the_normalisation_of_a_float16_network_is_float32(tmp_path):
    path = tmp_path / "both.onnx"
    write_onnx(trained_run() / "model.onnx", path, fp16=True, uint8_input=True)
    proto = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in proto.graph.value_info}
    assert types["pixels_add"] == TensorProto.FLOAT
    consumers = [node.op_type for node in proto.graph.node if "pixels_add" in node.input]
    assert set(consumers) == {"Cast"}
    assert TensorProto.FLOAT16 in {t.data_type for t in proto.graph.initializer}


def test_int8_answers_as_with_preprocessing_outside(stored, tmp_path):
    for name, uint8_input in (("q.onnx", False), ("p.onnx", True)):
        export_int8(trained_run(), tmp_path / name, digits(), images=50, uint8_input=uint8_input)
    wanted, given = logits(tmp_path / "q.onnx", stored), logits(tmp_path / "p.onnx", stored)
    differing = np.abs(given - wanted).max(1) > 1e-5 * np.abs(wanted).max()
    assert differing.mean() < 0.02  # a pixel that lies between two integers may fall to either
    assert (given.argmax(1) == wanted.argmax(1)).all()
    assert metadata(tmp_path / "p.onnx").keys() == metadata(tmp_path / "q.onnx").keys()


def test_every_byte_is_normalised_as_training_does_and_comes_back():
    """All 256 values of each channel: against PyTorch's own arithmetic, and against exact fractions."""
    mean, std = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    transform = Transform(16, None, "none", 0, mean=mean, std=std)
    bytes_BCHW = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    normalised = transform.evaluate(bytes_BCHW)
    preprocessing = {"input_size": [3, 16, 16], "mean": list(mean), "std": list(std), "input": "uint8 NHWC"}
    back = network_input(normalised, preprocessing)
    assert (back.dtype, back.shape) == (torch.uint8, (1, 16, 16, 3))
    assert torch.equal(back.permute(0, 3, 1, 2), bytes_BCHW)
    del preprocessing["input"]
    assert network_input(normalised, preprocessing) is normalised


def test_the_network_itself_is_left_as_it_is(pixels):
    full, given = onnx.load(trained_run() / "model.onnx").graph, onnx.load(pixels).graph
    added, network = given.node[: len(given.node) - len(full.node)], given.node[-len(full.node) :]
    assert Counter(n.op_type for n in added) == {"Constant": 2, "Cast": 1, "Transpose": 1, "Mul": 1, "Add": 1}
    for before, after in zip(full.node, network, strict=True):
        after.input[:] = ["images" if name == "pixels_add" else name for name in after.input]
        assert before == after
    assert list(given.initializer) == list(full.initializer)
    assert given.output == full.output
    (entry,) = given.input
    assert entry.name == "images"
    assert entry.type.tensor_type.elem_type == TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim] == ["batch", 16, 16, 3]
    assert count_weights(pixels) == count_weights(trained_run() / "model.onnx")
    (scale,) = [n.attribute[0].t for n in added if n.output[0] == "pixels_scale"]
    np.testing.assert_allclose(numpy_helper.to_array(scale).ravel(), 1 / 255 / np.array(how(pixels)["std"]), rtol=1e-7)


def test_metadata_say_it(pixels):
    before, after = metadata(trained_run() / "model.onnx"), metadata(pixels)
    assert json.loads(after.pop("preprocessing")) == json.loads(before.pop("preprocessing")) | {"input": "uint8 NHWC"}
    assert after == before


@pytest.mark.parametrize("batch", [1, 5])
def test_any_batch_size(pixels, stored, batch):
    images = CHECK["preprocess"](stored[:batch], how(pixels))
    (given,) = onnx_session(pixels).run(["logits"], {"images": images})
    np.testing.assert_allclose(given, logits(pixels, stored)[:batch], rtol=1e-4, atol=1e-5)


def test_tools_feed_it(pixels, stored, tmp_path, capsys):
    full = trained_run() / "model.onnx"
    wanted, found = (evaluate_model(open_model(path), digits(), batch=7) for path in (full, pixels))
    assert found == wanted | {"loss": pytest.approx(wanted["loss"], abs=2e-6)}
    halved = ["--cfg-options", "data.input_size=16", "data.resize=16"]
    assert run_tool("evaluate", pixels, "--recipe", RECIPE, *halved) == 0
    assert f"top-1 {wanted['top1']:.2f} %" in capsys.readouterr().out
    np.savez(tmp_path / "test.npz", test_images=stored, test_labels=digits().test.labels)
    assert CHECK["top1"](str(pixels), str(tmp_path / "test.npz")) == CHECK["top1"](
        str(full), str(tmp_path / "test.npz")
    )
    rows = benchmark_models([full, pixels], repeats=2, batch=2, warmup_seconds=0.0)["rows"]
    assert rows[0]["weights"] == rows[1]["weights"]
    assert rows[1]["ms"]["n"] == 2


def test_an_onnx_file_becomes_the_same_as_its_run(pixels, tmp_path):
    path = tmp_path / "m.onnx"
    assert run_tool("export", trained_run() / "model.onnx", "--to", "onnx", "--uint8-input", "-o", path) == 0
    assert path.read_bytes() == pixels.read_bytes()
    assert os.listdir(tmp_path) == ["m.onnx"]


@pytest.mark.parametrize(
    ("source", "options"), [("model.onnx", []), ("", ["--fp16"])], ids=["file in float32", "run in float16"]
)
def test_an_engine_that_takes_pixels(source, options, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    engine = tmp_path / "m.engine"
    arguments = ["--to", "tensorrt-rtx", "--uint8-input", "--batch", "1:2:4", "--compute-capability", "8.6", *options]
    assert run_tool("export", trained_run() / source, *arguments, "-o", engine) == 0
    card = load_engine_card(engine)
    assert card["inputs"] == [{"name": "images", "dtype": "uint8", "shape": [-1, 16, 16, 3]}]
    assert card["profile"]["images"]["max"] == [4, 16, 16, 3]
    assert card["precision"] == ("float16" if options else "float32")
    assert json.loads(card["metadata"]["preprocessing"])["input"] == "uint8 NHWC"
    assert sorted(os.listdir(tmp_path)) == ["m.engine", "m.engine.json", "m.engine.onnx"]


def test_an_int8_engine_that_takes_pixels(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    source, engine = tmp_path / "q.onnx", tmp_path / "m.engine"
    int8 = ["--to", "ort-int8", "--activations", "int8", "--calibration-images", "20", "--uint8-input"]
    assert run_tool("export", trained_run(), *int8, "-o", source) == 0
    assert run_tool("export", source, "--to", "tensorrt-rtx", "-o", engine) == 0
    assert load_engine_card(engine)["inputs"][0]["dtype"] == "uint8"
    assert load_engine_card(engine)["precision"] == "int8"


def test_what_does_not_serve_is_one_line(pixels, tmp_path):
    half = export_half(trained_run() / "model.onnx", tmp_path / "half.onnx")
    other = changed(tmp_path / "other.onnx", input_size=[3, 8, 8])
    bare = onnx.load(half)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    whole, detector = onnx.load(half), tmp_path / "detector.onnx"
    whole.metadata_props.add(key="detector", value="{}")
    onnx.save(whole, detector)
    images = torch.zeros(2, 3, 16, 16)
    target = tmp_path / "out.onnx"
    model = load_model(trained_run())[0]
    for call, message in (
        (lambda: export_pixels(pixels, target), f"{pixels}: takes pixels already; leave the option out"),
        (lambda: export_pixels(detector, target), f"{detector}: a detector, whose images are scaled and padded "
         "outside; leave --uint8-input out"),
        (lambda: write_onnx(pixels, target, fp16=True), "fp16: this ONNX network takes pixels (uint8); give the "
         "float32 one that it was made from"),
        (lambda: quantize_int8(pixels, target, [images]), f"{pixels}: takes pixels (uint8); give the float32 network "
         "that it was made from"),
        (lambda: export_pixels(other, target), f"{other}: its metadata tell of images [3, 8, 8], and it takes [3, 16, "
         "16]; export the network with `nncompress export`"),
        (lambda: export_pixels(changed(tmp_path / "c.onnx", mean=None), target), f"{tmp_path}/c.onnx: its "
         "preprocessing has no mean; export the network with `nncompress export`"),
        (lambda: export_pixels(tmp_path / "bare.onnx", target), f"{tmp_path}/bare.onnx: its metadata do not tell "
         "classes and preprocessing; export the network with `nncompress export`"),
        (lambda: compare_with_onnx(model, pixels, [(images, torch.zeros(2))], tolerance=1e-4), f"{pixels}: takes "
         "pixels; give the file that it was made from, without --uint8-input"),
        (lambda: open_model(pixels)(images), f"{pixels}: takes pixels (uint8), not torch.float32; see "
         "compress.export.network_input"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            call()
        assert str(caught.value) == message
    assert not target.exists()


def test_data_with_another_preprocessing_are_refused_as_before(pixels):
    data = replace(digits(), preprocessing=digits().preprocessing | {"mean": [0.5, 0.5, 0.5]})
    with pytest.raises(UserError, match="made for mean = "):
        evaluate_model(open_model(pixels), data)
