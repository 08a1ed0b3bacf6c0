"""docs/deploy/detect_onnx.py ends with 0 only if all is done, and with 2 and one line for what its user can mend."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "docs/deploy/detect_onnx.py"

HOW = {"input_size": [3, 32, 32], "channel_order": "RGB", "mean": [0.5] * 3, "std": [0.25] * 3, "pad_value": 0.0}
TOLD = {"preprocessing": json.dumps(HOW), "detector": "{}"}


@pytest.fixture
def image(coco):
    return str(next((coco / "val2017").iterdir()))


def ended(monkeypatch, capsys, *arguments):
    """Exit code and error lines of the script."""
    monkeypatch.setattr(sys, "argv", ["detect_onnx.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return end.value.code, capsys.readouterr().err.splitlines()


@pytest.fixture
def network(tmp_path):
    """A file whose metadata are a detector's; nothing else is."""
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["images"], ["out"])], "g", [value], [])
    graph.output.append(onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1]))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.helper.set_model_props(model, TOLD)
    onnx.save(model, tmp_path / "told.onnx")
    return tmp_path / "told.onnx"


def test_what_is_wrong_with_the_files_is_one_line(image, network, tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    for model, picture, says in (
        (tmp_path / "none.onnx", image, "none.onnx"),
        (tmp_path / "bad.onnx", image, "bad.onnx"),
        (network, tmp_path / "bad.jpg", "bad.jpg: no image that OpenCV can read"),
        (network, tmp_path / "none.jpg", "none.jpg: no image that OpenCV can read"),
    ):
        code, lines = ended(monkeypatch, capsys, model, picture)
        assert code == 2
        assert len([line for line in lines if line.startswith("error: ")]) == 1
        assert says in lines[-1]


@pytest.mark.parametrize(
    ("entry", "text", "says"),
    [
        ("preprocessing", "null", "preprocessing = None"),
        ("preprocessing", "[" * 100_000, "preprocessing: no JSON that can be read"),
        ("preprocessing", json.dumps(HOW | {"input_size": "3"}), "preprocessing: input_size = '3'"),
        ("preprocessing", json.dumps(HOW | {"input_size": None}), "neither input_size nor size_divisor"),
        ("preprocessing", json.dumps(HOW | {"mean": None}), "preprocessing: mean = None"),
        ("preprocessing", json.dumps(HOW | {"channel_order": ["RGB"]}), "preprocessing: channel_order = ['RGB']"),
        ("preprocessing", json.dumps(HOW | {"exif": "no"}), "preprocessing: exif = 'no'"),
        ("detector", "[]", "detector = []"),
        ("detector", '{"mask_threshold": "half"}', "detector: mask_threshold = 'half'"),
        ("detector", '{"weights_sha256": 5}', "detector: weights_sha256 = 5"),
        ("classes", "5", "classes = 5"),
        ("classes", "[5]", "classes = [5]"),
    ],
)
def test_metadata_that_no_export_writes_are_one_line(image, network, monkeypatch, capsys, entry, text, says):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(network)
    onnx.helper.set_model_props(model, TOLD | {entry: text})
    onnx.save(model, network)
    code, (line,) = ended(monkeypatch, capsys, network, image)
    assert code == 2
    assert line.startswith(f"error: {network}: ")
    assert says in line


@pytest.mark.parametrize("repeat", ["0", "-3", "many"])
def test_numbers_of_calls_are_checked(image, tmp_path, monkeypatch, capsys, repeat):
    code, lines = ended(monkeypatch, capsys, tmp_path / "none.onnx", image, f"--repeat={repeat}")
    assert code == 2
    assert "--repeat" in lines[-1]
    assert "whole number of at least 1" in lines[-1]


@pytest.mark.parametrize("threads", ["-1", "100000", "all"])
def test_numbers_of_threads_are_checked(image, tmp_path, monkeypatch, capsys, threads):
    code, lines = ended(monkeypatch, capsys, tmp_path / "none.onnx", image, f"--threads={threads}")
    assert code == 2
    assert f"--threads: '{threads}': must be a whole number of at most" in lines[-1]


@pytest.mark.parametrize(("how", "shape"), [({}, (5, 9, 3)), ({"exif": True}, (5, 9, 3)), ({"exif": False}, (9, 5, 3))])
def test_exif_turns_images_where_the_network_was_trained_so(tmp_path, how, shape):
    orientation = Image.Exif()
    orientation[0x0112] = 6
    Image.new("RGB", (5, 9)).save(tmp_path / "turned.jpg", exif=orientation)
    read = runpy.run_path(str(SCRIPT))["read"]
    assert read(str(tmp_path / "turned.jpg"), {"preprocessing": json.dumps(how)}).shape == shape


def test_masks_are_written_whole_or_not_at_all(tmp_path, monkeypatch, capsys):
    """The file that was there stays, where the disk is full."""
    script, file = runpy.run_path(str(SCRIPT)), tmp_path / "masks.npz"
    found = {"scores": np.ones(1), "labels": np.zeros(1, int), "boxes": np.zeros((1, 4)), "masks": np.ones((1, 2, 2))}
    script["show"](found, {}, SimpleNamespace(score=0.3, masks=str(file)))
    before = file.read_bytes()
    assert np.load(file)["masks"].shape == (1, 2, 2)

    def full(target, **arrays):
        target.write(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(SystemExit):
        script["show"](found, {}, SimpleNamespace(score=0.3, masks=str(file)))
    assert "No space left on device" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {file: before}


def test_masks_that_cannot_be_written_are_an_error(tmp_path, capsys):
    script = runpy.run_path(str(SCRIPT))
    found = {"scores": np.ones(1), "labels": np.zeros(1, int), "boxes": np.zeros((1, 4))}
    file = tmp_path / "nowhere/masks.npz"
    with pytest.raises(SystemExit) as end:
        script["show"](found, {}, SimpleNamespace(score=0.3, masks=str(file)))
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: --masks {file}: cannot be written (No such file or directory)\n"


@pytest.mark.parametrize("shape", [(2, 1000), (1000, 2), (1, 1)])
@pytest.mark.parametrize("size", [[3, 96, 128], None])
def test_a_thread_of_an_image_keeps_a_pixel_of_each_side(shape, size):
    how = {"input_size": size, "size_divisor": 32, "scale": [128, 96], "channel_order": "RGB", "pad_value": 0.0}
    images, image_size, (scale_x, scale_y) = runpy.run_path(str(SCRIPT))["prepare"](
        np.zeros((*shape, 3), np.uint8), {**how, "mean": [0.0] * 3, "std": [1.0] * 3}
    )
    assert (images.shape[2] % 32, images.shape[3] % 32) == (0, 0)
    assert image_size.min() >= 1
    assert (image_size[0] / shape).tolist() == pytest.approx([scale_y, scale_x])
