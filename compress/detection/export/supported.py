"""What the export takes: two-stage detectors whose parts are MMDetection's common ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ...plan import UserError

PARTS = {
    "rpn_head": ("RPNHead",),
    "roi_head": ("StandardRoIHead", "CascadeRoIHead"),
    "prior_generator": ("AnchorGenerator",),
    "bbox_head": ("BBoxHead", "ConvFCBBoxHead", "Shared2FCBBoxHead", "Shared4Conv1FCBBoxHead"),
    "bbox_coder": ("DeltaXYWHBBoxCoder",),
    "mask_head": ("FCNMaskHead",),
    "roi_extractor": ("SingleRoIExtractor",),
    "roi_layer": ("RoIAlign",),
}
"""Part of a detector -> the classes of MMDetection and MMCV that are computed here as they compute."""

MOST_SORTED = 3840
"""How many of the best TensorRT's TopK gives at most."""


def stages(part: Any) -> list[Any]:
    """The heads or extractors of a cascade, or the only one."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def check_detector(network: Any) -> None:
    """Raise UserError, in one line, if `network` has a part or a setting that the export does not compute."""
    from mmdet.models.detectors import TwoStageDetector

    if not isinstance(network, TwoStageDetector):
        raise UserError(
            f"network: {type(network).__name__} is no two-stage detector; only Faster, Mask, Cascade and Cascade Mask "
            "R-CNN are exported whole"
        )
    for part, module in _parts(network):
        if type(module).__name__ not in PARTS[part]:
            raise UserError(f"{part}: {type(module).__name__} is not exported; use {' or '.join(PARTS[part])}")
    for setting, found, wanted in _settings(network):
        if found != wanted:
            raise UserError(f"{setting} = {found!r}: is not exported; set it to {wanted!r}")


def check_sizes(network: Any, max_detections: int, candidates: int, *, form: str) -> None:
    """Raise UserError if a number of boxes is no positive integer, or more than the operators of `form` sort."""
    rpn = network.rpn_head.test_cfg
    limit = MOST_SORTED if form == "plugin-free" else None
    numbers = {"rpn.nms_pre": rpn.nms_pre, "rpn.max_per_img": rpn.max_per_img, "candidates": candidates}
    for name, number in {**numbers, "max_detections": max_detections}.items():
        if not isinstance(number, int) or number < 1 or (limit and number > limit):
            raise UserError(f"{name} = {number!r}: must be a whole number from 1{f' to {limit}' if limit else ''}")
    if max_detections > candidates:
        raise UserError(f"max_detections = {max_detections}: must be at most candidates = {candidates}")


def _parts(network: Any) -> Iterator[tuple[str, Any]]:
    rpn, head = network.rpn_head, network.roi_head
    yield from (("rpn_head", rpn), ("prior_generator", rpn.prior_generator), ("bbox_coder", rpn.bbox_coder))
    yield "roi_head", head
    extractors = stages(head.bbox_roi_extractor)
    for one in stages(head.bbox_head):
        yield from (("bbox_head", one), ("bbox_coder", one.bbox_coder))
    if head.with_mask:
        extractors += stages(head.mask_roi_extractor)
        for one in stages(head.mask_head):
            yield "mask_head", one
    for extractor in extractors:
        yield "roi_extractor", extractor
        for layer in extractor.roi_layers:
            yield "roi_layer", layer


def _settings(network: Any) -> Iterator[tuple[str, Any, Any]]:
    """(name, value, the value that is computed) of what MMDetection can do in several ways."""
    rpn, head = network.rpn_head, network.roi_head
    yield "rpn_head.use_sigmoid_cls", rpn.use_sigmoid_cls, True
    yield "roi_head.shared_head", head.with_shared_head, False
    for name, config in (("rpn", rpn.test_cfg), ("rcnn", head.test_cfg)):
        ordinary = {"type": "nms", "iou_threshold": config.nms.iou_threshold}
        yield f"test_cfg.{name}.nms", {"type": "nms", **config.nms}, ordinary
    yield "test_cfg.rcnn.score_thr", max(head.test_cfg.score_thr, 0), head.test_cfg.score_thr
    for one in stages(head.bbox_head):
        yield "bbox_head.with_reg", one.with_reg, True
        yield "bbox_head.loss_cls.custom_cls_channels", bool(one.custom_cls_channels), False
        yield "bbox_coder.add_ctr_clamp", one.bbox_coder.add_ctr_clamp, False
    for layer in (module for module in network.modules() if type(module).__name__ == "RoIAlign"):
        yield "roi_layer.pool_mode", layer.pool_mode, "avg"
