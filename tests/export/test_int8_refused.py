"""What is no INT8 file's to be: networks, images and options that are refused."""

import onnx
import pytest
import torch
from digits_run import trained_run
from run_tool import run_tool
from torch import nn

from compress.export import Int8Config, export_half, export_onnx, half_model, quantize_int8
from compress.plan import UserError

SIZE = (3, 8, 8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "images: none"),
        ([torch.zeros(0, *SIZE)], "images: none"),
        ([torch.zeros(2, 3, 9, 9)], r"images: of shape \(2, 3, 9, 9\), but the network takes \(batch, 3, 8, 8\)"),
    ],
)
def test_images_that_do_not_serve(small, given, message, tmp_path):
    with pytest.raises(UserError, match=message):
        quantize_int8(small, tmp_path / "q.onnx", given)
    assert not list(tmp_path.iterdir())


def test_networks_that_do_not_serve(small, batches, tmp_path):
    half = export_half(small, tmp_path / "half.onnx")
    quantised = quantize_int8(small, tmp_path / "q.onnx", batches)
    plain = export_onnx(nn.Sequential(nn.Flatten(), nn.Softmax(1)), tmp_path / "plain.onnx", input_size=SIZE)
    fixed = onnx.load(small)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(fixed, tmp_path / "fixed.onnx")
    for path, message in (
        (half, "is float16 already; give the float32 network"),
        (quantised, "is quantised already; give the float32 network"),
        (plain, "so nothing to quantise"),
        (tmp_path / "fixed.onnx", "of which the batch alone is free"),
        (tmp_path / "absent.onnx", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            quantize_int8(path, tmp_path / "out.onnx", batches)
    with pytest.raises(UserError, match="is the file to read"):
        quantize_int8(small, small, batches)
    with pytest.raises(UserError, match="quantised"):
        half_model(onnx.load(quantised))
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("options", [{"calibration": "max"}, {"activations": "int4"}])
def test_bad_config(options):
    (name,) = options
    with pytest.raises(UserError, match=f"{name} = .*must be one of"):
        Int8Config(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FOLDER/model.onnx", "--to", "ort-int8", "-o", "OUT/m.onnx"],
         "FOLDER/model.onnx: an ONNX file says nothing of images to calibrate INT8 on; give the run folder"),
        (["FOLDER", "--to", "ort-int8", "-o", "OUT/m.int8"], "OUT/m.int8: must end in .onnx; correct the name"),
        (["FOLDER", "--to", "ort-int8", "--calibration-images", "0", "-o", "OUT/m.onnx"],
         "--calibration-images 0: must be at least 1; 256 is the default"),
        (["FOLDER", "--to", "ort-int8", "--fp16", "-o", "OUT/m.onnx"],
         "--to ort-int8: --fp16 has a meaning for the other targets only; leave it out"),
        (["FOLDER", "--to", "ort-int8", "--batch", "1:2:3", "-o", "OUT/m.onnx"],
         "--to ort-int8: --batch has a meaning for engines only; leave it out"),
        (["FOLDER", "--to", "onnx", "--calibration-images", "0", "--reduce-range", "-o", "OUT/m.onnx"],
         "--to onnx: --calibration-images, --reduce-range has a meaning for --to ort-int8 only; leave it out"),
        (["OUT", "--to", "ort-int8", "-o", "OUT/m.onnx"],
         "OUT/model.json: no such file; restore it, or export the model again"),
        (["FOLDER", "--to", "ort-int8", "-o", "OUT/m.onnx", "--cfg-options", "data.input_size=8", "data.resize=8"],
         "FOLDER: made for input_size = [3, 16, 16], and the data have [3, 8, 8]; set the recipe's data section to the "
         "network's"),
    ],
)  # fmt: skip
def test_user_errors_are_one_line(arguments, message, tmp_path, capfd):
    def places(text):
        return text.replace("OUT", str(tmp_path)).replace("FOLDER", str(trained_run()))

    assert run_tool("export", *map(places, arguments)) == 2
    assert capfd.readouterr().err == f"error: {places(message)}\n"
    assert not list(tmp_path.iterdir())
