"""Damaged and malicious ONNX files: another file is made of them, or they are refused in one line, and none is left."""

import json

import numpy as np
import onnx
import pytest
import torch
from campaign import obeys, snapshot, tally
from damage import campaign, in_little_memory
from onnx import TensorProto, helper, numpy_helper

from compress.export.half import export_half
from compress.export.onnx_read import read_onnx
from compress.export.pixels import export_pixels
from compress.export.session import onnx_session
from compress.measure.models import open_model

HOW = {
    "input_size": [3, 4, 4],
    "resize": None,
    "interpolation": "bilinear",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}
SAYS = {"classes": json.dumps(["a", "b"]), "preprocessing": json.dumps(HOW)}
WEIGHT = numpy_helper.from_array(np.linspace(-1, 1, 96, dtype=np.float32).reshape(48, 2), "w")


def made(metadata=None, *, opsets=(("", 18),), domain="", inputs=1, outputs=1, weight=WEIGHT, nodes=()):
    """A linear classifier of 4 x 4 pixels, with changes."""
    network = [
        helper.make_node("Flatten", ["images"], ["flat"], name="flatten"),
        helper.make_node("MatMul", ["flat", "w"], ["logits"], name="matmul", domain=domain),
    ]
    takes = [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 4, 4])]
    takes += [helper.make_tensor_value_info(f"more{i}", TensorProto.FLOAT, ["batch"]) for i in range(inputs - 1)]
    gives = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])] * outputs
    graph = helper.make_graph([*network, *nodes], "network", takes[:inputs], gives, [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid(*each) for each in opsets], ir_version=10)
    helper.set_model_props(proto, SAYS if metadata is None else metadata)
    return proto


def tensor(dims=(48, 2), *, raw=bytes(384), dtype=TensorProto.FLOAT):
    found = TensorProto(name="w", data_type=dtype, raw_data=raw)
    found.dims.extend(dims)
    return found


