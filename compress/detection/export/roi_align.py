"""RoIAlign over the levels of a feature pyramid, as one ONNX operator a level or as one GridSample in an atlas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

FIXED_RATIO = 2
"""Samples a bin and axis where the config leaves their number to the size of the box: detectron's own fixed choice."""


@dataclass(frozen=True)
class Pooling:
    """One RoI extractor: `size` (h, w) of its result, `ratio` samples a bin and axis (0: as many as the box needs),
    whether pixel centres lie at 0.5 (`aligned`), the levels' `strides` and the box side from which level 1 serves."""

    size: tuple[int, int]
    ratio: int
    aligned: bool
    strides: tuple[int, ...]
    finest_scale: float

    @classmethod
    def of(cls, extractor: Any) -> Pooling:
        """The settings of a SingleRoIExtractor."""
        layer = extractor.roi_layers[0]
        strides = tuple(extractor.featmap_strides)
        return cls(tuple(layer.output_size), layer.sampling_ratio, layer.aligned, strides, extractor.finest_scale)

    def levels(self, boxes_N4: Tensor) -> Tensor:
        """The level of each box, float [N], by the square root of its area."""
        scale = (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(1).sqrt()
        return torch.floor(torch.log2(scale / self.finest_scale + 1e-6)).clamp(0, len(self.strides) - 1)


def pool_by_level(maps: Sequence[Tensor], boxes_N4: Tensor, pooling: Pooling) -> Tensor:
    """[N, C, h, w] from maps [1, C, H, W], by one RoiAlign for each level, where boxes of other levels have no area."""
    levels_N1 = pooling.levels(boxes_N4)[:, None]
    parts = []
    for level, (stride, features) in enumerate(zip(pooling.strides, maps, strict=False)):
        here = levels_N1 == level
        rois = F.pad(torch.where(here, boxes_N4, 0.0), (1, 0))
        part = roi_align(features, rois, pooling.size, 1 / stride, pooling.ratio, pooling.aligned)
        parts.append(torch.where(here[:, :, None, None], part, 0.0))
    return torch.stack(parts).sum(0)


def pool_from_atlas(maps: Sequence[Tensor], boxes_N4: Tensor, pooling: Pooling) -> Tensor:
    """[N, C, h, w] from maps [1, C, H, W], by one GridSample of all levels side by side and averages of its samples.

    Differs from `pool_by_level` by rounding, if `pooling.ratio` is above 0; else `FIXED_RATIO` stands in for it.
    """
    maps = maps[: len(pooling.strides)]
    atlas, corners = _atlas(maps)
    chosen_N1L = (pooling.levels(boxes_N4)[:, None, None] == torch.arange(len(maps), device=boxes_N4.device)).float()

    def of_level(values: Sequence[Sequence[float]]) -> Tensor:
        """[N, 1, 2] of [L, 2]: each box's row."""
        return chosen_N1L @ boxes_N4.new_tensor(values)

    ratio = pooling.ratio or FIXED_RATIO
    count = [side * ratio for side in reversed(pooling.size)]
    scale = of_level([[1 / stride, 1 / stride] for stride in pooling.strides])
    low, high = (corner.unsqueeze(1) * scale - (0.5 if pooling.aligned else 0.0) for corner in boxes_N4.split(2, 1))
    extent = high - low if pooling.aligned else (high - low).clamp(min=1)
    sides = of_level([[m.shape[3], m.shape[2]] for m in maps])
    offset = of_level([[x, y] for y, x in corners])
    grids, inside = [], []
    for axis in (0, 1):
        steps = (torch.arange(count[axis], device=boxes_N4.device) + 0.5) / count[axis]
        at = low[..., axis] + extent[..., axis] * steps
        side = sides[..., axis]
        inside.append(((at >= -1) & (at <= side)).to(at.dtype))
        at = torch.minimum(at.clamp(min=0), side - 1) + offset[..., axis]
        grids.append(at * (2 / (atlas.shape[3 - axis] - 1)) - 1)
    n, (columns, rows) = len(boxes_N4), count
    grid = torch.stack(
        [grids[0].unsqueeze(1).expand(n, rows, columns), grids[1].unsqueeze(2).expand(n, rows, columns)], -1
    )
    samples = F.grid_sample(atlas, grid.reshape(1, n * rows, columns, 2), padding_mode="border", align_corners=True)
    samples = samples * (inside[0].unsqueeze(1) * inside[1].unsqueeze(2)).reshape(1, 1, n * rows, columns)
    pooled = F.avg_pool2d(samples, ratio)
    return pooled.reshape(-1, n, *pooling.size).transpose(0, 1)


def _atlas(maps: Sequence[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
    """One map [1, C, H, W] with the first level on top and the others in a row below it, and their corners (y, x)."""
    first, *others = maps
    if not others:
        return first, [(0, 0)]
    height = max(m.shape[2] for m in others)
    width = max(first.shape[3], sum(m.shape[3] for m in others))
    below = torch.cat([F.pad(m, (0, 0, 0, height - m.shape[2])) for m in others], 3)
    atlas = torch.cat([F.pad(part, (0, width - part.shape[3])) for part in (first, below)], 2)
    corners, x = [(0, 0)], 0
    for m in others:
        corners.append((first.shape[2], x))
        x += m.shape[3]
    return atlas, corners
