"""Engines of TensorRT-RTX, built for real and without a GPU: options, interruptions, and every way to go wrong."""

import json
import os
import signal
import sys
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_networks import onnx_file

from compress.export import EngineConfig, build_engine
from compress.export.tensorrt import backend, card_path, load_engine_card
from compress.plan import UserError, sha256

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
RTX = EngineConfig(backend="tensorrt-rtx", batch=(1, 2, 8))


class Heard:
    """A progress that keeps what it is told."""

    def __init__(self):
        self.told = []

    def announce(self, stage):
        self.told.append(("announce", stage))

    def start(self, stage, total, done):
        self.told.append(("start", total))

    def advance(self):
        self.told.append(("advance",))

    def note(self, text):
        self.told.append(("note", text))

    def done(self, stage, figures):
        self.told.append(("done", stage))


@pytest.fixture(scope="module")
def preresnet(tmp_path_factory):
    return onnx_file(tmp_path_factory.mktemp("preresnet"), "preresnet")


def test_the_card_says_what_the_engine_was_built_from(preresnet, tmp_path):
    card = load_engine_card(build_engine(preresnet, tmp_path / "m.engine", config=RTX))
    assert card["version"] == trt.__version__
    assert card["onnx"] == {"file": preresnet.name, "sha256": sha256(preresnet)}
    assert card["metadata"] == {"classes": '["a"]'}
    assert card["device"] is None


def test_compute_capabilities_make_another_engine(preresnet, tmp_path):
    config = EngineConfig(backend="tensorrt-rtx", compute_capabilities=("8.6", "8.9"), workspace_gib=0.5)
    named = build_engine(preresnet, tmp_path / "named.engine", config=config)
    anywhere = build_engine(preresnet, tmp_path / "anywhere.engine", config=EngineConfig(backend="tensorrt-rtx"))
    assert load_engine_card(named)["compute_capabilities"] == ["8.6", "8.9"]
    assert load_engine_card(named)["flags"]["workspace_gib"] == 0.5
    assert load_engine_card(anywhere)["compute_capabilities"] == []
    assert named.read_bytes() != anywhere.read_bytes()


def test_progress_and_nothing_printed(preresnet, tmp_path, capfd):
    heard = Heard()
    build_engine(preresnet, tmp_path / "m.engine", config=RTX, progress=heard)
    (total,) = [told[1] for told in heard.told if told[0] == "start"]
    assert heard.told[0] == ("announce", "Building the engine")
    assert heard.told[-1] == ("done", "Building the engine")
    assert 0 < heard.told.count(("advance",)) <= total
    assert capfd.readouterr() == ("", "")
    assert sorted(os.listdir(tmp_path)) == ["m.engine", "m.engine.json"]


def test_ctrl_c_stops_the_build_and_leaves_nothing(preresnet, tmp_path):
    class Impatient(Heard):
        def advance(self):
            super().advance()
            os.kill(os.getpid(), signal.SIGINT)

    before, impatient = signal.getsignal(signal.SIGINT), Impatient()
    with pytest.raises(KeyboardInterrupt):
        build_engine(preresnet, tmp_path / "m.engine", config=RTX, progress=impatient)
    assert impatient.told.count(("advance",)) == 1  # not only the file: the build itself ended
    assert signal.getsignal(signal.SIGINT) is before
    assert not os.listdir(tmp_path)


def test_builds_in_a_thread(preresnet, tmp_path):
    thread = threading.Thread(target=build_engine, args=(preresnet, tmp_path / "m.engine"), kwargs={"config": RTX})
    thread.start()
    thread.join()
    assert load_engine_card(tmp_path / "m.engine")["version"] == trt.__version__


def small(*operators, batch="batch", size=4, domain=""):
    """x [batch, 4] through `operators` in a row, their nodes called after them."""
    names = ["x", *(f"t{i}" for i in range(1, len(operators))), "y"]
    nodes = [
        helper.make_node(op, [names[i]], [names[i + 1]], name=f"my_{op}", domain=domain)
        for i, op in enumerate(operators)
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, size])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, size])
    opsets = [helper.make_opsetid("", 18)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=opsets, ir_version=9)


