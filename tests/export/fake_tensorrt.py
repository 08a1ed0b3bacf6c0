"""A stand-in for the TensorRT module where there is no GPU. It records calls, and its "engine" runs on CPU memory.

The network that it runs: logits [batch, 2] = (sum of the image, 1), written to the address it was given, which shows
that the right addresses and shapes arrive. Everything public in it exists in the real module: test_tensorrt_api checks.
"""

from __future__ import annotations

import ctypes
from enum import Enum

import numpy as np

__version__ = "10.13.2"
calls: list[tuple] = []
state = {"late_shape": False, "refuse_cache": False, "no_engine": False, "no_plan": False}


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


class MemoryPoolType(Enum):
    WORKSPACE = 0


class DataType(Enum):
    FLOAT = 0


class ILogger:
    pass


class IProfiler:
    pass


class IProgressMonitor:
    pass


class IOutputAllocator:
    pass


class ITensor:
    def __init__(self, name, shape):
        self.name, self.shape, self.dtype = name, shape, DataType.FLOAT


class INetworkDefinition:
    num_inputs = num_outputs = 1

    def get_input(self, index):
        return ITensor("images", (-1, 3, 2, 2))

    def get_output(self, index):
        return ITensor("logits", (-1, 2))


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
        self._addresses, self._shape, self._allocator = {}, None, None

    def set_input_shape(self, name, shape):
        self._shape = shape
        calls.append(("set_input_shape", name, shape))

    def get_tensor_shape(self, name):
        return (-1 if state["late_shape"] else self._shape[0], 2)

    def set_tensor_address(self, name, address):
        self._addresses[name] = address

    def set_output_allocator(self, name, allocator):
        self._allocator = allocator

    def execute_async_v3(self, stream_handle):
        calls.append(("execute_async_v3", stream_handle))
        n = self._shape[0]
        if self._allocator is not None:
            address = self._allocator.reallocate_output_async("logits", 0, n * 2 * 4, 256, stream_handle)
            self._allocator.notify_shape("logits", (n, 2))
        else:
            address = self._addresses["logits"]
        images = _floats(self._addresses["images"], self._shape)
        _floats(address, (n, 2))[:] = np.stack([images.reshape(n, -1).sum(1), np.ones(n)], 1)
        if self.profiler is not None:
            self.profiler.report_layer_time("convolution", 0.25)
            self.profiler.report_layer_time("softmax", 0.5)
        return True


class ICudaEngine:
    def create_execution_context(self):
        calls.append(("create_execution_context",))
        return IExecutionContext()


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


def _floats(address, shape):
    count = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)
