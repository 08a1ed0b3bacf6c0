"""What a detector's report shows beside figures: predictions before and after on images, and the AP of every category.

Formats of predictions.json and categories.json: docs/formats.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..plan import read_stored, replacing, write_json
from .coco_file import MOST_BYTES, InstancesFile
from .data import evenly
from .drawing import Detection, draw_detections
from .evaluation import Detections, detect
from .loading import shows_upright

IOU = 0.5
"""Boxes of one class that overlap by more are taken for the same object."""

SIDES = ("before", "after")


def write_predictions(
    folder: str | Path,
    before: Any,
    after: Any,
    dataset: Any,
    *,
    training: Any = None,
    n: int = 6,
    threshold: float = 0.3,
) -> dict[str, Any]:
    """Run two detectors on `n` images of `dataset`, evenly spread, and write what they find into `folder`.

    Where a data set `training` is given, `n` images of it follow. Writes `predictions/<image>_before.jpg` and
    `_after.jpg` with the detections whose score is above `threshold`, then `predictions.json`, which it returns. Both
    networks are MMDetection's, on any device; data sets are in test mode.

    Args:
        folder: where `predictions/` and `predictions.json` go.
        before, after: MMDetection's networks, on any device.
        dataset: in test mode.
        training: a data set in test mode, `n` images of which follow; None: none.
        n: number of images.
        threshold: lowest score of a detection that is drawn.

    Example::

        write_predictions(run, unpruned, pruned, context.data.test)
    """
    parts = {False: dataset, True: training}
    images = [
        entry
        for is_training, part in parts.items()
        if part is not None
        for entry in _pictures(Path(folder), (before, after), part, n, threshold, training=is_training)
    ]
    written = {"format": 1, "threshold": threshold, "iou": IOU, "images": images}
    write_json(Path(folder) / "predictions.json", written)
    return written


def _pictures(
    folder: Path, networks: Sequence[Any], dataset: Any, n: int, threshold: float, *, training: bool
) -> list[dict[str, Any]]:
    """Entries of `n` images of `dataset`, whose pictures are written into `folder`."""
    shown = dataset.get_subset(evenly(len(dataset), n))
    found = [_by_image(detect(network, shown), shown.cat_ids, threshold) for network in networks]
    infos = [shown.get_data_info(i) for i in range(len(shown))]
    names = [Path(info["img_path"]).stem for info in infos]
    if len(set(names)) < len(names):  # of several folders
        names = [str(info["img_id"]) for info in infos]
    images, upright = [], shows_upright(shown)
    for name, info in zip(names, infos, strict=True):
        stored = Image.open(info["img_path"])
        image = ImageOps.exif_transpose(stored) if upright else stored
        objects = _objects(info)
        entry: dict[str, Any] = {"image": Path(info["img_path"]).name, "training": training, "objects": len(objects)}
        detections = [by_image[info["img_id"]] for by_image in found]
        for side, own in zip(SIDES, detections, strict=True):
            file = f"predictions/{'train_' * training}{name}_{side}.jpg"
            remark = "" if own else f"nothing found with a score above {threshold:g}"
            picture = draw_detections(image, own, dataset.metainfo["classes"], remark=remark)
            with replacing(folder / file) as tmp:
                picture.save(tmp, quality=85)
            entry[side] = {"file": file, "detections": len(own), "correct": coinciding(own, objects)}
        images.append({**entry, "coincide": coinciding(*detections)})
    return images


def write_categories(
    folder: str | Path, before: Mapping[str, Any], after: Mapping[str, Any], dataset: Any
) -> dict[str, Any]:
    """Write the AP of every category, before and after, into `folder`/categories.json, and return it.

    `before` and `after` are the `per_category` that `average_precision` gives for all images of `dataset`. Categories
    are sorted by the change of their box AP, the worst first; those without an object in the images come last, by name.

    Args:
        folder: where `categories.json` goes.
        before, after: the `per_category` that `average_precision` gives for all images of `dataset`.
        dataset: names the categories.

    Example::

        write_categories(run, stages["load"]["per_category"], stages["finetune"]["per_category"], dataset)
    """
    sides = dict(zip(SIDES, (before, after), strict=True))
    image_ids = [dataset.get_data_info(i)["img_id"] for i in range(len(dataset))]
    counts = _counts(dataset.ann_file, image_ids)
    categories = []
    for name in before:
        entry: dict[str, Any] = {"name": name, "objects": counts[name]}
        for kind in (kind for kind in before[name] if kind in after[name]):
            entry[kind] = {side: figures[name][kind] for side, figures in sides.items()}
        categories.append(entry)
    categories.sort(key=_by_change)
    written = {"format": 1, "images": len(image_ids), "categories": categories}
    write_json(Path(folder) / "categories.json", written)
    return written


def coinciding(first: Sequence[Detection], second: Sequence[Detection]) -> int:
    """Number of pairs, one of each, of one class and an IoU above `IOU`; the best pairs first, each object once."""
    if not first or not second:
        return 0
    a, b = (np.array([found.box for found in part], dtype=float) for part in (first, second))
    shared = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    overlap = shared.clip(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    iou = overlap / np.maximum(areas[0][:, None] + areas[1] - overlap, 1e-9)
    iou[np.array([[x.label != y.label for y in second] for x in first])] = 0
    pairs = 0
    while iou.max() > IOU:
        i, j = np.unravel_index(iou.argmax(), iou.shape)
        iou[i], iou[:, j] = 0, 0
        pairs += 1
    return pairs


def _by_image(found: Detections, category_ids: Sequence[int], threshold: float) -> dict[int, list[Detection]]:
    """Detections above `threshold` of each image."""
    from pycocotools import mask as rle

    labels = {category: label for label, category in enumerate(category_ids)}
    by_image: dict[int, list[Detection]] = defaultdict(list)
    for i, entry in enumerate(found.boxes):
        if entry["score"] <= threshold:
            continue
        x, y, width, height = entry["bbox"]
        mask = rle.decode(found.masks[i]["segmentation"]).astype(bool) if found.masks else None
        box = (x, y, x + width, y + height)
        by_image[entry["image_id"]].append(Detection(box, labels[entry["category_id"]], entry["score"], mask))
    return by_image


def _objects(info: dict[str, Any]) -> list[Detection]:
    """The annotated objects of an image; crowds are none."""
    return [
        Detection(tuple(entry["bbox"]), entry["bbox_label"], score=1.0)
        for entry in info["instances"]
        if not entry["ignore_flag"]
    ]


def _counts(annotations: str | Path, image_ids: Sequence[int]) -> Counter[str]:
    """Number of objects, crowds not counted, of each category in the images."""
    truth, wanted = read_stored(annotations, InstancesFile, most_bytes=MOST_BYTES), set(image_ids)
    names = {category["id"]: category["name"] for category in truth["categories"]}
    return Counter(
        names[entry["category_id"]]
        for entry in truth["annotations"]
        if entry["image_id"] in wanted and not entry.get("iscrowd")
    )


def _by_change(entry: dict[str, Any]) -> tuple[bool, float, str]:
    pair = entry["bbox_mAP"]
    known = pair["before"] is not None
    return not known, pair["after"] - pair["before"] if known else 0.0, entry["name"]