def refusal(tmp_path, proto, config=RTX):
    """The message of the UserError that building `proto` raises; an older engine must survive it."""
    path, engine = tmp_path / "m.onnx", tmp_path / "m.engine"
    onnx.save(proto, path)
    engine.write_bytes(b"the last good one")
    with pytest.raises(UserError) as caught:
        build_engine(path, engine, config=config)
    assert engine.read_bytes() == b"the last good one"
    assert sorted(os.listdir(tmp_path)) == ["m.engine", "m.onnx"]
    return str(caught.value)


def test_unsupported_operator_is_named(tmp_path):
    assert refusal(tmp_path, small("Relu", "Det")) == (
        f"{tmp_path}/m.onnx: tensorrt_rtx {trt.__version__} cannot take node 'my_Det' (operator Det: unsupported "
        "node); write that part of the network with other operators"
    )


def test_unknown_operator_is_named(tmp_path):
    message = refusal(tmp_path, small("Frobnicate", domain="mine"))
    assert "node my_Frobnicate is a Frobnicate of the domain mine, which is not known here" in message
    message = refusal(tmp_path, small("BiasGelu", domain="com.microsoft"))  # known to ONNX Runtime alone
    assert "node 'my_BiasGelu' (operator BiasGelu: invalid node, " in message
    assert "Plugin not found" in message
    assert "\n" not in message


def test_missing_weights_are_named(tmp_path):
    proto = small("Relu")
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(9, np.float32), "w"))
    path = tmp_path / "m.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location="m.bin", size_threshold=0)
    (tmp_path / "m.bin").unlink()
    with pytest.raises(UserError) as caught:
        build_engine(path, tmp_path / "m.engine", config=RTX)
    assert str(caught.value) == f"{path}: weight 'w' lies in m.bin, which is missing; put it beside"


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (
            small("Relu", batch=4),
            "batch = 1:2:8: input 'x' is bound to batches of 4; use 4:4:4, or export with a free batch axis",
        ),
        (small("Relu", size="side"), "input 'x' has the shape (-1, -1): only the batch may be free; fix it"),
    ],
    ids=["bound batch", "free side"],
)
def test_shapes_that_no_profile_fits(proto, message, tmp_path):
    assert refusal(tmp_path, proto) == message


def test_bound_batch_builds_with_that_batch(tmp_path):
    onnx.save(small("Relu", batch=4), tmp_path / "m.onnx")
    engine = build_engine(
        tmp_path / "m.onnx", tmp_path / "m.engine", config=EngineConfig(backend="tensorrt-rtx", batch=(4, 4, 4))
    )
    assert load_engine_card(engine)["profile"]["x"]["max"] == [4, 4]


def test_cut_off_file(preresnet, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(preresnet.read_bytes()[:5000])
    with pytest.raises(UserError) as caught:
        build_engine(path, tmp_path / "m.engine", config=RTX)
    assert str(caught.value) == f"{path}: not an ONNX model, or cut off; export it again"


def test_a_failed_build_tells_the_builders_reason(tmp_path):
    """TensorRT-RTX parses NonMaxSuppression and then cannot build it: the plugin needs CUDA."""
    boxes = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", 8, 4])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 1, 8])
    kept = helper.make_tensor_value_info("kept", TensorProto.INT64, [None, 3])
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "n"], ["kept"], name="nms")
    n = numpy_helper.from_array(np.array([4]), "n")
    graph = helper.make_graph([node], "g", [boxes, scores], [kept], [n])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(proto, {"detector": "{}"})  # which may have several inputs
    message = refusal(tmp_path, proto)
    assert message.startswith(f"{tmp_path}/m.onnx: tensorrt_rtx {trt.__version__} builds no engine of it (")
    assert "it gave no reason" not in message
    print(message)
    assert "\n" not in message


