"""Closed-form proximal maps (thesis, section 2.1.2): the minimisers of P(u) + 1/2 |u - x|^2 with weight t on P."""

from __future__ import annotations

import torch
from torch import Tensor


def hard_threshold(x: Tensor, t: float) -> Tensor:
    """x where |x| > t, else 0: the prox of t^2/2 times the l0 norm."""
    return torch.where(x.abs() > t, x, torch.zeros_like(x))


def soft_threshold(x: Tensor, t: float) -> Tensor:
    """sign(x) max(|x| - t, 0): the prox of t times the l1 norm."""
    return torch.nn.functional.softshrink(x, t)


def group_soft_threshold(x: Tensor, t: float) -> Tensor:
    """Every row x_i scaled by max(1 - t / |x_i|, 0): the prox of t times the sum of row norms. x: [rows, ...]."""
    norms = x.flatten(1).norm(dim=1).view(-1, *[1] * (x.dim() - 1))
    factors: Tensor = (1 - t / norms.clamp_min(torch.finfo(x.dtype).tiny)).clamp_min(0)
    return x * factors
