"""Penalties on scores: value, gradient, proximal step."""

from .base import Penalty
from .l1 import L1
from .latency import LatencyPenalty
from .prox import group_soft_threshold, hard_threshold, soft_threshold
from .topology import SoftmaxLatency

__all__ = [
    "L1",
    "LatencyPenalty",
    "Penalty",
    "SoftmaxLatency",
    "group_soft_threshold",
    "hard_threshold",
    "soft_threshold",
]
