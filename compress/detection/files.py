"""Average precision of what a run leaves: a folder with a network, an exported detector, or an engine made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NotRequired

import numpy as np
import torch
from annotated_types import Len
from torch import Tensor
from typing_extensions import TypedDict

from ..export import Engine, onnx_session
from ..export.agreement import entry_value
from ..export.forms import orientation, other_form
from ..plan import UserError
from ..plan.kinds import Number, Side
from ..spaces import load_model
from .evaluation import Detections, add_detections, average_precision, detect
from .export.convert import preprocessing_of
from .export.parity import repeated
from .sizes import inside, shown_within
from .stages import detector_feed

if TYPE_CHECKING:
    from .run import DetectionContext


def evaluate_file(c: DetectionContext, source: str | Path, *, threads: int) -> dict[str, Any]:
    """AP in percent on the validation images of the run context `c`, of the network, ONNX file or engine `source`.

    An exported detector's images are scaled as its metadata say; those that lie or stand the other way go to the file
    for these beside it (`other_form`). Returns `backend`, `dataset`, `evaluated_on`, `n_images` and what
    `average_precision` gives. Raises UserError for another kind of file, for one of other classes or pixels, for images
    that are larger than the files take, for files of two networks, and for an engine where there is no GPU.

    Example::

        evaluate_file(context, "runs/det/model.onnx", threads=1)["bbox_mAP"]
    """
    source = Path(source)
    if source.suffix in (".onnx", ".engine"):
        exported = open_forms(source, threads=threads, trust=c.trust)
        check_made_for(exported[0], c)
        dataset, backend = shown_within(c.data, exported[0].scale), exported[0].backend
        found = detect_exported(exported, dataset, c)
    else:
        network, _, card = load_model(source)
        if tuple(card.classes) != tuple(c.data.classes):
            raise UserError(f"{source}: has other classes than {c.data.name} as the recipe reads it; give its recipe")
        dataset, backend = c.data.test, "pytorch"
        found = detect(network, dataset, num_workers=c.recipe.data.num_workers)
    return {
        "backend": backend,
        "dataset": c.data.name,
        "evaluated_on": c.data.evaluated_on,
        "n_images": len(dataset),
        **average_precision(found, dataset.ann_file),
    }


PIXELS = ("channel_order", "mean", "std", "pad_value")
"""What `preprocessing` of a file says of pixels, whatever its size."""


class Exported(NamedTuple):
    """A whole detector in a file: `batch` images of `size` (height, width; None: any) of one call, the `scale` (long,
    short) of its images and the SHA-256 of its `weights`, where it tells them; `run` by names of inputs and outputs."""

    path: Path
    backend: str
    batch: int
    size: tuple[int, int] | None
    scale: list[int] | None
    weights: str | None
    classes: list[str] | None
    preprocessing: dict[str, Any]
    run: Callable[[Mapping[str, np.ndarray]], Mapping[str, Tensor]]


class Told(TypedDict):
    """What is read of a detector's metadata."""

    scale: NotRequired[Annotated[list[Side], Len(2, 2)] | None]
    channel_order: NotRequired[str]
    mean: NotRequired[list[Number]]
    std: NotRequired[list[Number]]
    pad_value: NotRequired[Number]
    weights_sha256: NotRequired[str]


def check_made_for(exported: Exported, c: DetectionContext) -> None:
    """UserError unless a file has the classes, and scales pixels as the network, of the run context `c`."""
    if exported.classes not in (None, list(c.data.classes)):
        raise UserError(
            f"{exported.path}: has other classes than {c.data.name} as the recipe reads it; give its recipe"
        )
    told, own = exported.preprocessing, preprocessing_of(c.full_space.empty(), (3, *c.recipe.data.input_size), None)
    if odd := [key for key in PIXELS if key in told and not _same(told[key], own[key])]:
        raise UserError(
            f"{exported.path}: made for {odd[0]} = {told[odd[0]]}, and data_preprocessor of the recipe's space.config "
            f"has {own[odd[0]]}; give its recipe"
        )


