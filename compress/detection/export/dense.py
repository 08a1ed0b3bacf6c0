"""A one-stage detector of MMDetection as one function of tensors of fixed shapes, which ONNX can hold.

RetinaNet, FCOS, ATSS, GFL, RTMDet and their kin: a head gives every prior of every level a score for each class and a
box, at times with a factor of the score (centre-ness, overlap). Letters of shapes as in `graph`, A priors of a level,
P pairs of a prior and a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .boxes import decode, from_distances
from .graph import DetectorGraph, rows_of
from .supported import best_of_level


class DenseGraph(DetectorGraph):
    """What `network.predict` computes, without rescaling, for one image of `input_size` (C, H, W).

    `network` is a one-stage detector that `check_detector` lets pass. Of each level the best `nms_pre` pairs are
    decoded; of all of them the best `candidates` enter the suppression, with what `DetectorGraph` says of that.
    """

    def _take(self, network: Any) -> Any:
        head = network.bbox_head
        self.box_cfg = head.test_cfg
        self.box_heads, self.mask_heads, self.box_pooling, self.mask_pooling = [head], [], [], []
        return head

    def found(self, maps: Sequence[Tensor], image_size: Tensor) -> tuple[Tensor, ...]:
        """What `forward` returns, from the neck's maps, [1, C, h, w] each."""
        head, levels = self.network.bbox_head, []
        for level, outputs in enumerate(zip(*head(maps), strict=True)):
            levels.append(self._of_level(level, outputs, image_size))
        boxes_P4, scores_P, labels_P = (torch.cat(values) for values in zip(*levels, strict=True))
        scores_1M, order_1M = scores_P.unsqueeze(0).topk(min(self.candidates, len(scores_P)))
        boxes_M4, labels_M = boxes_P4.index_select(0, order_1M[0]), labels_P.index_select(0, order_1M[0])
        # What does not count becomes the best pair, which suppresses it at once: boxes that stay take the time.
        counts_M = scores_1M[0] > 0
        boxes_M4 = torch.where(counts_M.unsqueeze(1), boxes_M4, boxes_M4[:1])
        labels_M = torch.where(counts_M, labels_M, labels_M[:1])
        found = self._left(boxes_M4, scores_1M, labels_M, scores_1M >= 0)
        return tuple(values.unsqueeze(0) for values in found)

    def _of_level(self, level: int, outputs: Sequence[Tensor], image_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [P, 4], scores [P] and labels [P] of a level's best pairs; those that do not count have score 0."""
        (logits, boxes, *factors), head, cfg = outputs, self.network.bbox_head, self.box_cfg
        priors, n_classes = getattr(self, f"anchors_{level}"), head.cls_out_channels
        most = best_of_level(head, self.candidates)
        scores_AC = rows_of(logits, n_classes).sigmoid()
        # The best pairs are pairs of the priors whose best classes are best.
        _, order_1N = scores_AC.amax(1).unsqueeze(0).topk(min(most, len(priors)))
        flat_1P = scores_AC.index_select(0, order_1N[0]).reshape(1, -1)
        scores_1P, order_1P = flat_1P.topk(min(most, flat_1P.shape[1]))
        row_P = torch.div(order_1P[0], n_classes, rounding_mode="floor")
        labels_P, prior_P = order_1P[0] - row_P * n_classes, order_1N[0].index_select(0, row_P)
        rows = rows_of(boxes, boxes.numel() // len(priors)).index_select(0, prior_P)
        boxes_P4 = _decoded(head, level, priors.index_select(0, prior_P), rows, image_size)
        scores_P, valid_P = scores_1P[0], scores_1P[0] > cfg.get("score_thr", 0)
        for factor in factors:
            scores_P = scores_P * rows_of(factor, 1).reshape(-1).index_select(0, prior_P).sigmoid()
        if cfg.get("min_bbox_size", -1) >= 0:
            valid_P = valid_P & ((boxes_P4[:, 2:] - boxes_P4[:, :2]).amin(1) > cfg.min_bbox_size)
        return boxes_P4, torch.where(valid_P, scores_P, 0.0), labels_P


def _decoded(head: Any, level: int, priors: Tensor, rows: Tensor, image_size: Tensor) -> Tensor:
    """Boxes [P, 4] of what `head` gave for `priors` of a level."""
    if type(head.bbox_coder).__name__ == "DeltaXYWHBBoxCoder":
        return decode(priors, rows, head.bbox_coder, image_size)
    if hasattr(head, "integral"):
        rows = head.integral(rows) * head.prior_generator.strides[level][0]
    points_P2 = priors if priors.shape[1] == 2 else (priors[:, :2] + priors[:, 2:]) / 2
    return from_distances(points_P2, rows, head.bbox_coder, image_size)
