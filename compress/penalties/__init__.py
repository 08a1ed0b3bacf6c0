"""Penalties on scores: value, gradient, proximal step."""

from .l1 import L1

__all__ = ["L1"]
