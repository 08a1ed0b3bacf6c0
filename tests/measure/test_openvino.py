"""OpenVINO as a backend: found by its name alone, answering as ONNX Runtime does, timed beside it."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from digits_run import trained_run
from exported_spaces import made
from run_tool import run_tool
from torch import nn

from compress.export import export_half, export_onnx
from compress.measure import MeasureConfig, PlanTimer, measure_latency
from compress.measure.backends import openvino as module
from compress.measure.models import open_model
from compress.plan import UserError
from compress.plan.backends import BACKENDS
from compress.report import wording

SIZE = (3, 6, 6)
BACKEND = BACKENDS.find("openvino")

absent = BACKEND.missing()
needs_it = pytest.mark.skipif(absent is not None, reason=f"openvino {absent}")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    return export_onnx(network, tmp_path_factory.mktemp("models") / "m.onnx", input_size=SIZE)


def images(n, size=SIZE):
    return torch.randn(n, *size, generator=torch.Generator().manual_seed(0))


@needs_it
@pytest.mark.parametrize("name", ["preresnet", "swin"])
def test_it_answers_as_onnx_runtime_does(name, tmp_path):
    _, size, _, graphs = made(name)
    (tmp_path / "m.onnx").write_bytes(graphs.at({}))
    given = [open_model(tmp_path / "m.onnx", backend=each, batch=2)(images(3, size)) for each in ("openvino", None)]
    torch.testing.assert_close(*given, rtol=1e-4, atol=1e-5)


@needs_it
def test_a_file_is_opened_for_the_images_of_a_call(path, tmp_path):
    model = open_model(path, backend="openvino", batch=4)
    assert (model.backend, model.device, model.shape, model.dtype) == ("openvino", "cpu", SIZE, torch.float32)
    assert model.batches == (4, 4)
    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(proto, tmp_path / "fixed.onnx")
    assert open_model(tmp_path / "fixed.onnx", backend="openvino", batch=4).batches == (2, 2), "the file's own"


@needs_it
def test_calls_on_different_images_do_not_disturb_each_other(path):
    model = open_model(path, backend="openvino")
    first, second = (model.bind(images(2)[i : i + 1]) for i in range(2))
    answer = first()
    kept = answer.copy()
    assert not np.array_equal(second(), kept)
    np.testing.assert_array_equal(answer, kept)
    np.testing.assert_array_equal(first(), kept)
    pair = images(2).to(memory_format=torch.channels_last)
    np.testing.assert_array_equal(model.bind(pair[:1])(), kept, "however they lie in memory")


@needs_it
def test_half_files_answer(path, tmp_path):
    whole = open_model(path, backend="openvino", batch=3)(images(3))
    half = open_model(export_half(path, tmp_path / "half.onnx"), backend="openvino", batch=3)
    torch.testing.assert_close(half(images(3)), whole, rtol=1e-2, atol=1e-2)


@needs_it
def test_networks_are_compiled_for_the_threads_and_in_float32(path):
    compiled = module.compile_onnx(path, threads=2, batch=1)
    names = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "ENABLE_CPU_PINNING", "PERF_COUNT")
    assert [compiled.get_property(name) for name in names] == [2, 1, False, "NO"]
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


@needs_it
def test_its_makers_are_told_nothing():
    assert sys.modules[module.REPORTER] is None
    assert "openvino.tools.ovc.telemetry_stub" in sys.modules, "what it falls back to"


CLOSED = """
import gc, signal, sys
from argparse import Namespace
from compress.measure.backends.openvino import compile_onnx
from compress.measure.kit.ondevice.engines import OpenVino

signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
one = compile_onnx(sys.argv[1], threads=1, batch=1)
two = OpenVino(Namespace(threads=1, provider=None))
three = compile_onnx(sys.argv[1], threads=1, batch=1)
four = OpenVino(Namespace(threads=1, provider=None))
del one
del two
del three
del four
gc.collect()
signal.raise_signal(signal.SIGUSR1)
"""


@needs_it
def test_signals_are_heard_after_networks_are_closed(path):
    """OpenVINO gives the main thread a signal stack, and with two Cores took the one that was in use away."""
    done = subprocess.run([sys.executable, "-c", CLOSED, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "handled\n", "")


@needs_it
def test_files_that_do_not_serve(path, tmp_path):
    wide = onnx.load(path)
    wide.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "width"
    onnx.save(wide, tmp_path / "wide.onnx")
    other = onnx.load(path)
    other.graph.node[0].op_type = "Unheard"
    onnx.save(other, tmp_path / "other.onnx")
    two = onnx.load(path)
    two.graph.output.append(onnx.helper.make_tensor_value_info(two.graph.node[0].output[0], 1, None))
    onnx.save(two, tmp_path / "two.onnx")
    for name, message in (
        ("absent.onnx", "no such file"),
        ("wide.onnx", "only the batch may be free"),
        ("other.onnx", r"^[^\n]*other\.onnx: OpenVINO refuses it \([^\n]*Unheard[^\n]*\); export it again$"),
        ("two.onnx", "has 1 inputs and 2 outputs"),
    ):
        with pytest.raises(UserError, match=message):
            open_model(tmp_path / name, backend="openvino")


@needs_it
def test_it_is_timed_as_all_others_are(path):
    config = MeasureConfig(("onnxruntime", "openvino"), batch=2, repeats=2, warmup_seconds=0.0)
    found = measure_latency(nn.Identity(), nn.Identity(), path, path, input_size=SIZE, config=config)
    assert list(found["backends"]) == ["onnxruntime", "openvino"]
    entry = found["backends"]["openvino"]
    assert entry.keys() == {"before", "after", "ratio"}, "compiling is a part of a second"
    assert entry["before"]["median"] > 0
    assert "openvino" in found["versions"]


@needs_it
def test_the_tool_takes_it(path, tmp_path):
    target = tmp_path / "times.json"
    assert run_tool("benchmark", path, path, "--backend", "openvino", "--repeats", 2, "--json", target) == 0
    result = json.loads(target.read_text())
    assert [row["backend"] for row in result["rows"]] == ["openvino"] * 2


@needs_it
def test_accuracy_is_measured_in_it(tmp_path):
    """On images that no multiple of the batch is."""
    found = []
    for options in ((), ("--backend", "openvino", "--batch", 100)):
        assert run_tool("evaluate", trained_run() / "model.onnx", "--json", tmp_path / "f.json", *options) == 0
        found.append(json.loads((tmp_path / "f.json").read_text()))
    assert [each.pop("backend") for each in found] == ["onnxruntime", "openvino"]
    losses = [each.pop("loss") for each in found]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert found[0]["n_images"] % 100
    assert found[0] == found[1]


def test_reports_name_it():
    assert wording.backend("openvino") == "OpenVINO"


@pytest.fixture
def without(monkeypatch):
    """The package is not there."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openvino", None)


NEEDS = r"needs OpenVINO, which cannot be imported \(.*\); pip install 'nncompress\[openvino\]'"


def test_without_the_package_one_line_says_what_to_install(without, path, tmp_path):
    config = MeasureConfig(("openvino",), repeats=1, warmup_seconds=0.0)
    with pytest.raises(UserError, match=rf"^backends: 'openvino' {NEEDS}; or leave the backend out of"):
        measure_latency(nn.Identity(), nn.Identity(), path, path, input_size=SIZE, config=config)
    with pytest.raises(UserError, match=rf"^--backend openvino: {NEEDS}; leave it out$"):
        open_model(path, backend="openvino")


def test_plans_are_not_timed_without_it(without):
    space, size, *_ = made("preresnet")
    with (
        pytest.raises(UserError, match=rf"^backend = 'openvino': {NEEDS}$"),
        PlanTimer.open(space, size, backend="openvino"),
    ):
        pass
