"""What the export takes: detectors of one or two stages or with queries, of MMDetection's common parts."""

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
DENSE_PARTS = {
    "bbox_head": (
        "RetinaHead",
        "RetinaSepBNHead",
        "FreeAnchorRetinaHead",
        "PISARetinaHead",
        "ATSSHead",
        "FCOSHead",
        "GFLHead",
        "DDODHead",
        "RTMDetHead",
        "RTMDetSepBNHead",
    ),
    "prior_generator": ("AnchorGenerator", "MlvlPointGenerator"),
    "bbox_coder": ("DeltaXYWHBBoxCoder", "DistancePointBBoxCoder"),
}
QUERY_PARTS = {
    "network": ("DeformableDETR", "DINO"),
    "bbox_head": ("DeformableDETRHead", "DINOHead"),
    "positional_encoding": ("SinePositionalEncoding",),
}
"""Part of a detector, with two stages, one, or queries -> the classes of MMDetection and MMCV that are computed here as
they compute."""

WITH_FACTOR = ("ATSSHead", "FCOSHead", "DDODHead")
"""Heads that multiply the scores of the best of each level by a second prediction."""

MOST_SORTED = 3840
"""How many of the best TensorRT's TopK gives at most."""

CANDIDATES = 2000
"""Pairs of a box and a class that enter the last suppression of a detector with two stages."""


def stages(part: Any) -> list[Any]:
    """The heads or extractors of a cascade, or the only one."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def is_dense(network: Any) -> bool:
    """Whether one head finds everything: a detector of one stage."""
    from mmdet.models.detectors import SingleStageDetector

    return isinstance(network, SingleStageDetector) and hasattr(network, "bbox_head")  # MaskFormer has none


def has_queries(network: Any) -> bool:
    """Whether a transformer's queries find everything."""
    from mmdet.models.detectors.base_detr import DetectionTransformer

    return isinstance(network, DetectionTransformer)


def box_settings(network: Any) -> Any:
    """The test settings of the head that finds the boxes: `score_thr`, `nms`, `max_per_img`."""
    return (network.roi_head if hasattr(network, "roi_head") else network.bbox_head).test_cfg


def best_of_level(head: Any, candidates: int) -> int:
    """How many pairs of a prior and a class are taken of a level, of which `candidates` of all levels are kept.

    More than those cannot be among them, unless a factor is still to come.
    """
    pre = head.test_cfg.get("nms_pre", -1)
    return pre if type(head).__name__ in WITH_FACTOR else min(pre, candidates)


def usual_candidates(network: Any) -> int:
    """How many pairs of a box and a class enter the last suppression where nobody says it.

    All that are taken of the levels of a detector with one stage, as far as TensorRT can sort them: its thresholds may
    be so low (RTMDet's 0.001) that of fewer than `max_per_img` would be left.
    """
    if has_queries(network):
        return MOST_SORTED
    if not is_dense(network):
        return CANDIDATES
    head = network.bbox_head
    pairs = head.test_cfg.get("nms_pre", -1) * head.prior_generator.num_levels
    return max(min(pairs, MOST_SORTED), head.test_cfg.max_per_img)


def check_detector(network: Any) -> None:
    """Raise UserError, in one line, if `network` has a part or a setting that the export does not compute."""
    from mmdet.models.detectors import TwoStageDetector

    if has_queries(network):
        known, parts, settings = QUERY_PARTS, _query_parts, _query_settings
    elif is_dense(network):
        known, parts, settings = DENSE_PARTS, _dense_parts, _dense_settings
    elif isinstance(network, TwoStageDetector):
        known, parts, settings = PARTS, _parts, _settings
    else:
        raise UserError(
            f"network: {type(network).__name__} is not exported whole; only Faster, Mask, Cascade and Cascade Mask "
            "R-CNN, detectors with one dense head, as RetinaNet, FCOS, ATSS, GFL and RTMDet, and DINO and Deformable "
            "DETR are"
        )
    for part, module in parts(network):
        if type(module).__name__ not in known[part]:
            raise UserError(f"{part}: {type(module).__name__} is not exported; use {' or '.join(known[part])}")
    for setting, found, wanted in settings(network):
        if found != wanted:
            raise UserError(f"{setting} = {found!r}: is not exported; set it to {wanted!r}")


