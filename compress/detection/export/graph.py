"""A two-stage detector of MMDetection as one function of tensors of fixed shapes, which ONNX can hold.

Letters of shapes: A anchors of a level, G levels, N boxes, M candidates, K detections, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .boxes import decode
from .roi_align import Pooling, pool_by_level, pool_from_atlas
from .supported import stages
from .suppression import suppress_by_rounds, suppress_in_turn


class Form(NamedTuple):
    """The two steps that runtimes have different operators for."""

    suppress: Callable[[Tensor, float], Tensor]
    pool: Callable[[Sequence[Tensor], Tensor, Pooling], Tensor]


FORMS = {
    "onnxruntime": Form(suppress_in_turn, pool_by_level),
    "plugin-free": Form(suppress_by_rounds, pool_from_atlas),
}
"""`form` of an export -> its operators: ONNX's own, or those that TensorRT needs no plugin for."""


class DetectorGraph(nn.Module):
    """What `network.predict` computes, without rescaling and pasting, for images of `input_size` (C, H, W).

    `network` is a two-stage detector that `check_detector` lets pass, on the CPU, in eval mode. Of all pairs of a box
    and a class the best `candidates` enter the last suppression. Boxes beyond them have lower scores and cannot
    suppress these, so the answer is MMDetection's unless more pairs than that pass `score_thr` and fewer than
    `max_detections` of the best are left. `shapes` are those of the neck's maps.
    """

    def __init__(
        self, network: Any, *, input_size: tuple[int, int, int], form: str, max_detections: int, candidates: int
    ) -> None:
        super().__init__()
        self.network, self.form = network, FORMS[form]
        self.input_size, self.max_detections, self.candidates = input_size, max_detections, candidates
        dense_head = self._take(network)
        with torch.no_grad():
            self.shapes = [level.shape for level in network.extract_feat(torch.zeros(1, *input_size))]
        sizes = [shape[-2:] for shape in self.shapes]
        priors = dense_head.prior_generator.grid_priors(sizes, device="cpu") if dense_head is not None else ()
        for level, anchors_A4 in enumerate(priors):
            self.register_buffer(f"anchors_{level}", anchors_A4, persistent=False)

    def _take(self, network: Any) -> Any:
        """Keep the heads and settings of `network`; returns the head that has priors on every level, if any."""
        head = network.roi_head
        self.rpn_cfg, self.box_cfg = network.rpn_head.test_cfg, head.test_cfg
        self.box_heads, self.mask_heads = stages(head.bbox_head), stages(head.mask_head) if head.with_mask else []
        self.box_pooling = [Pooling.of(extractor) for extractor in stages(head.bbox_roi_extractor)]
        extractors = stages(head.mask_roi_extractor) if head.with_mask else []
        self.mask_pooling = [Pooling.of(extractor) for extractor in extractors]
        return network.rpn_head

    def forward(self, images: Tensor, image_size: Tensor) -> tuple[Tensor, ...]:
        """Normalised images [B, C, H, W], of which the upper left `image_size` [B, 2] (height, width) is no padding.

        Returns boxes [B, K, 4], scores [B, K], labels [B, K] and, with a mask head, probabilities [B, K, h, w] of the
        mask of the label's class, by falling score; what is no detection has score 0 and label -1.
        """
        maps = self.network.extract_feat(images)
        if len(image_size) == 1:
            return self.found(maps, image_size)
        each = zip(*(level.split(1) for level in maps), strict=True)
        found = [self.found(own, size) for own, size in zip(each, image_size.split(1), strict=True)]
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    def found(self, maps: Sequence[Tensor], image_size: Tensor) -> tuple[Tensor, ...]:
        """What `forward` returns, from the neck's maps, [1, C, h, w] each."""
        proposals_N4, valid_N = self._propose(maps, image_size)
        rois_N4, logits_NC, deltas = self._refine(maps, proposals_N4, image_size)
        found = self._detect(rois_N4, logits_NC, deltas, valid_N, image_size)
        if self.mask_heads:
            found = (*found, self._masks(maps, *found))
        return tuple(values.unsqueeze(0) for values in found)

    def _propose(self, maps: Sequence[Tensor], image_size: Tensor) -> tuple[Tensor, Tensor]:
        """The RPN's boxes [N, 4], best first, and which of the rows hold one, [N]."""
        head, cfg = self.network.rpn_head, self.rpn_cfg
        boxes, scores = [], []
        for level, (logits, deltas) in enumerate(zip(*head(maps), strict=True)):
            anchors_A4 = getattr(self, f"anchors_{level}")
            best_1N, order_1N = rows_of(logits, 1).reshape(1, -1).sigmoid().topk(min(cfg.nms_pre, len(anchors_A4)))
            anchors_N4, deltas_N4 = (rows.index_select(0, order_1N[0]) for rows in (anchors_A4, rows_of(deltas, 4)))
            boxes.append(decode(anchors_N4, deltas_N4, head.bbox_coder, image_size))
            scores.append(best_1N[0])
        most = max(map(len, boxes))
        boxes_GN4 = torch.stack([F.pad(rows, (0, 0, 0, most - len(rows))) for rows in boxes])
        scores_GN = torch.stack([F.pad(row, (0, most - len(row)), value=-1.0) for row in scores])
        return self._best(boxes_GN4, scores_GN)

    def _best(self, boxes_GN4: Tensor, scores_GN: Tensor) -> tuple[Tensor, Tensor]:
        """The best boxes [N, 4] of G levels after suppression level by level, and which of the rows hold one, [N].

        Scores below 0 are of no box.
        """
        cfg = self.rpn_cfg
        sides_GN = (boxes_GN4[..., 2:] - boxes_GN4[..., :2]).amin(-1)
        valid_GN = scores_GN >= 0
        if cfg.get("min_bbox_size", -1) >= 0:
            valid_GN = valid_GN & (sides_GN > cfg.min_bbox_size)
        level_G1 = torch.arange(len(boxes_GN4), device=boxes_GN4.device).unsqueeze(1)
        keep_GN = self._suppress(boxes_GN4, valid_GN, level_G1, cfg.nms.iou_threshold)
        ranked = torch.where(keep_GN, scores_GN, -1.0).reshape(1, -1)
        best_1N, order_1N = ranked.topk(min(cfg.max_per_img, ranked.numel()))
        return boxes_GN4.reshape(-1, 4).index_select(0, order_1N[0]), best_1N[0] >= 0

    def _refine(self, maps: Sequence[Tensor], rois_N4: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The last stage's RoIs [N, 4], the class logits [N, C + 1] averaged over stages, the last stage's deltas."""
        logits: list[Tensor] = []
        deltas = rois_N4
        for stage, (head, pooling) in enumerate(zip(self.box_heads, self.box_pooling, strict=True)):
            if stage:
                before = self.box_heads[stage - 1]
                deltas_N4 = _of_class(deltas, logits[-1][:, :-1].argmax(1), before)
                rois_N4 = decode(rois_N4, deltas_N4, before.bbox_coder, image_size)
            scores, deltas = head(self.form.pool(maps, rois_N4, pooling))
            logits.append(scores)
        return rois_N4, torch.stack(logits).sum(0) / len(logits), deltas

    def _detect(
        self, rois_N4: Tensor, logits_NC: Tensor, deltas: Tensor, valid_N: Tensor, image_size: Tensor
    ) -> tuple[Tensor, ...]:
        """Boxes [K, 4], scores [K] and labels [K] of the last stage, after suppression class by class."""
        head = self.box_heads[-1]
        scores_NC = torch.where(valid_N.unsqueeze(1), logits_NC.softmax(1)[:, :-1], 0.0)
        scores_1M, order_1M = scores_NC.reshape(1, -1).topk(min(self.candidates, scores_NC.numel()))
        row_M = torch.div(order_1M[0], head.num_classes, rounding_mode="floor")
        label_M = order_1M[0] - row_M * head.num_classes
        deltas_M4 = _of_class(deltas.index_select(0, row_M), label_M, head)
        boxes_M4 = decode(rois_N4.index_select(0, row_M), deltas_M4, head.bbox_coder, image_size)
        return self._left(boxes_M4, scores_1M, label_M, scores_1M > self.box_cfg.score_thr)

    def _left(self, boxes_M4: Tensor, scores_1M: Tensor, label_M: Tensor, valid_1M: Tensor) -> tuple[Tensor, ...]:
        """Boxes [K, 4], scores [K] and labels [K] of the best of what is valid after suppression class by class."""
        threshold = self.box_cfg.nms.iou_threshold
        keep_1M = self._suppress(boxes_M4.unsqueeze(0), valid_1M, label_M.unsqueeze(0), threshold)
        count = min(self.max_detections, scores_1M.shape[1])
        scores_1K, order_1K = torch.where(keep_1M, scores_1M, 0.0).topk(count)
        found_K = scores_1K[0] > 0
        boxes_K4 = torch.where(found_K.unsqueeze(1), boxes_M4.index_select(0, order_1K[0]), 0.0)
        return boxes_K4, scores_1K[0], torch.where(found_K, label_M.index_select(0, order_1K[0]), -1)

    def _suppress(self, boxes_GN4: Tensor, valid_GN: Tensor, kind_GN: Tensor, threshold: float) -> Tensor:
        """bool [G, N]: the valid boxes that stay when those of each kind compete among themselves.

        Kinds are moved apart as `mmcv.ops.batched_nms` does it, so that rounding is the same too.
        """
        boxes_GN4 = torch.where(valid_GN.unsqueeze(-1), boxes_GN4, 0.0)
        apart_GN = kind_GN.to(boxes_GN4.dtype) * (boxes_GN4.max() + 1)
        return self.form.suppress(boxes_GN4 + apart_GN.unsqueeze(-1), threshold) & valid_GN

    def _masks(self, maps: Sequence[Tensor], boxes_K4: Tensor, scores_K: Tensor, labels_K: Tensor) -> Tensor:
        """Probabilities [K, h, w] of the label's class, averaged over stages."""
        pooled: dict[Pooling, Tensor] = {}
        masks = []
        for head, pooling in zip(self.mask_heads, self.mask_pooling, strict=True):
            if pooling not in pooled:
                pooled[pooling] = self.form.pool(maps, boxes_K4, pooling)
            logits_KCHW = head(pooled[pooling])
            index_K = torch.arange(len(labels_K), device=labels_K.device) * logits_KCHW.shape[1]
            if not head.class_agnostic:
                index_K = index_K + labels_K.clamp(min=0)
            masks.append(logits_KCHW.flatten(0, 1).index_select(0, index_K).sigmoid())
        return torch.where(scores_K[:, None, None] > 0, torch.stack(masks).mean(0), 0.0)


def rows_of(map_1XHW: Tensor, size: int) -> Tensor:
    """[H * W * X / size, size]: `size` numbers for each anchor, in the order of the anchors."""
    return map_1XHW[0].permute(1, 2, 0).reshape(-1, size)


def _of_class(deltas: Tensor, labels_N: Tensor, head: Any) -> Tensor:
    """Deltas [N, 4] for each row's class, of [N, 4 C] or, where all classes share them, of [N, 4]."""
    if head.reg_class_agnostic:
        return deltas
    first_N = torch.arange(len(labels_N), device=labels_N.device) * head.num_classes
    return deltas.reshape(-1, 4).index_select(0, first_N + labels_N)
