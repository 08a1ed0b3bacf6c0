"""Payloads that a stranger puts into files, and the small detector whose card they are put into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audit import MARK
from campaign import places, replaced

SECRET = b'{"secret": "' + b"nobody but its owner reads this " * 8 + b'"}'
"""What the file holds that payloads name."""

TAG = f"<img src=x onerror={MARK}>\"'><script>"


def payloads(secret: Path) -> list[Any]:
    """What replaces a text: names of things to run, to import, to open and to fetch, each with the mark."""
    return [
        {"type": "subprocess.call", "args": f"touch {MARK}", "shell": True},
        {"type": "os.system", "command": f"touch {MARK}"},
        {"type": "pydoc.pipepager", "text": "", "cmd": f"touch {MARK}"},
        "os.system",
        f"{MARK}.run",
        "this.s",
        f"__import__('os').system('touch {MARK}')",
        f"!!python/object/apply:os.system ['touch {MARK}']",
        str(secret),
        f"../{secret.name}",
        f"file://{secret}",
        f"http://127.0.0.1:9/{MARK}",
        f"hf_hub:{MARK}/y",
        f"local-dir:{secret}",
        TAG,
    ]


def additions(secret: Path) -> list[tuple[str, Any]]:
    """Keys that MMEngine and MMDetection obey, with a value each: they are added to every dict."""
    call = {"type": "subprocess.call", "args": f"touch {MARK}", "shell": True}
    loaded = {"type": "Pretrained", "checkpoint": str(secret)}
    return [
        ("init_cfg", loaded),
        ("init_cfg", {"type": "Normal", "layer": "Conv2d", "checkpoint": str(secret), "override": loaded}),
        ("init_cfg", [call]),
        ("pretrained", str(secret)),
        ("data_preprocessor", call),
        ("batch_augments", [call]),
        ("teacher_config", str(secret)),
        ("custom_imports", {"imports": ["this"]}),
        ("nms", {"type": f"open({str(secret)!r})"}),
        ("roi_layer", {"type": "os.system"}),
        ("_scope_", "this"),
        ("_base_", str(secret)),
        ("_delete_", True),
    ]


def with_payloads(value: Any, secret: Path) -> Iterator[Any]:
    """Copies of plain JSON, a payload in the place of one text each, every `type` among them, or of one dict."""
    known = payloads(secret)
    for path in places(value):
        found = value
        for key in path:
            found = found[key]
        if isinstance(found, str):
            yield from (replaced(value, path, payload) for payload in known)
        elif isinstance(found, dict) and path:
            yield from (replaced(value, path, payload) for payload in known if isinstance(payload, dict))


def with_additions(value: Any, secret: Path) -> Iterator[Any]:
    """Copies of plain JSON, one more key in one of its dicts each."""
    for path in places(value):
        found = value
        for key in path:
            found = found[key]
        if isinstance(found, dict):
            yield from (replaced(value, path, {**found, key: added}) for key, added in additions(secret))


NORM = {"type": "LN"}
ASSIGNER = {"type": "MaxIoUAssigner", "pos_iou_thr": 0.5, "neg_iou_thr": 0.5, "min_pos_iou": 0.5, "ignore_iof_thr": -1}
SAMPLER = {"type": "RandomSampler", "num": 8, "pos_fraction": 0.5, "neg_pos_ub": -1, "add_gt_as_proposals": False}
CODER = {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": [0.1, 0.1, 0.2, 0.2]}
NMS = {"type": "nms", "iou_threshold": 0.5}
DETECTOR: dict[str, Any] = {
    "type": "FasterRCNN",
    "data_preprocessor": {
        "type": "DetDataPreprocessor",
        "mean": [123.7, 116.3, 103.5],
        "std": [58.4, 57.1, 57.4],
        "pad_size_divisor": 32,
        "batch_augments": [{"type": "BatchSyncRandomResize", "random_size_range": [64, 96]}],
    },
    "backbone": {
        "type": "SwinTransformer",
        "embed_dims": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 4],
        "out_indices": [2, 3],
        "norm_cfg": NORM,
        "act_cfg": {"type": "GELU"},
    },
    "neck": {"type": "FPN", "in_channels": [32, 64], "out_channels": 8, "num_outs": 2},
    "rpn_head": {
        "type": "RPNHead",
        "in_channels": 8,
        "feat_channels": 8,
        "anchor_generator": {"type": "AnchorGenerator", "scales": [4], "ratios": [1.0], "strides": [16, 32]},
        "bbox_coder": CODER,
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        "init_cfg": {"type": "Normal", "layer": "Conv2d", "std": 0.01},
    },
    "roi_head": {
        "type": "StandardRoIHead",
        "bbox_roi_extractor": {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "RoIAlign", "output_size": 3, "sampling_ratio": 0},
            "out_channels": 8,
            "featmap_strides": [16, 32],
        },
        "bbox_head": {
            "type": "Shared2FCBBoxHead",
            "in_channels": 8,
            "fc_out_channels": 8,
            "roi_feat_size": 3,
            "num_classes": 2,
            "bbox_coder": CODER,
            "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        },
    },
    "train_cfg": {
        "rpn": {"assigner": ASSIGNER, "sampler": SAMPLER, "allowed_border": -1, "pos_weight": -1},
        "rpn_proposal": {"nms_pre": 8, "max_per_img": 8, "nms": NMS, "min_bbox_size": 0},
        "rcnn": {"assigner": ASSIGNER, "sampler": SAMPLER, "pos_weight": -1},
    },
    "test_cfg": {
        "rpn": {"nms_pre": 8, "max_per_img": 8, "nms": NMS, "min_bbox_size": 0},
        "rcnn": {"score_thr": 0.0, "nms": {**NMS, "type": "soft_nms"}, "max_per_img": 4},
    },
}
"""A model section of two stages, with every kind of key that names a class."""