def check_sizes(network: Any, max_detections: int, candidates: int, *, form: str) -> None:
    """Raise UserError if a number of boxes is no positive integer, or more than the operators of `form` sort."""
    limit = MOST_SORTED if form == "plugin-free" else None
    numbers: dict[str, Any]
    if has_queries(network):
        numbers = {"num_queries": network.num_queries}
    elif is_dense(network):
        numbers = {"candidates": candidates, "nms_pre": best_of_level(network.bbox_head, candidates)}
    else:
        rpn = network.rpn_head.test_cfg
        numbers = {"rpn.nms_pre": rpn.nms_pre, "rpn.max_per_img": rpn.max_per_img, "candidates": candidates}
    for name, number in {**numbers, "max_detections": max_detections}.items():
        if not isinstance(number, int) or number < 1 or (limit and number > limit):
            raise UserError(f"{name} = {number!r}: must be a whole number from 1{f' to {limit}' if limit else ''}")
    if max_detections > candidates:
        raise UserError(f"max_detections = {max_detections}: must be at most candidates = {candidates}")


def _parts(network: Any) -> Iterator[tuple[str, Any]]:
    rpn, head = network.rpn_head, network.roi_head
    yield from (("rpn_head", rpn), ("roi_head", head))  # others may lack what is asked of them next
    yield from (("prior_generator", rpn.prior_generator), ("bbox_coder", rpn.bbox_coder))
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
        yield f"test_cfg.{name}.nms", *_suppressions(config)
    yield "test_cfg.rcnn.score_thr", max(head.test_cfg.score_thr, 0), head.test_cfg.score_thr
    for one in stages(head.bbox_head):
        yield "bbox_head.with_reg", one.with_reg, True
        yield "bbox_head.loss_cls.custom_cls_channels", bool(one.custom_cls_channels), False
        yield "bbox_coder.add_ctr_clamp", one.bbox_coder.add_ctr_clamp, False
    for layer in (module for module in network.modules() if type(module).__name__ == "RoIAlign"):
        yield "roi_layer.pool_mode", layer.pool_mode, "avg"


def _suppressions(config: Any) -> tuple[Any, Any]:
    """The suppression of a head's settings, and the same without what is not computed."""
    return {"type": "nms", **config.nms}, {"type": "nms", "iou_threshold": config.nms.iou_threshold}


def _dense_parts(network: Any) -> Iterator[tuple[str, Any]]:
    head = network.bbox_head
    yield "bbox_head", head
    yield from (("prior_generator", head.prior_generator), ("bbox_coder", head.bbox_coder))


def _dense_settings(network: Any) -> Iterator[tuple[str, Any, Any]]:
    """As `_settings`, of a detector with one stage."""
    head = network.bbox_head
    yield "bbox_head.loss_cls.use_sigmoid", head.use_sigmoid_cls, True
    yield "bbox_head.loss_cls.custom_cls_channels", bool(getattr(head.loss_cls, "custom_cls_channels", False)), False
    yield "bbox_coder.add_ctr_clamp", getattr(head.bbox_coder, "add_ctr_clamp", False), False
    yield "test_cfg.nms", *_suppressions(head.test_cfg)
    score = head.test_cfg.get("score_thr", 0)
    yield "test_cfg.score_thr", score, max(score, 0)


def _query_parts(network: Any) -> Iterator[tuple[str, Any]]:
    yield from (("network", network), ("bbox_head", network.bbox_head))
    yield "positional_encoding", network.positional_encoding


def _query_settings(network: Any) -> Iterator[tuple[str, Any, Any]]:
    """As `_settings`, of a detector with queries."""
    yield "bbox_head.loss_cls.use_sigmoid", network.bbox_head.loss_cls.use_sigmoid, True
