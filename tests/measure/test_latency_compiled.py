"""torch.compile as a backend of latency.json. Some ten seconds; inductor itself, half a minute, is for slow runs."""

import functools
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from test_latency import SIZE, cnn

from compress.measure import MeasureConfig, interleaved, measure_latency, timing
from compress.plan import UserError
from compress.plan.backends import BACKENDS

CONFIG = MeasureConfig(backends=["torch-compile"], repeats=3, warmup_seconds=0.01)


def images():
    return torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0))


def outputs(backend, model):
    with torch.inference_mode():
        return BACKENDS.find(backend).open(model).bind(images())()


@pytest.fixture
def quick_compiler(monkeypatch):
    """torch.compile without inductor: traced, then run by PyTorch. What it was given and made is recorded."""
    made = SimpleNamespace(given=[], graphs=[])
    compiled = functools.partial(torch.compile, backend=lambda graph, _: made.graphs.append(graph) or graph.forward)
    monkeypatch.setattr(
        torch, "compile", lambda model, **settings: made.given.append(settings) or compiled(model, **settings)
    )
    monkeypatch.setenv("CXX", "sh")  # found everywhere
    return made


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs g++")
def test_inductor_computes_what_eager_computes_and_is_timed(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model = cnn(8).train()
    torch.testing.assert_close(outputs("torch-compile", model), outputs("pytorch", model), rtol=1e-4, atol=1e-4)
    assert model.training
    entry = measure_latency(model, cnn(4), None, None, input_size=SIZE, config=CONFIG)["backends"]["torch-compile"]
    assert entry["before"]["median"] > 0
    assert entry["compile_seconds"]["after"] > 0


def test_what_is_timed_computes_what_eager_computes(quick_compiler):
    model = cnn(8).train()
    torch.testing.assert_close(outputs("torch-compile", model), outputs("pytorch", model), rtol=1e-4, atol=1e-4)
    assert model.training


def test_it_is_an_entry_of_its_own_and_compiling_is_not_in_the_timing(quick_compiler, monkeypatch):
    compiled = []

    def watch(calls, **options):
        before = len(quick_compiler.graphs)
        samples = interleaved(calls, **options)
        compiled.extend([before, len(quick_compiler.graphs)])
        return samples

    monkeypatch.setattr(timing, "interleaved", watch)
    found = measure_latency(cnn(8), cnn(4), None, None, input_size=SIZE, config=CONFIG)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["backends"]) == ["torch-compile"]
    entry = found["backends"]["torch-compile"]
    assert entry.keys() == {"before", "after", "ratio", "compile_seconds"}
    assert entry["before"]["n"] == entry["after"]["n"] == 3
    assert entry["compile_seconds"].keys() == {"before", "after"}
    assert compiled == [2, 2]
    assert quick_compiler.given == 2 * [{"fullgraph": True, "dynamic": False}]


@pytest.mark.slow
def test_any_number_of_networks_of_one_class_can_be_measured(quick_compiler):
    """Of one class, PyTorch compiles eight networks and no more."""
    config = MeasureConfig(("torch-compile",), repeats=1, warmup_seconds=0.0)
    for width in range(2, 7):
        measure_latency(cnn(width + 5), cnn(width), None, None, input_size=SIZE, config=config)
    assert len(quick_compiler.given) == 10


def test_without_a_compiler_it_is_refused_before_anything_is_timed(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    asked = []
    monkeypatch.setattr(shutil, "which", lambda name: asked.append(name))
    config = MeasureConfig(backends=("pytorch", "torch-compile"), repeats=1)
    with pytest.raises(
        UserError, match=r"'torch-compile' needs a C\+\+ compiler, and 'g\+\+' is not .* leave the back"
    ) as e:
        measure_latency(cnn(4), cnn(2), None, None, input_size=SIZE, config=config)
    assert asked == ["g++"]
    assert "\n" not in str(e.value)
    monkeypatch.setenv("CXX", "my-c++")
    with pytest.raises(UserError, match=r"'my-c\+\+' is not on the PATH"):
        measure_latency(cnn(4), cnn(2), None, None, input_size=SIZE, config=config)
    measure_latency(cnn(4), cnn(2), None, None, input_size=SIZE, config=MeasureConfig(("pytorch",), repeats=1))


def test_a_compiler_that_fails_is_told_in_one_line(monkeypatch, quick_compiler):
    def broken(model, **settings):
        def call(images_BCHW):
            raise RuntimeError("C++ compile error\n\nfatal error: Python.h: no such file")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(UserError, match=r"cannot compile Sequential \(C\+\+ compile error\); leave it out of") as e:
        measure_latency(cnn(4), cnn(2), None, None, input_size=SIZE, config=CONFIG)
    assert "\n" not in str(e.value)
