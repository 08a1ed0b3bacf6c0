"""Boxes as x1, y1, x2, y2 in pixels: decoding, clipping and overlap in operators that every runtime has."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

LARGEST_RATIO = abs(math.log(16 / 1000))
"""How much wider or higher than its prior a box may become, as a logarithm: MMDetection's `wh_ratio_clip`."""


def decode(priors_N4: Tensor, deltas_N4: Tensor, coder: Any, image_size: Tensor) -> Tensor:
    """Boxes [N, 4] of `deltas_N4` relative to `priors_N4`, as the DeltaXYWHBBoxCoder `coder` has it, clipped.

    `image_size` [1, 2] holds height and width of the image, in pixels.
    """
    deltas = deltas_N4 * deltas_N4.new_tensor(coder.stds) + deltas_N4.new_tensor(coder.means)
    low, high = priors_N4[:, :2], priors_N4[:, 2:]
    size = high - low
    centre = (low + high) * 0.5 + size * deltas[:, :2]
    half = size * deltas[:, 2:].clamp(-LARGEST_RATIO, LARGEST_RATIO).exp() * 0.5
    boxes_N4 = torch.cat([centre - half, centre + half], 1)
    return clip(boxes_N4, image_size) if coder.clip_border else boxes_N4


def from_distances(points_N2: Tensor, distances_N4: Tensor, coder: Any, image_size: Tensor) -> Tensor:
    """Boxes [N, 4] whose sides are `distances_N4` (left, top, right, bottom) from points, clipped as by the
    DistancePointBBoxCoder `coder`."""
    boxes_N4 = torch.cat([points_N2 - distances_N4[:, :2], points_N2 + distances_N4[:, 2:]], 1)
    return clip(boxes_N4, image_size) if coder.clip_border else boxes_N4


def clip(boxes_N4: Tensor, image_size: Tensor) -> Tensor:
    """Boxes [N, 4] moved into an image of `image_size` [1, 2], (height, width)."""
    limits = image_size.flip(1).repeat(1, 2)
    return torch.minimum(boxes_N4.clamp(min=0), limits)


def overlaps(boxes_GN4: Tensor) -> Tensor:
    """Intersection over union [G, N, N] of all boxes of a group; 0 with boxes that have no area."""
    low, high = boxes_GN4[..., :2], boxes_GN4[..., 2:]
    areas = (high - low).prod(-1)
    shared = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])
    shared = shared.clamp(min=0).prod(-1)
    return shared / (areas[:, :, None] + areas[:, None] - shared).clamp(min=torch.finfo(areas.dtype).tiny)
