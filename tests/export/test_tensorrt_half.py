"""float16 files: typed as they should be, and refused where the question makes no sense; answers: test_networks.py."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from small_networks import CASES, onnx_file, params

from compress.export import export_half, half_model
from compress.export.half import FLOAT32_OPERATORS
from compress.export.onnx_read import read_onnx
from compress.plan import UserError


@pytest.fixture(scope="module", params=params(*CASES))
def pair(request, tmp_path_factory):
    """A float32 file and its float16 twin."""
    name, pruned = request.param
    folder = tmp_path_factory.mktemp(name)
    full = onnx_file(folder, name, pruned=pruned)
    return full, export_half(full, folder / "half.onnx")


def test_types_are_strong(pair):
    """Arithmetic is float16 but for the listed operators; input and output stay float32; metadata comes along."""
    proto = onnx.shape_inference.infer_shapes(onnx.load(pair[1]), strict_mode=True, data_prop=True)
    types = {v.name: v.type.tensor_type.elem_type for v in (*proto.graph.value_info, *proto.graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    seen = set()
    for node in proto.graph.node:
        if node.op_type != "Cast" and types.get(node.output[0]) in floats:
            is_half = types[node.output[0]] == TensorProto.FLOAT16
            assert is_half != (node.op_type in FLOAT32_OPERATORS), node.name
            seen.add(is_half)
    assert seen == {True, False}
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    assert {p.key: p.value for p in proto.metadata_props} == {"classes": '["a"]'}
    big = [t for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT and np.prod(t.dims) > 1024]
    assert not big  # matrices and kernels, of which speed and size come, are float16


def test_the_float32_model_is_left_alone(pair):
    proto = onnx.load(pair[0])
    before = proto.SerializeToString()
    half_model(proto)
    assert proto.SerializeToString() == before


def test_half_of_half_is_refused(pair, tmp_path):
    with pytest.raises(UserError) as caught:
        export_half(pair[1], tmp_path / "quarter.onnx")
    assert str(caught.value) == "fp16: this ONNX network is float16 already; leave the option out"
    assert not list(tmp_path.iterdir())


def matmul_model(*, op="MatMul", domain=""):
    """x [batch, 4] -> y [batch, 4] through one node called `node0`."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy")
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "weight")
    inputs = ["x", "weight"] if op == "MatMul" else ["x"]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], name="node0", domain=domain)], "g", [x], [y], [weight]
    )
    opsets = [helper.make_opsetid("", 18)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_what_follows_a_choice_of_the_best_stays_float32():
    """Index of the largest of x W, times a second input: beyond 2048 float16 has not every whole number."""
    sizes = {"x": 4, "f": 1, "y": 1}
    x, factor, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n]) for name, n in sizes.items())
    weight = np.zeros((4, 5000), np.float32)
    weight[:, 4097] = 0.5
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["scores"], name="gemm"),
        helper.make_node("TopK", ["scores", "k"], ["best", "index"], name="topk"),
        helper.make_node("Cast", ["index"], ["number"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "f"], ["scaled"], name="mul"),
        helper.make_node("Add", ["scaled", "one"], ["y"], name="add"),
    ]
    constants = {"w": weight, "k": np.array([1]), "one": np.float32([1.0])}
    graph = helper.make_graph(
        nodes, "g", [x, factor], [y], [numpy_helper.from_array(v, k) for k, v in constants.items()]
    )
    half = half_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert (types["w"], types["one"]) == (TensorProto.FLOAT16, TensorProto.FLOAT)
    feed = {"x": np.ones((1, 4), np.float32), "f": np.float32([[2049.0]])}
    given = InferenceSession(half.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)[0]
    assert given.tolist() == [[4097 * 2049 + 1]]


def test_quantised_is_refused():
    proto = matmul_model()
    proto.graph.node.append(helper.make_node("QuantizeLinear", ["y", "s"], ["q"]))
    with pytest.raises(UserError, match="quantised"):
        half_model(proto)


def test_weights_in_another_file(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save_model(
        matmul_model(),
        path,
        save_as_external_data=True,
        location="m.bin",
        size_threshold=0,
        all_tensors_to_one_file=True,
    )
    assert numpy_helper.to_array(read_onnx(path, weights=True).graph.initializer[0]).tolist() == np.eye(4).tolist()
    (tmp_path / "m.bin").write_bytes((tmp_path / "m.bin").read_bytes()[:-1])
    with pytest.raises(UserError) as caught:
        read_onnx(path)
    assert str(caught.value) == f"{path}: weight 'weight' lies in m.bin, which is cut off; copy it again"
    (tmp_path / "m.bin").unlink()
    with pytest.raises(UserError) as caught:
        read_onnx(path)
    assert str(caught.value) == f"{path}: weight 'weight' lies in m.bin, which is missing; put it beside"


def test_a_model_that_breaks_the_rules_is_refused_before_it_is_made_another(tmp_path):
    proto = matmul_model()
    proto.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 7
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(UserError, match=r"m\.onnx: not a valid ONNX model \(.*rank.*\); export it again$") as caught:
        export_half(tmp_path / "m.onnx", tmp_path / "half.onnx")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.onnx", None, "no such file; `nncompress export RUN --to onnx` writes one"),
        ("m.pth", b"x", "must be an .onnx file; `nncompress export RUN --to onnx` writes one"),
        ("m.onnx", b"", "not an ONNX model, or cut off; export it again"),
        ("m.onnx", b"garbage", "not an ONNX model, or cut off; export it again"),
    ],
)
def test_bad_files(name, content, message, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_onnx(path)
    assert str(caught.value) == f"{path}: {message}"