def _same(told: Any, own: Any) -> bool:
    """Equal words, or equal numbers in float32."""
    return (
        told == own if isinstance(own, str) else np.shape(told) == np.shape(own) and np.allclose(told, own, rtol=1e-6)
    )


def open_forms(path: Path, *, threads: int, trust: bool) -> list[Exported]:
    """The detector at `path`, and the same for images of the other orientation where that lies beside it."""
    first = open_detector(path, threads=threads, trust=trust)
    if first.size is None or first.size[0] == first.size[1] or first.weights is None:
        return [first]
    beside = other_form(path, first.size)
    if not beside.is_file():
        return [first]
    other = open_detector(beside, threads=threads, trust=trust)
    if (other.size, other.scale, other.weights) != (first.size[::-1], first.scale, first.weights):
        raise UserError(f"{beside}: is not {path} for the other orientation; export both again, or move it away")
    return [first, other]


def open_detector(path: Path, *, threads: int, trust: bool) -> Exported:
    """The exported detector or the engine at `path`; UserError for files of other networks, and as `Engine` has it."""
    if path.suffix == ".engine":
        engine = Engine(path, trust=trust)
        backend, shapes = engine.card["backend"], {entry["name"]: entry["shape"] for entry in engine.card["inputs"]}
        metadata = engine.card.get("metadata", {})

        def run(feed: Mapping[str, np.ndarray]) -> Mapping[str, Tensor]:
            given = {name: torch.from_numpy(values).to(engine.device) for name, values in feed.items()}
            return {name: values.cpu() for name, values in engine(given).items()}
    else:
        session = onnx_session(path, threads=threads)
        backend, shapes = "onnxruntime", {entry.name: entry.shape for entry in session.get_inputs()}
        outputs = [entry.name for entry in session.get_outputs()]
        metadata = session.get_modelmeta().custom_metadata_map

        def run(feed: Mapping[str, np.ndarray]) -> Mapping[str, Tensor]:
            return dict(zip(outputs, map(torch.from_numpy, session.run(outputs, feed)), strict=True))

    if list(shapes) != ["images", "image_size"]:
        raise UserError(f"{path}: no detector of this project; `nncompress prune` leaves one as model.onnx")
    kinds = {"preprocessing": Told, "detector": Told, "classes": list[str] | None}
    how, settings, classes = (
        entry_value(f"{path}: metadata entry {name}", metadata.get(name, empty), kind, "export the detector again")
        for (name, kind), empty in zip(kinds.items(), ("{}", "{}", "null"), strict=True)
    )
    batch, _, height, width = shapes["images"]
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return Exported(path, backend, batch, size, how.get("scale"), settings.get("weights_sha256"), classes, how, run)


def detect_exported(exported: Sequence[Exported], dataset: Any, c: DetectionContext) -> Detections:
    """What `exported`, the forms of one detector, find in the images of `dataset`, of the run context `c`; masks pasted
    as MMDetection does."""
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
    from mmengine.structures import InstanceData

    network = c.full_space.empty()  # for its preprocessing alone
    found = Detections([])
    for sample in (dataset[i] for i in range(len(dataset))):
        info, shown = sample["data_samples"], sample["inputs"].shape[1:]
        taking = [each for each in exported if each.size is None or inside(shown, each.size)]
        if not taking:
            sizes = " or ".join(f"{h} x {w}" for h, w in (each.size for each in exported if each.size))
            raise UserError(
                f"{exported[0].path}: takes images up to {sizes}, and {info.img_path} has {shown[0]} x {shown[1]}; "
                "`nncompress export RUN --input-size` makes files of another size, for both orientations"
            )
        form = max(taking, key=lambda each: orientation(each.size or shown) == orientation(shown))
        feed = repeated(detector_feed(network, sample, form.size), form.batch)
        given = {name: values[0] for name, values in form.run(feed).items()}
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
