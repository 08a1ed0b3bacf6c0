"""The content of latency.json: keys, the direction of the ratio, and what is left behind."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from compress.export import export_onnx, inference_copy, tensorrt
from compress.measure import MeasureConfig, measure_latency, timing
from compress.measure import latency as latency_module
from compress.measure.backends import Backend, Times
from compress.plan import UserError
from compress.plan.backends import BACKENDS

SIZE = (3, 24, 24)
QUICK = {"repeats": 12, "warmup_seconds": 0.05}


def cnn(width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latency")
    before, after = cnn(96).train(), cnn(8).train()
    paths = [export_onnx(m, folder / f"{n}.onnx", input_size=SIZE) for n, m in (("before", before), ("after", after))]
    return before, after, *paths


def size(answer):
    """The sum of the absolute logits that a call returned."""
    return float(np.abs(np.asarray(answer)).sum())


def by_answer(calls, *, repeats, **_):
    """Stands for `interleaved`: a call takes as many milliseconds as its answer is large."""
    return {name: [size(call()) for _ in range(repeats)] for name, call in calls.items()}


@pytest.fixture(scope="module")
def measured(pair):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "interleaved", by_answer)
        return measure_latency(*pair, input_size=SIZE, config=MeasureConfig(batch=2, **QUICK))


@pytest.fixture(scope="module")
def sizes(pair):
    """What `by_answer` makes of the two networks."""
    images = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return [size(inference_copy(model)(images)) for model in pair[:2]]


def test_content(measured):
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    assert {key: measured[key] for key in ("dtype", "batch", "threads", "input_size")} == {
        "dtype": "float32", "batch": 2, "threads": 1, "input_size": [3, 24, 24],
    }  # fmt: skip
    assert {"device", "date", "versions", "reference_ms", "drifted"} < set(measured)
    assert set(measured["backends"]) == {"pytorch", "onnxruntime"}, "what is compiled is not among the defaults"
    assert measured["reference_ms"]["before"] > 0
    assert measured["reference_ms"]["after"] > 0


@pytest.mark.parametrize("backend", ["pytorch", "onnxruntime"])
def test_each_network_is_timed_under_its_own_side(measured, sizes, backend):
    entry, (before, after) = measured["backends"][backend], sizes
    assert abs(after / before - 1) > 0.05
    assert entry["before"]["n"] == entry["after"]["n"] == 12
    assert entry["before"]["median"] == pytest.approx(before, rel=1e-3)
    assert entry["after"]["median"] == pytest.approx(after, rel=1e-3)
    assert entry["ratio"]["median"] == pytest.approx(after / before, rel=1e-3)


def test_modules_and_threads_are_left_alone(pair, measured):
    former = torch.get_num_threads()
    seen = []
    before = nn.Sequential(*pair[0], nn.Identity())
    before[-1].forward = lambda x: seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled())) or x
    config = MeasureConfig(backends=("pytorch",), threads=former + 1, repeats=1, warmup_seconds=0.0)
    measure_latency(before, pair[1], None, None, input_size=SIZE, config=config)
    assert set(seen) == {(former + 1, True)}
    assert torch.get_num_threads() == former
    assert pair[0].training
    assert pair[1].training


@pytest.mark.parametrize(
    ("reference", "drifted"), [((1.0, 1.19), False), ((1.0, 1.21), True), ((1.21, 1.0), True), ((1.19, 1.0), False)]
)
def test_drift(pair, monkeypatch, reference, drifted):
    values = iter(reference)
    monkeypatch.setattr(latency_module, "time_reference", lambda: next(values))
    config = MeasureConfig(backends=("pytorch",), repeats=1, warmup_seconds=0.0)
    found = measure_latency(pair[0], pair[1], None, None, input_size=SIZE, config=config)
    assert found["drifted"] is drifted
    assert found["reference_ms"] == {"before": reference[0], "after": reference[1]}


@pytest.mark.parametrize("path", [None, "nowhere.onnx"])
def test_onnxruntime_needs_its_files(pair, path):
    config = MeasureConfig(backends=("onnxruntime",), repeats=1, warmup_seconds=0.0)
    with pytest.raises(UserError, match=r"onnxruntime|nowhere\.onnx"):
        measure_latency(pair[0], pair[1], path, path, input_size=SIZE, config=config)


def test_recipes_may_give_lists():
    assert MeasureConfig(backends=["onnxruntime"]) == MeasureConfig(backends=("onnxruntime",))


@pytest.mark.parametrize(
    "options",
    [
        {"backends": ()}, {"backends": "pytorch"}, {"batch": 0}, {"threads": 0}, {"repeats": 0}, {"inner": -1},
        {"min_sample_ms": -1.0}, {"warmup_seconds": float("inf")},
    ],
)  # fmt: skip
def test_bad_config(options):
    (name,) = options
    with pytest.raises(UserError, match=name):
        MeasureConfig(**options)


def test_unknown_backend_names_the_known_ones():
    with pytest.raises(UserError, match=r"'tflite': is unknown; choose from pytorch, onnxruntime"):
        MeasureConfig(backends=("pytorch", "tflite"))


def test_tensorrt_needs_a_gpu(pair, monkeypatch):
    monkeypatch.setattr(tensorrt, "cuda_device", lambda: None)
    config = MeasureConfig(backends=("tensorrt",), **QUICK)
    with pytest.raises(UserError, match=r"^backends: 'tensorrt' needs an NVIDIA GPU with driver, and here is none; or"):
        measure_latency(*pair, input_size=SIZE, config=config)
    monkeypatch.setattr(tensorrt, "cuda_device", lambda: {"name": "a GPU"})
    monkeypatch.setattr(tensorrt, "import_fault", lambda name: f"cannot be imported (none); pip install {name}")
    with pytest.raises(UserError, match=r"^backends: 'tensorrt' cannot be imported \(none\); pip install tensorrt; or"):
        measure_latency(*pair, input_size=SIZE, config=config)


def test_fake_engines_of_both_files_are_timed(pair, sizes, monkeypatch):
    """Stands for TensorRT and its GPU: ONNX Runtime answers."""
    opened, backend = [], BACKENDS.find("tensorrt")

    def engine(path, *, threads, batch):
        opened.append((path, batch))
        return BACKENDS.find("onnxruntime").open(path)

    monkeypatch.setattr(tensorrt, "cuda_device", lambda: {"name": "a GPU"})
    monkeypatch.setattr(tensorrt, "import_fault", lambda name: None)
    monkeypatch.setattr(backend, "open", engine)
    monkeypatch.setattr(timing, "interleaved", by_answer)
    config = MeasureConfig(backends=("tensorrt",), batch=2, **QUICK)
    entry = measure_latency(*pair, input_size=SIZE, config=config)["backends"]["tensorrt"]
    assert opened == [(pair[2], 2), (pair[3], 2)]
    assert entry["ratio"]["median"] == pytest.approx(sizes[1] / sizes[0], rel=1e-3)
    assert entry["gpu"] == {"name": "a GPU"}
    assert entry["compile_seconds"].keys() == {"before", "after"}


class Elsewhere(Backend):
    """A device that tells times alone: nothing of it can be called from here."""

    name, label, takes, packages = "elsewhere", "A device", "onnx", ("absent-package",)

    def open(self, network, *, threads=1, batch=1, trust=False):
        raise NotImplementedError

    def time(self, networks, images, *, threads, repeats, **options):
        assert images.shape == (1, *SIZE)
        sizes = {name: path.stat().st_size for name, path in networks.items()}
        return Times({name: [1e-6 * size] * repeats for name, size in sizes.items()}, dict.fromkeys(sizes, 0.0))

    def facts(self):
        return {"gpu": {"name": "a board"}}


def test_a_backend_that_only_tells_times_is_measured(pair, monkeypatch):
    monkeypatch.setitem(BACKENDS, "elsewhere", Elsewhere())
    found = measure_latency(*pair, input_size=SIZE, config=MeasureConfig(backends=("elsewhere",), repeats=3))
    entry = found["backends"]["elsewhere"]
    bytes_ = [path.stat().st_size for path in pair[2:]]
    assert entry["ratio"]["median"] == pytest.approx(bytes_[1] / bytes_[0])
    assert (entry["before"]["n"], entry["gpu"]) == (3, {"name": "a board"})
    assert "compile_seconds" not in entry
    assert "absent-package" not in found["versions"]
