"""Timings of before and after, taken in turn, and what they were taken on."""

from .environment import device_name, versions
from .latency import BACKENDS, MeasureConfig, measure_latency
from .timing import interleaved, summarise, summarise_ratio, torch_threads

__all__ = [
    "BACKENDS",
    "MeasureConfig",
    "device_name",
    "interleaved",
    "measure_latency",
    "summarise",
    "summarise_ratio",
    "torch_threads",
    "versions",
]
