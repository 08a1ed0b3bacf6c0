"""Average precision of what a run leaves: a folder with a network, or an exported detector in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..export import onnx_session
from ..plan import UserError
from ..spaces import load_model
from .evaluation import Detections, add_detections, average_precision, detect
from .stages import detector_feed


def evaluate_file(c: Any, source: str | Path, *, threads: int) -> dict[str, Any]:
    """AP in percent on the validation images of the run context `c` of the network or ONNX file `source`.

    Returns `backend`, `dataset`, `evaluated_on`, `n_images` and what `average_precision` gives. Raises UserError for
    another kind of file, for one of other classes, and for images that are larger than an exported detector takes.

    Example::

        evaluate_file(context, "runs/det/model.onnx", threads=1)["bbox_mAP"]
    """
    source, dataset = Path(source), c.data.test
    if source.suffix == ".onnx":
        found, backend = detect_with_onnx(source, c, threads=threads), "onnxruntime"
    elif source.suffix == ".engine":
        raise UserError(f"{source}: engines of detectors are not evaluated here; see docs/deploy/detection.md")
    else:
        network, _, card = load_model(source)
        if tuple(card.classes) != tuple(c.data.classes):
            raise UserError(f"{source}: has other classes than {c.data.name} as the recipe reads it; give its recipe")
        found, backend = detect(network, dataset, num_workers=c.recipe.data.num_workers), "pytorch"
    return {
        "backend": backend,
        "dataset": c.data.name,
        "evaluated_on": c.data.evaluated_on,
        "n_images": len(dataset),
        **average_precision(found, dataset.ann_file),
    }


def detect_with_onnx(path: Path, c: Any, *, threads: int) -> Detections:
    """What the exported detector at `path` finds in the validation images of `c`; masks pasted as MMDetection does."""
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
    from mmengine.structures import InstanceData

    session = onnx_session(path, threads=threads)
    if [entry.name for entry in session.get_inputs()] != ["images", "image_size"]:
        raise UserError(f"{path}: no detector of this project; tools/prune.py leaves one as model.onnx")
    size = tuple(session.get_inputs()[0].shape[2:])
    network, dataset = c.full_space.empty(), c.data.test  # for its preprocessing alone
    found = Detections([])
    for sample in (dataset[i] for i in range(len(dataset))):
        info = sample["data_samples"]
        if any(side > most for side, most in zip(sample["inputs"].shape[1:], size, strict=True)):
            shown = "x".join(map(str, sample["inputs"].shape[1:]))
            raise UserError(f"{path}: takes images up to {size}, and {info.img_path} has {shown}; export a larger one")
        given = session.run(None, detector_feed(network, sample, size))
        boxes, scores, labels, *masks = (torch.from_numpy(values[0]) for values in given)
        kept = scores > 0
        boxes = boxes[kept] / boxes.new_tensor(info.scale_factor).repeat(2)
        instances = InstanceData(bboxes=boxes, scores=scores[kept], labels=labels[kept])
        if masks and len(boxes):
            height, width = info.ori_shape
            pasted, _ = _do_paste_mask(masks[0][kept][:, None], boxes, height, width, skip_empty=False)
            threshold = c.config.model.test_cfg.rcnn.mask_thr_binary
            instances.masks = pasted >= threshold
        found.image_ids.append(info.img_id)
        add_detections(found, info.img_id, instances, dataset.cat_ids)
    return found