def test_half_of_a_float32_file_is_refused(preresnet, tmp_path):
    with pytest.raises(UserError) as caught:
        build_engine(preresnet, tmp_path / "m.engine", config=EngineConfig(backend="tensorrt-rtx", fp16=True))
    assert str(caught.value) == (
        f"fp16: tensorrt-rtx {trt.__version__} takes types from the ONNX file, and preresnet.onnx is float32; give a "
        "float16 file: compress.export.export_half or `nncompress export --fp16` writes one"
    )


def test_compute_capability_that_this_version_has_not(preresnet, tmp_path):
    with pytest.raises(UserError) as caught:
        build_engine(
            preresnet, tmp_path / "m.engine", config=EngineConfig(backend="tensorrt-rtx", compute_capabilities=("9.0",))
        )
    assert str(caught.value).startswith(
        "compute_capabilities: 9.0 is not one of this version's: 7.5, 8.0, 8.6, 8.9, 12.0"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensort"}, "backend = 'tensort': must be one of tensorrt, tensorrt-rtx"),
        ({"batch": (1, 4, 2)}, "batch = 1:4:2: must be MIN:OPT:MAX with 1 <= MIN <= OPT <= MAX, for example 1:8:32"),
        ({"batch": (0, 1, 2)}, "batch = 0:1:2: must be MIN:OPT:MAX with 1 <= MIN <= OPT <= MAX, for example 1:8:32"),
        ({"workspace_gib": 0}, "workspace_gib = 0: must be a finite number above 0; correct it"),
        ({"compute_capabilities": ("8.6",)}, "compute_capabilities: only tensorrt-rtx builds for GPUs that are "
         "not here; leave it out, or choose that backend"),
        ({"backend": "tensorrt-rtx", "compute_capabilities": ("sm86",)}, "compute_capabilities: 'sm86' must look like "
         "8.6; see your GPU's data sheet"),
        ({"backend": "tensorrt-rtx", "timing_cache": "f"}, "timing_cache: tensorrt-rtx times no kernels when it "
         "builds; leave it out"),
        ({"backend": "tensorrt-rtx", "hardware_compatible": True}, "hardware_compatible: tensorrt-rtx has no such "
         "flag; list GPUs by compute_capabilities instead"),
        ({"backend": "tensorrt-rtx", "version_compatible": True}, "version_compatible: tensorrt-rtx has no such flag; "
         "build again with the version that runs"),
    ],
)  # fmt: skip
def test_bad_config(options, message):
    with pytest.raises(UserError) as caught:
        EngineConfig(**options)
    assert str(caught.value) == message


def test_missing_package(preresnet, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UserError, match=r"^backend tensorrt: cannot be imported \(.*\); pip install tensorrt$"):
        build_engine(preresnet, tmp_path / "m.engine", config=EngineConfig())


def test_what_the_config_refuses_the_library_has_not(preresnet):
    """The reasons behind three refusals, asked of the library itself: they may fall with a later version."""
    log = backend.message_log(trt)
    config = trt.Builder(log).create_builder_config()
    config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    assert any("unsupported in TensorRT-RTX" in text for _, text in log.messages)
    with pytest.warns(DeprecationWarning, match="no-ops"):
        config.set_timing_cache(config.create_timing_cache(b""), False)
    assert not hasattr(trt.BuilderFlag, "FP16")


def test_engine_and_card_belong_together(preresnet, tmp_path):
    engine = build_engine(preresnet, tmp_path / "m.engine", config=RTX)
    engine.write_bytes(engine.read_bytes() + b"x")
    with pytest.raises(UserError) as caught:
        load_engine_card(engine)
    assert str(caught.value) == f"{engine}: another engine than the one m.engine.json describes; build it again"
    card = json.loads(card_path(engine).read_text())
    card_path(engine).write_text(json.dumps({**card, "format": 2}))
    with pytest.raises(UserError, match=r"format = 2: this version reads format 1; .*or build the engine again"):
        load_engine_card(engine)
    engine.unlink()
    with pytest.raises(UserError, match="no such engine"):
        load_engine_card(engine)
