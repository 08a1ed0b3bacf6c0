"""A COCO folder of a few drawn images, and the MMDetection config of a detector small enough for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes/detection"
TWIN = RECIPES / "mmdet/cascade_mask_rcnn_swin_tiny_coco_mini.py"
FULL = RECIPES / "mmdet/cascade_mask_rcnn_swin_t_coco.py"
RECIPE = RECIPES / "cascade_mask_rcnn_swin_tiny_coco_mini_sidt.py"
SIZES = ((96, 128), (120, 90), (101, 77), (64, 112))
"""(height, width) of the images in turn."""
SHAPES = {  # corners in a unit square
    "square": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "triangle": [(0.5, 0), (1, 1), (0, 1)],
    "arrow": [(0, 0.3), (0.6, 0.3), (0.6, 0), (1, 0.5), (0.6, 1), (0.6, 0.7), (0, 0.7)],
}
SMALLER = """
_base_ = "{base}"

model = dict(
    train_cfg=dict(rpn=dict(sampler=dict(num=32)), rpn_proposal=dict(nms_pre=64, max_per_img=16)),
    test_cfg=dict(rpn=dict(nms_pre=64, max_per_img=16), rcnn=dict(score_thr=0.0, max_per_img=10)),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomChoiceResize", scales=[(96, 96), (112, 112), (128, 128)], keep_ratio=True),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(128, 128), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(dataset=dict(data_root="{root}/", pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root="{root}/", pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="{root}/annotations/instances_val2017.json")
test_evaluator = val_evaluator
"""

ONE_STAGE = """
model = dict(
    _delete_=True,
    type="RetinaNet",
    data_preprocessor=dict(
        type="DetDataPreprocessor", mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4], pad_size_divisor=32
    ),
    backbone=dict(
        type="SwinTransformer", embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8], out_indices=[1, 2, 3]
    ),
    neck=dict(type="FPN", in_channels=[32, 64, 128], out_channels=16, num_outs=3),
    bbox_head=dict(
        type="RetinaHead",
        num_classes=80,
        in_channels=16,
        stacked_convs=1,
        feat_channels=16,
        anchor_generator=dict(
            type="AnchorGenerator", octave_base_scale=4, scales_per_octave=1, ratios=[1.0], strides=[8, 16, 32]
        ),
    ),
    train_cfg=dict(
        assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1),
        sampler=dict(type="PseudoSampler"),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(nms_pre=64, score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5), max_per_img=5),
)
"""
"""For the end of a config: a detector without RoIs."""

UNEXPORTED = 'model["test_cfg"]["nms"] = dict(type="soft_nms", iou_threshold=0.5)'
"""For the end of that: a suppression that is not exported."""

SETTINGS = (
    "train.epochs=1", "train.batch_size=2", "train.warmup_epochs=0", "search.epochs=1", "search.batch_size=2",
    "finetune.epochs=1", "finetune.batch_size=2", "data.limit=None", "data.watch=0", "data.evaluate_train=False",
    "data.input_size=[128,128]", "measure.before_finetune=False", "measure.layers=False",
)  # fmt: skip
"""--cfg-options by which RECIPE trains for an epoch on the drawn images."""


def options_of(config_file: Path, root: Path, *more: str) -> list[str]:
    """--cfg-options of a short run of RECIPE on the data in `root`; `more` take the place of its own."""
    options = (*SETTINGS, f"space.config={config_file}", f"data.root={root}", *more)
    return [f"{key}={value}" for key, value in dict(option.split("=", 1) for option in options).items()]


class Silent:
    """A progress display that shows nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


def categories() -> list[dict[str, Any]]:
    """COCO's 80, under numbers with gaps, as COCO's own are."""
    from mmdet.datasets import CocoDataset

    return [{"id": 2 * i + 1, "name": name} for i, name in enumerate(CocoDataset.METAINFO["classes"])]


def draw_coco(root: Path, counts: Mapping[str, int], *, sizes: Sequence[tuple[int, int]] = SIZES) -> Path:
    """Write {part}/*.png, three shapes in each, and annotations/instances_{part}.json for every part of `counts`."""
    generator = np.random.default_rng(0)
    known = categories()
    for part, n in counts.items():
        (root / part).mkdir(parents=True)
        images, annotations = [], []
        for i in range(n):
            height, width = sizes[i % len(sizes)]
            picture = generator.integers(0, 60, (height, width, 3)).astype(np.uint8)
            for shape, unit in enumerate(SHAPES.values()):
                corners = np.array(unit)
                side = generator.integers(24, 44)
                corner = generator.uniform(0, (width - side, height - side))
                polygon = np.round(corners * side + corner).astype(int)
                cv2.fillPoly(picture, [polygon], generator.integers(100, 256, 3).tolist())
                low, high = polygon.min(0), polygon.max(0)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": 10 * i + 7,
                        "category_id": known[(i + shape) % 5]["id"],
                        "iscrowd": 0,
                        "bbox": [*low.tolist(), *(high - low).tolist()],
                        "area": float(cv2.contourArea(polygon.astype(np.float32))),
                        "segmentation": [polygon.flatten().astype(float).tolist()],
                    }
                )
            name = f"{10 * i + 7:012d}.png"
            cv2.imwrite(str(root / part / name), picture)
            images.append({"id": 10 * i + 7, "file_name": name, "height": height, "width": width})
        write_annotations(root, part, {"images": images, "annotations": annotations, "categories": known})
    return root


def annotation_file(root: Path, part: str) -> Path:
    return root / f"annotations/instances_{part}.json"


def write_annotations(root: Path, part: str, value: Mapping[str, Any]) -> None:
    file = annotation_file(root, part)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(value))


def write_config(file: Path, root: Path, more: str = "", base: Path = TWIN) -> Path:
    """The twin's config with fewer proposals and smaller images, on the data in `root`; `more` is appended."""
    file.write_text(SMALLER.format(base=base, root=root) + more)
    return file


def without_chance(model: dict[str, Any]) -> dict[str, Any]:
    """`model` (a twin's section) whose every candidate is a sample, and of whose proposals none becomes a positive.

    Images with equal boxes then have equally many samples of each kind: the mean of their losses is their common loss.
    """
    model = deepcopy(model)
    model["train_cfg"]["rpn"]["sampler"]["num"] = 10**6
    model["train_cfg"]["rpn"]["allowed_border"] = -1  # coarse levels have anchors larger than the images
    for stage in model["train_cfg"]["rcnn"]:
        stage["sampler"]["num"] = 10**6
        stage["assigner"] |= {"pos_iou_thr": 0.999, "neg_iou_thr": 0.999, "min_pos_iou": 0.999}
    return model


def share_boxes(root: Path, part: str) -> None:
    """Give every image of `part` the annotations of the first: same boxes and masks on other pixels."""
    value = json.loads(annotation_file(root, part).read_text())
    first = [entry for entry in value["annotations"] if entry["image_id"] == value["images"][0]["id"]]
    pairs = [(image, entry) for image in value["images"] for entry in first]
    value["annotations"] = [{**e, "id": i + 1, "image_id": image["id"]} for i, (image, e) in enumerate(pairs)]
    write_annotations(root, part, value)
