"""Does the ONNX file detect what MMDetection detects, on real images?"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...export.onnx_file import inference_copy
from ...export.parity import ParityError
from ...export.session import onnx_session
from ...plan import UserError
from ..sizes import padded_size
from .supported import box_settings

SAME_IOU, SAME_SCORE, SAME_MASK = 0.99, 1e-3, 0.02
"""How alike two detections are: overlap above, difference of scores and of mask probabilities at most."""

SAME_PIXELS = 0.01
"""Boxes whose corners differ by no more are alike too: an overlap says nothing of boxes without area."""


NOTHING: dict[str, float] = {
    "n_images": 0,
    "n_detections": 0,
    "n_unmatched": 0,
    "min_iou": 1.0,
    "max_box_diff": 0.0,
    "max_score_diff": 0.0,
    "max_mask_diff": 0.0,
}
"""The figures of no image."""


def compare_detections(
    network: nn.Module, path: str | Path, samples: Iterable[Mapping[str, Any]], *, unmatched_share: float = 0.0
) -> dict[str, float]:
    """Run MMDetection's `predict` and the ONNX file at `path` on the same images and compare their detections.

    Two detections are the same when their labels are equal, their boxes overlap by more than 0.99, their scores differ
    by at most 1e-3 and the probabilities of their pasted masks by at most 0.02 (MMDetection gives these in steps of
    1/255). Where the file has a fixed sampling ratio, MMDetection is given that instead of the config's adaptive one.

    Rounding can decide a suppression or the last place the other way, so of all detections of both sides
    `unmatched_share` may lack a counterpart. Returns `n_images`, `n_detections` (PyTorch's), `n_unmatched` (both
    sides'), and of the others `min_iou`, `max_box_diff` (pixels), `max_score_diff` and `max_mask_diff`.

    Raises ParityError, which names the image and its first detection that the other side has not; UserError when
    `samples` is empty, an image is larger than the file takes, or there is no such file.

    Args:
        network: MMDetection's.
        path: the ONNX file.
        samples: what MMDetection's test pipeline makes of images: `inputs`, uint8 [3, h, w], and `data_samples`. They
            are normalised by the network's data preprocessor and padded to the file's size.
        unmatched_share: may lack a counterpart.

    Example::

        compare_detections(network, "detector.onnx", (dataset[i] for i in range(4)))["max_score_diff"]  # 2e-6
    """
    session = onnx_session(path, threads=torch.get_num_threads())
    settings = json.loads(session.get_modelmeta().custom_metadata_map.get("detector", "{}"))
    if not settings:
        raise UserError(f"{path}: no detector of this project; export_detector writes one")
    batch, _, *size = session.get_inputs()[0].shape
    reference = _reference(network, settings)
    entry, n_both, first = dict(NOTHING), 0, ""
    for sample in samples:
        described, feed = _predicted(reference, sample, size, path)
        found = zip(session.get_outputs(), session.run(None, repeated(feed, batch)), strict=True)
        given = {output.name: torch.from_numpy(values[0]) for output, values in found}
        name = described.metainfo.get("img_path") or f"number {entry['n_images']}"
        faults = _compare(entry, described.pred_instances, given, shape=described.img_shape)
        first = first or "".join(f"image {name}: {fault}" for fault in faults[:1])
        entry["n_images"] += 1
        entry["n_detections"] += len(described.pred_instances)
        entry["n_unmatched"] += len(faults)
        n_both += len(described.pred_instances) + int((given["scores"] > 0).sum())
    if not entry["n_images"]:
        raise UserError("samples: none; at least one image is needed to compare with the ONNX file")
    if entry["n_unmatched"] > unmatched_share * n_both:
        raise ParityError(f"{path}: {entry['n_unmatched']} of {n_both} detections have no counterpart; {first}")
    return entry


def _predicted(
    reference: Any, sample: Mapping[str, Any], size: Sequence[Any], path: str | Path
) -> tuple[Any, dict[str, np.ndarray]]:
    """MMDetection's detections in a `sample`, and what a file of `size` (height, width; names: any) at `path` takes
    for it."""
    with torch.no_grad():
        data = reference.data_preprocessor({key: [deepcopy(sample[key])] for key in ("inputs", "data_samples")})
        images, (described,) = data["inputs"], data["data_samples"]
        h, w = described.img_shape
        height, width = size if all(isinstance(side, int) for side in size) else padded_size(h, w)
        if h > height or w > width:
            raise UserError(f"samples: an image of {h} x {w} is larger than {path} takes ({height} x {width})")
        images = images[:, :, :h, :w]
        images = F.pad(images, (0, width - w, 0, height - h), value=float(reference.data_preprocessor.pad_value))
        described.set_metainfo({"batch_input_shape": (height, width)})
        (described,) = reference.predict(images, [described], rescale=False)
    return described, {"images": images.numpy(), "image_size": np.array([[h, w]], np.float32)}


def repeated(feed: Mapping[str, np.ndarray], batch: int) -> dict[str, np.ndarray]:
    """The `feed` of one image as a file for `batch` images takes it."""
    return {name: np.repeat(values, batch, 0) for name, values in feed.items()}


def _reference(network: nn.Module, settings: dict[str, Any]) -> Any:
    """A copy of `network` whose `predict` gives masks as probabilities in steps of 1/255."""
    copied: Any = inference_copy(network)
    box_settings(copied).update(mask_thr_binary=-1, max_per_img=settings["max_detections"])
    for module in copied.modules():
        if settings["fixed_sampling"] and getattr(module, "sampling_ratio", None) == 0:
            module.sampling_ratio = settings["fixed_sampling"]
    return copied


def _compare(entry: dict[str, float], wanted: Any, given: dict[str, Tensor], *, shape: tuple[int, int]) -> list[str]:
    """Match the detections of one image, note the largest differences in `entry`, and describe those without match."""
    count = int((given["scores"] > 0).sum())
    given = {name: values[:count] for name, values in given.items()}
    ious = _ious(wanted.bboxes, given["boxes"])
    corners = (wanted.bboxes[:, None] - given["boxes"]).abs().amax(-1)
    scores = (wanted.scores[:, None] - given["scores"]).abs()
    same = (wanted.labels[:, None] == given["labels"]) & (scores <= SAME_SCORE)
    same &= (ious > SAME_IOU) | (corners <= SAME_PIXELS)
    free = torch.ones(count, dtype=torch.bool)
    faults = []
    for index in range(len(wanted.scores)):
        costs = (corners[index] + scores[index]).masked_fill(~(same[index] & free), torch.inf)
        if not bool(costs.isfinite().any()):
            words = _words(wanted.labels[index], wanted.scores[index], wanted.bboxes[index])
            faults.append(f"PyTorch's detection {index}, {words}, is not among the file's {count}")
            continue
        match = int(costs.argmin())
        free[match] = False
        overlap = 1.0 if corners[index, match] <= SAME_PIXELS else float(ious[index, match])
        entry["min_iou"] = min(entry["min_iou"], overlap)
        entry["max_box_diff"] = max(entry["max_box_diff"], float(corners[index, match]))
        entry["max_score_diff"] = max(entry["max_score_diff"], float(scores[index, match]))
        if "masks" in given:
            pasted = paste(given["masks"][match], given["boxes"][match], shape)
            difference = float((wanted.masks[index].float() / 255 - pasted).abs().max())
            entry["max_mask_diff"] = max(entry["max_mask_diff"], difference)
            if difference > SAME_MASK:
                faults.append(f"the mask of PyTorch's detection {index} differs by {difference:.3g}")
    for extra in free.nonzero().flatten().tolist():
        words = _words(given["labels"][extra], given["scores"][extra], given["boxes"][extra])
        faults.append(f"the file's detection {extra}, {words}, is not among PyTorch's {len(wanted.scores)}")
    return faults


def paste(mask_hw: Tensor, box_4: Tensor, shape: tuple[int, int]) -> Tensor:
    """Probabilities [H, W] of `shape` of a mask [h, w] that fills `box_4`, bilinear; as by MMDetection on CPUs,
    0 from one pixel outside the box."""
    h, w = mask_hw.shape
    x1, y1, x2, y2 = box_4.tolist()
    rows = _taps(shape[0], y1, y2, h)
    columns = _taps(shape[1], x1, x2, w)
    return rows @ mask_hw @ columns.T


def _taps(length: int, start: float, end: float, cells: int) -> Tensor:
    """[length, cells]: how much of each cell between `start` and `end` a pixel takes."""
    pixels = torch.arange(length)[:, None]
    at = (pixels + 0.5 - start) / max(end - start, 1e-6) * cells - 0.5
    near = (pixels >= math.floor(start) - 1) & (pixels <= math.ceil(end))
    return (1 - (at - torch.arange(cells)).abs()).clamp(min=0) * near


def _ious(left: Tensor, right: Tensor) -> Tensor:
    from torchvision.ops import box_iou

    return box_iou(left, right).nan_to_num(0.0)


def _words(label: Tensor, score: Tensor, box_4: Tensor) -> str:
    box = ", ".join(f"{x:.2f}" for x in box_4.tolist())
    return f"label {int(label)}, score {float(score):.4f}, box ({box})"
