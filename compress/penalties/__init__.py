"""Penalties on scores: value, gradient, proximal step."""

from .l1 import L1
from .prox import group_soft_threshold, hard_threshold, soft_threshold

__all__ = ["L1", "group_soft_threshold", "hard_threshold", "soft_threshold"]
