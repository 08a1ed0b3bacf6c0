"""Engines of a fake TensorRT, for tests that build and run them without a GPU; a small network to quantise."""

import fake_tensorrt
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from compress.export import EngineConfig, build_engine, export_onnx


class Event:
    """Every call takes a millisecond."""

    now = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        Event.now += 1
        self.at = Event.now

    def elapsed_time(self, end):
        return end.at - self.at


@pytest.fixture
def fake(monkeypatch):
    """The fake module as `tensorrt`, on a machine that says it has an A10."""
    fake_tensorrt.install(monkeypatch)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    return fake_tensorrt


@pytest.fixture
def source(tmp_path):
    """An ONNX file; the fake never reads it."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [x])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def built(fake, source, tmp_path):
    """Builds an engine with options; returns its path."""

    def make(**options):
        return build_engine(source, tmp_path / "m.engine", config=EngineConfig(batch=(1, 2, 4), **options))

    return make


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A convolution, ReLU and a classifier whose rows differ a hundredfold in size."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )  # fmt: skip
    with torch.no_grad():
        network[4].weight.mul_(torch.tensor([[1.0], [0.1], [10.0], [1.0]]))
    return export_onnx(network, tmp_path_factory.mktemp("small") / "m.onnx", input_size=(3, 8, 8), metadata={"a": "b"})


@pytest.fixture(scope="session")
def batches():
    """Images for it."""
    return [torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(n)) for n in (11, 9)]
