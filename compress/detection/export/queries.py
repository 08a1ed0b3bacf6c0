"""Detectors whose queries find the objects (DINO, Deformable DETR) as one function of tensors of fixed shapes.

Their attention samples every level of the pyramid at a few places (Zhu et al., arXiv 2010.04159): MMCV's form for
processors does that by `grid_sample`, which ONNX has an operator for. Nothing is suppressed. Letters of shapes: L
places of all levels, Q queries, K detections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .boxes import clip
from .graph import DetectorGraph


class Sizes:
    """Heights and widths of the levels: whole numbers to whoever goes through them, tensors to whoever picks some.

    MMDetection computes with a tensor of them, whose values a traced graph does not know.
    """

    def __init__(self, sizes: Sequence[Sequence[int]]) -> None:
        self.sizes = [(int(height), int(width)) for height, width in sizes]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.sizes)

    def __getitem__(self, key: Any) -> Any:
        picked = np.array(self.sizes)[key]
        return torch.from_numpy(picked) if key[0] is Ellipsis else picked


@contextmanager
def clamped_once() -> Iterator[None]:
    """MMDetection clamps what `inverse_sigmoid` takes twice, of which PyTorch's exporter makes one Clip and at times
    loses its bounds; what is between 0 and 1 anyway is clamped once here."""
    from mmdet.models.dense_heads import deformable_detr_head as heads
    from mmdet.models.layers.transformer import deformable_detr_layers as layers
    from mmdet.models.layers.transformer import dino_layers

    modules = (heads, layers, dino_layers)
    before = [module.inverse_sigmoid for module in modules]
    try:
        for module in modules:
            module.inverse_sigmoid = _logit
        yield
    finally:
        for module, function in zip(modules, before, strict=True):
            module.inverse_sigmoid = function


def _logit(x: Tensor, eps: float = 1e-5) -> Tensor:
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


class QueryGraph(DetectorGraph):
    """What `network.predict` computes, without rescaling, for one image of `input_size` (C, H, W) in that much padding.

    `network` is a detector with queries that `check_detector` lets pass; `candidates` is unused.
    """

    def _take(self, network: Any) -> None:
        self.box_cfg = network.bbox_head.test_cfg
        self.box_heads, self.mask_heads, self.box_pooling, self.mask_pooling = [network.bbox_head], [], [], []

    def found(self, maps: Sequence[Tensor], image_size: Tensor) -> tuple[Tensor, ...]:
        """What `forward` returns, from the neck's maps, [1, C, h, w] each."""
        encoder, decoder = self._places(maps, image_size)
        network = self.network
        queries, _ = network.pre_decoder(**network.forward_encoder(**encoder))
        with clamped_once():
            logits, boxes = network.bbox_head(**network.forward_decoder(**decoder, **queries))
        scores_QC, boxes_Q4 = logits[-1][0].sigmoid(), boxes[-1][0]
        n_classes = scores_QC.shape[1]
        flat_1P = scores_QC.reshape(1, -1)
        scores_1K, order_1K = flat_1P.topk(min(self.max_detections, flat_1P.shape[1]))
        row_K = torch.div(order_1K[0], n_classes, rounding_mode="floor")
        centres_K4 = boxes_Q4.index_select(0, row_K)
        middle, half = centres_K4[:, :2], centres_K4[:, 2:] * 0.5
        boxes_K4 = torch.cat([middle - half, middle + half], 1) * image_size.flip(1).repeat(1, 2)
        found = (clip(boxes_K4, image_size), scores_1K[0], order_1K[0] - row_K * n_classes)
        return tuple(values.unsqueeze(0) for values in found)

    def _places(self, maps: Sequence[Tensor], image_size: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        """What encoder and decoder are given of all places, as `network.pre_transformer` makes it."""
        network = self.network
        masks = [self._padding(level, image_size) for level in maps]
        positions = [
            network.positional_encoding(mask).flatten(2).transpose(1, 2) + network.level_embed[i].view(1, 1, -1)
            for i, mask in enumerate(masks)
        ]
        mask_1L = torch.cat([mask.flatten(1) for mask in masks], 1)
        shared = {
            "spatial_shapes": Sizes([level.shape[-2:] for level in maps]),
            "level_start_index": None,
            "valid_ratios": torch.stack([network.get_valid_ratio(mask) for mask in masks], 1),
        }
        places = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1)
        encoder = {"feat": places, "feat_mask": mask_1L, "feat_pos": torch.cat(positions, 1), **shared}
        return encoder, {"memory_mask": mask_1L, **shared}

    def _padding(self, level: Tensor, image_size: Tensor) -> Tensor:
        """bool [1, h, w]: the places of a level that stand for padding; of each the pixel at its beginning decides."""
        height, width = level.shape[-2:]
        rows = torch.arange(height) * self.input_size[1] // height
        columns = torch.arange(width) * self.input_size[2] // width
        outside = (rows[:, None] >= image_size[0, 0], columns[None, :] >= image_size[0, 1])
        return (outside[0] | outside[1]).unsqueeze(0)
