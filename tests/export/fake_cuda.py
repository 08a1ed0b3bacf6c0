"""A stand-in for cuda-python's `cuda.bindings.runtime` where there is no GPU."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np


class FakeCuda:
    """CUDA's runtime on host memory."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self):
        self.kept = []

    def cudaGetDeviceCount(self):
        return 0, 1

    def cudaStreamCreate(self):
        return 0, 77

    def cudaMalloc(self, size):
        self.kept.append(np.zeros(size, np.uint8))
        return 0, self.kept[-1].ctypes.data

    def cudaMemcpyAsync(self, into, source, size, kind, stream):
        ctypes.memmove(into, source, size)
        return (0,)

    def cudaEventCreate(self):
        return 0, object()

    def cudaEventElapsedTime(self, start, end):
        return 0, 1.5

    def __getattr__(self, name):
        assert name in ("cudaEventRecord", "cudaEventDestroy", "cudaStreamSynchronize")
        return lambda *_: (0,)
