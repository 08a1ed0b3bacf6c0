"""Penalties on scores: value, gradient, proximal step."""

from .base import Penalty
from .l1 import L1
from .latency import LatencyPenalty
from .named import PENALTIES, PenaltyType, Terms
from .prox import group_soft_threshold, hard_threshold, soft_threshold
from .topology import SoftmaxLatency
from .zero_one import ZeroOne

__all__ = [
    "L1",
    "PENALTIES",
    "LatencyPenalty",
    "Penalty",
    "PenaltyType",
    "SoftmaxLatency",
    "Terms",
    "ZeroOne",
    "group_soft_threshold",
    "hard_threshold",
    "soft_threshold",
]
