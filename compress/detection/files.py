"""Average precision of what a run leaves: a folder with a network, an exported detector, or an engine made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..export import Engine, onnx_session
from ..plan import UserError
from ..spaces import load_model
from .evaluation import Detections, add_detections, average_precision, detect
from .stages import detector_feed

if TYPE_CHECKING:
    from .run import DetectionContext


def evaluate_file(c: DetectionContext, source: str | Path, *, threads: int) -> dict[str, Any]:
    """AP in percent on the validation images of the run context `c`, of the network, ONNX file or engine `source`.

    Returns `backend`, `dataset`, `evaluated_on`, `n_images` and what `average_precision` gives. Raises UserError for
    another kind of file, for one of other classes, for images that are larger than an exported detector takes, and for
    an engine where there is no GPU.

    Example::

        evaluate_file(context, "runs/det/model.onnx", threads=1)["bbox_mAP"]
    """
    source, dataset = Path(source), c.data.test
    if source.suffix in (".onnx", ".engine"):
        exported = open_detector(source, threads=threads, trust=c.trust)
        found, backend = detect_exported(exported, c), exported.backend
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


class Exported(NamedTuple):
    """A whole detector in a file: `size` (height, width) of what it takes; `run` by names of inputs and outputs."""

    path: Path
    backend: str
    size: tuple[int, ...]
    run: Callable[[Mapping[str, np.ndarray]], Mapping[str, Tensor]]


def open_detector(path: Path, *, threads: int, trust: bool) -> Exported:
    """The exported detector or the engine at `path`; UserError for files of other networks, and as `Engine` has it."""
    if path.suffix == ".engine":
        engine = Engine(path, trust=trust)
        backend, shapes = engine.card["backend"], {entry["name"]: entry["shape"] for entry in engine.card["inputs"]}

        def run(feed: Mapping[str, np.ndarray]) -> Mapping[str, Tensor]:
            given = {name: torch.from_numpy(values).to(engine.device) for name, values in feed.items()}
            return {name: values.cpu() for name, values in engine(given).items()}
    else:
        session = onnx_session(path, threads=threads)
        backend, shapes = "onnxruntime", {entry.name: entry.shape for entry in session.get_inputs()}
        outputs = [entry.name for entry in session.get_outputs()]

        def run(feed: Mapping[str, np.ndarray]) -> Mapping[str, Tensor]:
            return dict(zip(outputs, map(torch.from_numpy, session.run(outputs, feed)), strict=True))

    if list(shapes) != ["images", "image_size"]:
        raise UserError(f"{path}: no detector of this project; `nncompress prune` leaves one as model.onnx")
    return Exported(path, backend, tuple(shapes["images"][2:]), run)


def detect_exported(exported: Exported, c: DetectionContext) -> Detections:
    """What `exported` finds in the validation images of `c`; masks pasted as MMDetection does."""
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
    from mmengine.structures import InstanceData

    path, size = exported.path, exported.size
    network, dataset = c.full_space.empty(), c.data.test  # for its preprocessing alone
    found = Detections([])
    for sample in (dataset[i] for i in range(len(dataset))):
        info = sample["data_samples"]
        if any(side > most for side, most in zip(sample["inputs"].shape[1:], size, strict=True)):
            shown = "x".join(map(str, sample["inputs"].shape[1:]))
            raise UserError(f"{path}: takes images up to {size}, and {info.img_path} has {shown}; export a larger one")
        given = {name: values[0] for name, values in exported.run(detector_feed(network, sample, size)).items()}
        given = {name: values[given["scores"] > 0] for name, values in given.items()}
        boxes = given["boxes"] / given["boxes"].new_tensor(info.scale_factor).repeat(2)
        instances = InstanceData(bboxes=boxes, scores=given["scores"], labels=given["labels"])
        if "masks" in given and len(boxes):
            height, width = info.ori_shape
            pasted, _ = _do_paste_mask(given["masks"][:, None], boxes, height, width, skip_empty=False)
            threshold = c.config.model.test_cfg.rcnn.mask_thr_binary
            instances.masks = pasted >= threshold
        found.image_ids.append(info.img_id)
        add_detections(found, info.img_id, instances, dataset.cat_ids)
    return found
