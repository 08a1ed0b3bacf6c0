"""A stand-in for the TensorRT module where there is no GPU. It records calls, and its "engine" runs on CPU memory.

The network that it runs: logits [batch, 2] = (sum of the image, 1), written to the address it was given, which shows
that the right addresses and shapes arrive; `state["network"]` may be another. Everything public in it exists in the
real module: test_tensorrt_api checks.
"""

from __future__ import annotations

import ctypes
import json
import sys
from enum import Enum
from types import SimpleNamespace

import numpy as np

__version__ = "10.13.2"
A10 = {"name": "NVIDIA A10", "compute_capability": "8.6", "cuda": "13.0"}
STREAM = 1234


def _logits(images):
    return {"logits": np.stack([images.reshape(len(images), -1).sum(1), np.ones(len(images))], 1)}


NETWORK = SimpleNamespace(
    inputs={"images": ("FLOAT", (-1, 3, 2, 2))}, outputs={"logits": ("FLOAT", (-1, 2))}, compute=_logits
)
"""{name: (type, shape)}, -1 being the batch, and a function of arrays by the names of the inputs."""

calls: list[tuple] = []
state = {
    "late_shape": False,
    "refuse_cache": False,
    "no_engine": False,
    "no_plan": False,
    "network": NETWORK,
    "layers": ["convolution", "softmax"],
}


def images(n=3, value=0.5):
    """Images that `NETWORK` takes, each a multiple of the first one."""
    import torch

    return torch.full((n, 3, 2, 2), value) * torch.arange(1, n + 1).view(-1, 1, 1, 1)


def install(monkeypatch):
    """Make this module `tensorrt` on a machine that says it has an A10, and whose CUDA device is the CPU."""
    import torch

    from compress.export.tensorrt import build, runner

    monkeypatch.setitem(sys.modules, "tensorrt", sys.modules[__name__])
    monkeypatch.setattr(build, "cuda_device", lambda: A10)
    monkeypatch.setattr(runner, "_current_device", lambda: (torch.device("cpu"), A10))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=STREAM))
    monkeypatch.setattr(sys.modules[__name__], "state", dict(state))
    calls.clear()


class Severity(Enum):
    ERROR = 1
    WARNING = 2


class BuilderFlag(Enum):
    FP16 = 0
    VERSION_COMPATIBLE = 1


class NetworkDefinitionCreationFlag:
    STRONGLY_TYPED = 1


class HardwareCompatibilityLevel(Enum):
    AMPERE_PLUS = 1


class ProfilingVerbosity(Enum):
    DETAILED = 2


class LayerInformationFormat(Enum):
    JSON = 1


class MemoryPoolType(Enum):
    WORKSPACE = 0


class DataType(Enum):
    FLOAT = 0
    INT64 = 1


class ILogger:
    pass


class Logger(ILogger):
    ERROR = Severity.ERROR

    def __init__(self, min_severity):
        pass

    def log(self, severity, msg):
        pass


class IProfiler:
    pass


class IProgressMonitor:
    pass


class IOutputAllocator:
    pass


class ITensor:
    def __init__(self, name, kind, shape):
        self.name, self.dtype, self.shape = name, DataType[kind], shape


class INetworkDefinition:
    num_inputs = property(lambda self: len(state["network"].inputs))
    num_outputs = property(lambda self: len(state["network"].outputs))

    def get_input(self, index):
        name, described = list(state["network"].inputs.items())[index]
        return ITensor(name, *described)

    def get_output(self, index):
        name, described = list(state["network"].outputs.items())[index]
        return ITensor(name, *described)


class IOptimizationProfile:
    def set_shape(self, *arguments):
        calls.append(("set_shape", *arguments))


class ITimingCache:
    def __init__(self, content):
        self.content = content

    def serialize(self):
        return self.content + b"+timings"


class IBuilderConfig:
    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)
        calls.append((name, value))

    def add_optimization_profile(self, profile):
        return 0

    def set_memory_pool_limit(self, pool, size):
        calls.append(("set_memory_pool_limit", pool, size))

    def set_flag(self, flag):
        calls.append(("set_flag", flag))

    def create_timing_cache(self, content):
        return ITimingCache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        calls.append(("set_timing_cache", cache.content, ignore_mismatch))
        return not (state["refuse_cache"] and cache.content)


class Builder:
    def __init__(self, log):
        self._log = log

    def create_network(self, flags):
        calls.append(("create_network", flags))
        return INetworkDefinition()

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        if state["no_plan"]:
            self._log.log(Severity.ERROR, "the first error")
            self._log.log(Severity.ERROR, "out of\nworkspace")
            return None
        return b"plan"


class OnnxParser:
    num_errors = 0

    def __init__(self, network, log):
        pass

    def parse(self, model, path):
        return True


class IExecutionContext:
    profiler = None

    def __init__(self):
        self._addresses, self._shapes, self._allocators = {}, {}, {}

    def set_input_shape(self, name, shape):
        self._shapes[name] = shape
        calls.append(("set_input_shape", name, shape))

    def get_tensor_shape(self, name):
        batch = -1 if state["late_shape"] else next(iter(self._shapes.values()))[0]
        return tuple(batch if size == -1 else size for size in state["network"].outputs[name][1])

    def set_tensor_address(self, name, address):
        self._addresses[name] = address

    def set_output_allocator(self, name, allocator):
        self._allocators[name] = allocator

    def execute_async_v3(self, stream_handle):
        calls.append(("execute_async_v3", stream_handle))
        network = state["network"]
        given = {
            name: _array(self._addresses[name], kind, self._shapes[name]) for name, (kind, _) in network.inputs.items()
        }
        for name, values in network.compute(**given).items():
            kind, address = network.outputs[name][0], self._addresses.get(name)
            if name in self._allocators:
                size = values.size * np.dtype(NUMPY[kind]).itemsize
                address = self._allocators[name].reallocate_output_async(name, 0, size, 256, stream_handle)
                self._allocators[name].notify_shape(name, values.shape)
            _array(address, kind, values.shape)[:] = values
        if self.profiler is not None:
            self.profiler.report_layer_time("convolution", 0.25)
            self.profiler.report_layer_time("softmax", 0.5)
        return True


class EngineInspector:
    def get_engine_information(self, format):  # noqa: A002
        calls.append(("get_engine_information", format))
        return json.dumps({"Layers": state["layers"]})


class ICudaEngine:
    def create_execution_context(self):
        calls.append(("create_execution_context",))
        return IExecutionContext()

    def create_engine_inspector(self):
        return EngineInspector()


class Runtime:
    def __init__(self, log):
        self._log = log

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)
        calls.append((name, value))

    def deserialize_cuda_engine(self, content):
        calls.append(("deserialize_cuda_engine", content))
        if state["no_engine"]:
            self._log.log(Severity.ERROR, "magic tag does not match")
            return None
        return ICudaEngine()


NUMPY = {"FLOAT": np.float32, "INT64": np.int64}


def _array(address, kind, shape):
    size = int(np.prod(shape)) * np.dtype(NUMPY[kind]).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), NUMPY[kind]).reshape(shape)
