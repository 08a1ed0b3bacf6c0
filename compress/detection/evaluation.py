"""COCO's average precision of a detector, of boxes and masks, over all categories and each (pycocotools)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from ..engine.loaders import in_one_line
from ..plan import UserError

STATS = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
"""The first figures of COCO's summary, in its order."""


@dataclass(frozen=True)
class Detections:
    """What a detector found in the images `image_ids`, as COCO's result entries: one dict per object.

    Boxes are [x, y, width, height] in pixels of the original image; `masks` are run lengths, empty without a mask head.
    """

    image_ids: list[int]
    boxes: list[dict[str, Any]] = field(default_factory=list)
    masks: list[dict[str, Any]] = field(default_factory=list)


@torch.inference_mode()
def detect(network: Any, dataset: Any, *, num_workers: int = 0) -> Detections:
    """Run `network` (an MMDetection detector) on all images of a `dataset` in test mode; its mode is restored."""
    training = network.training
    network.eval()
    loader: DataLoader[Any] = DataLoader(dataset, batch_size=1, num_workers=num_workers, collate_fn=pseudo_collate)
    found = Detections([])
    category_ids = dataset.cat_ids
    for batch in in_one_line(iter(loader)):
        for sample in network.test_step(batch):
            found.image_ids.append(sample.img_id)
            add_detections(found, sample.img_id, sample.pred_instances, category_ids)
    network.train(training)
    return found


def add_detections(found: Detections, image_id: int, instances: Any, category_ids: Sequence[int]) -> None:
    """Append one image's `instances` (bboxes [N, 4], scores [N], labels [N], masks [N, H, W]) to `found`.

    Raises UserError for boxes and scores that are not finite.
    """
    from pycocotools import mask as rle

    instances = instances.cpu().numpy()
    corners = instances.bboxes
    if not (np.isfinite(corners).all() and np.isfinite(instances.scores).all()):
        raise UserError(
            f"image {image_id}: the detector's boxes or scores are not finite numbers; its weights are too large: give "
            "another one, or train it again at a lower rate"
        )
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    for i, (box, score, label) in enumerate(zip(boxes, instances.scores, instances.labels, strict=True)):
        entry = {"image_id": image_id, "category_id": category_ids[int(label)], "score": float(score)}
        found.boxes.append({**entry, "bbox": box.astype(float).tolist()})
        if "masks" in instances:
            mask = np.asfortranarray(instances.masks[i], dtype=np.uint8)
            found.masks.append({**entry, "segmentation": rle.encode(mask)})


def average_precision(found: Detections, annotations: str | Path) -> dict[str, Any]:
    """AP in percent of `found` against the instances file `annotations`, over the images that `found` is of.

    Returns {"bbox_mAP", "bbox_mAP_50", ..., "segm_mAP", ..., "per_category": {name: {"bbox_mAP": AP or None}}}: None
    for categories without an object in these images. No detection at all gives 0; boxes without masks get no figures
    for masks.
    """
    truth = _truth(str(annotations), Path(annotations).stat().st_mtime_ns)
    names = {category["id"]: category["name"] for category in truth.loadCats(truth.getCatIds())}
    kinds = {"bbox": found.boxes}
    if found.masks or (not found.boxes and _has_masks(truth)):
        kinds["segm"] = found.masks
    objects = truth.loadAnns(truth.getAnnIds(imgIds=found.image_ids, iscrowd=False))
    present = {names[annotation["category_id"]] for annotation in objects}
    figures: dict[str, Any] = {}
    per_category: dict[str, dict[str, float | None]] = {name: {} for name in names.values()}
    for kind, entries in kinds.items():
        if not entries:
            figures |= {f"{kind}_{stat}": 0.0 for stat in STATS}
            for name, own in per_category.items():
                own[f"{kind}_mAP"] = 0.0 if name in present else None
            continue
        evaluation = _evaluated(truth, entries, kind, found.image_ids)
        figures |= {
            f"{kind}_{stat}": round(100 * max(float(value), 0.0), 4)
            for stat, value in zip(STATS, evaluation.stats, strict=False)
        }
        precision = evaluation.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, categories; all areas
        for i, category in enumerate(evaluation.params.catIds):
            known = precision[:, :, i][precision[:, :, i] > -1]
            per_category[names[category]][f"{kind}_mAP"] = round(100 * float(known.mean()), 4) if known.size else None
    return {**figures, "per_category": per_category}


def _evaluated(truth: Any, entries: list[dict[str, Any]], kind: str, image_ids: list[int]) -> Any:
    module = _coco()
    results = _quietly(truth.loadRes, [dict(entry) for entry in entries])  # it adds to what it is given
    evaluation = module.COCOeval(truth, results, kind)
    evaluation.params.imgIds = image_ids
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        _quietly(step)
    return evaluation


@lru_cache(maxsize=4)
def _truth(annotations: str, changed_ns: int) -> Any:
    """The parsed file `annotations`, as it is since `changed_ns`; an evaluation after every epoch reads it once.

    Its objects are numbered from 1, because pycocotools takes what matches number 0 for a detection of nothing, and
    those that do not say it are no crowds.
    """
    truth = _quietly(_coco().COCO, annotations)
    for number, annotation in enumerate(truth.dataset["annotations"], start=1):
        annotation["id"] = number
        annotation.setdefault("iscrowd", 0)
    _quietly(truth.createIndex)
    return truth


def _has_masks(truth: Any) -> bool:
    return any("segmentation" in annotation for annotation in list(truth.anns.values())[:1])


def _coco() -> Any:
    """faster-coco-eval where it is installed (equal figures, sooner), else pycocotools."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        from pycocotools import coco, cocoeval

        return type("Module", (), {"COCO": coco.COCO, "COCOeval": cocoeval.COCOeval})
    return type("Module", (), {"COCO": COCO, "COCOeval": COCOeval_faster})


def _quietly(function: Any, *args: Any) -> Any:
    """pycocotools prints what it does."""
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*args)