def elsewhere(location, **more):
    """A weight that lies in another file."""
    found = TensorProto(name="w", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    found.dims.extend((48, 2))
    for key, value in {"location": location, **more}.items():
        found.external_data.add(key=key, value=str(value))
    return found


def told(**changes):
    return {**SAYS, "preprocessing": json.dumps({**HOW, **changes})}


def used(file):
    """What evaluate and benchmark do with a file."""
    model = open_model(file)
    model.described()
    return model(torch.zeros(2, *model.shape, dtype=model.dtype))


READERS = {
    "half": lambda file: export_half(file, file.with_name("made.onnx")),
    "pixels": lambda file: export_pixels(file, file.with_name("made.onnx")),
    "use": used,
}

REFUSED = {
    "opset 999": (made(opsets=[("", 999)]), "operator set 999"),
    "opset 0": (made(opsets=[("", 0)]), "operator set 0"),
    "no opset": (made(opsets=[("com.microsoft", 1)]), "operator set none"),
    "two opsets": (made(opsets=[("", 18), ("ai.onnx", 17)]), "operator set 18, 17"),
    "foreign domain": (made(opsets=[("", 18), ("evil", 1)], domain="evil"), "of the domain evil"),
    "two inputs": (made(inputs=2), "has 2 inputs and 1 outputs"),
    "no input": (made(inputs=0), "has 0 inputs"),
    "no output": (made(outputs=0), "0 outputs"),
    "claims pixels": (made(told(input="uint8 NHWC")), "tell of uint8 NHWC input, and it takes float NCHW"),
    "another input": (made(told(input="int7")), "preprocessing: input = 'int7'"),
    "another size": (made(told(input_size=[3, 5, 5])), "tell of images [3, 5, 5], and it takes [3, 4, 4]"),
    "size of text": (made(told(input_size="3")), "preprocessing: input_size = '3'"),
    "mean of text": (made(told(mean=[0, "a", 0])), "preprocessing: mean.1 = 'a'"),
    "spread of 0": (made(told(std=[0, 1, 1])), "preprocessing: std.0 = 0"),
    "NaN": (made(told(mean=[float("nan")] * 3)), "preprocessing: not valid JSON"),
    "a list": (made({**SAYS, "preprocessing": "[]"}), "preprocessing: the whole file = []"),
    "classes a dict": (made({**SAYS, "classes": '{"a": 1}'}), "classes: the whole file = {'a': 1}"),
    "classes numbers": (made({**SAYS, "classes": "[1, 2]"}), "classes: 0 = 1"),
    "100,000 brackets": (made({**SAYS, "classes": "[" * 100_000}), "classes: not valid JSON"),
    "5,000 digits": (made({**SAYS, "classes": "[" + "9" * 5000 + "]"}), "entry classes: "),
    "huge weight": (made(weight=tensor((10**12, 10**6))), "4000000000000000000 bytes, and 384 are stored"),
    "short weight": (made(weight=tensor(raw=bytes(380))), "384 bytes, and 380 are stored"),
    "negative size": (made(weight=tensor((-48, 2))), "shape [-48, 2]"),
    "unknown type": (made(weight=tensor(dtype=99)), "of type 99"),
    "text": (made(weight=tensor(dtype=TensorProto.STRING)), "not a"),
    "up": (made(weight=elsewhere("../../forbidden_3f9c")), "must be a path inside"),
    "absolute": (made(weight=elsewhere("/etc/forbidden_3f9c")), "must be a path inside"),
    "link": (made(weight=elsewhere("link.bin")), "must be a path inside"),
    "no name": (made(weight=elsewhere("")), "must be a path inside"),
    "no file's name": (made(weight=elsewhere("a\0b")), "must be a path inside"),
    "missing": (made(weight=elsewhere("missing.bin")), "missing.bin, which is missing"),
    "cut off": (made(weight=elsewhere("weights.bin", offset=10)), "weights.bin, which is cut off"),
    "longer": (made(weight=elsewhere("weights.bin", length=4)), "weights.bin, which is cut off"),
    "offset of text": (made(weight=elsewhere("weights.bin", offset="a")), "does not tell where"),
    "negative offset": (made(weight=elsewhere("weights.bin", offset=-4)), "weight 'w' "),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "weights.bin").write_bytes(bytes(384))
    (tmp_path / "link.bin").symlink_to("/etc/hostname")
    return tmp_path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_lie(folder, kind, reader):
    proto, says = REFUSED[kind]
    file = folder / "model.onnx"
    file.write_bytes(proto.SerializeToString())
    before = snapshot(folder)
    message = obeys(lambda: READERS[reader](file), source="model.onnx")
    assert says in message
    assert snapshot(folder) == before
    tally("ONNX files that lie", 1, 1)


def test_whole_files_pass(folder):
    for proto in (made(), made(weight=elsewhere("weights.bin")), made(told(resize=5))):
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
        for read in READERS.values():
            read(folder / "model.onnx")
    export_half(folder / "model.onnx", folder / "half.onnx")
    assert used(folder / "half.onnx").shape == (2, 2)


@pytest.mark.parametrize("reader", ["half", "pixels"])
def test_weights_that_are_no_numbers_are_not_exported(folder, reader):
    odd = numpy_helper.from_array(np.full((48, 2), np.nan, np.float32), "w")
    (folder / "model.onnx").write_bytes(made(weight=odd).SerializeToString())
    assert "weight 'w' holds NaN, 96 of 96 values" in obeys(lambda: READERS[reader](folder / "model.onnx"))


def test_metadata_told_twice(folder):
    proto = made()
    proto.metadata_props.add(key="classes", value="[]")
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    assert "tell classes 2 times" in obeys(lambda: read_onnx(folder / "model.onnx"))


def test_a_weight_elsewhere_is_never_opened_by_the_runtime_either(folder):
    (folder / "model.onnx").write_bytes(made(weight=elsewhere("../../etc/hostname")).SerializeToString())
    assert "not a usable ONNX model" in obeys(lambda: onnx_session(folder / "model.onnx"))


def test_constants_of_40_terabytes(folder, capfd):
    nodes = [
        helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([10**7, 10**6]), "s")),
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("Add", ["logits", "sum"], ["more"]),
    ]
    proto = made(nodes=nodes)
    proto.graph.output[0].name = "more"
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    assert "fails in ONNX Runtime" in obeys(lambda: used(folder / "model.onnx"), source="model.onnx")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "count", [pytest.param(40, id="sample"), pytest.param(400, id="all", marks=pytest.mark.faults)]
)
@pytest.mark.parametrize("reader", READERS)
def test_damaged_files(tmp_path, reader, count):
    campaign(f"damaged ONNX ({reader})", tmp_path / "model.onnx", made().SerializeToString(), count, READERS[reader])


def test_a_huge_file_by_its_claims_takes_no_memory(folder):
    proto = made(weight=tensor((10**12, 10**6)))
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    assert "are stored" in in_little_memory(lambda: read_onnx(folder / "model.onnx"), source="model.onnx")
    assert onnx.load(folder / "model.onnx").graph.initializer[0].dims[0] == 10**12
