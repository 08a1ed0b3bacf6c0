"""Times of an engine's layers, by operators: against a recorded fake module, no GPU took part in these tests."""

import onnx
import pytest
from fake_tensorrt import images
from onnx import TensorProto, helper

from compress.export import Engine
from compress.plan import UserError
from compress.plan.backends import BACKENDS


@pytest.fixture
def named(tmp_path):
    """An ONNX file whose nodes are named after operators; the fake never reads it."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "logits")]
    nodes = [helper.make_node("Relu", ["x"], ["y"], "conv1#0"), helper.make_node("Relu", ["y"], ["logits"], "fc#1")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:])), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def profiled(file):
    return BACKENDS.find("tensorrt").profile(file, images(2), threads=1, space=None, operators=())


def layer(name, *nodes):
    return {"Name": name, "Metadata": "\x1f".join(f"[ONNX Layer: {node}]" for node in nodes)}


def test_fake_engines_tell_the_times_of_operators(fake, named):
    fake.state["layers"] = [layer("convolution", "conv1#0"), layer("softmax", "fc#1")]
    times = profiled(named)
    assert ("profiling_verbosity", fake.ProfilingVerbosity.DETAILED) in fake.calls
    assert ("get_engine_information", fake.LayerInformationFormat.JSON) in fake.calls
    assert ("set_shape", "images", *[(2, 3, 2, 2)] * 3) in fake.calls
    for _ in range(5):
        times.call()
    assert times.finish(3) == {"conv1": 0.25, "fc": 0.5}
    assert times.nodes == {"conv1": 1, "fc": 1}


def test_fake_fused_layers_are_of_all_their_operators(fake, named):
    fake.state["layers"] = [layer("convolution"), layer("softmax", "conv1#0", "fc#1")]
    times = profiled(named)
    times.call()
    assert times.finish(1) == {"rest": 0.25, "conv1 + fc": 0.5}


def test_fake_layers_that_are_not_told_are_refused(fake, named):
    with pytest.raises(UserError, match=r"m\.onnx: Layers = .*: must tell more of layers than their names"):
        profiled(named)
    fake.state["layers"] = [layer("convolution", "conv1#0"), layer("softmax")]
    with pytest.raises(
        UserError, match=r"m\.onnx: no layer holds nodes of 1 operators of the file \(fc, \.\.\.\); make"
    ):
        profiled(named)


def test_fake_engines_are_built_to_tell_nothing_unless_asked(fake, built):
    engine = Engine(built())
    assert not [call for call in fake.calls if call[0] == "profiling_verbosity"]
    assert engine.layer_information() == '{"Layers": ["convolution", "softmax"]}'
