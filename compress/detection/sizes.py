"""Which images a detector's files take, and how large the test pipeline makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ..export.forms import Size, orientation
from ..plan import UserError
from .loading import unsized

if TYPE_CHECKING:
    from .data import CocoData

STEP = 32
"""What sides of an exported detector are multiples of."""

MOST_PIXELS = 1 << 30
"""Of an image that OpenCV reads."""


def inside(shown: Sequence[int], size: Sequence[int]) -> bool:
    """Whether an image `shown` at (height, width) is no larger than `size`."""
    return shown[0] <= size[0] and shown[1] <= size[1]


def fits(shown: Sequence[int], size: Sequence[int]) -> bool:
    """Whether an image `shown` at (height, width) is no larger than `size`, or than `size` turned."""
    return inside(sorted(shown), sorted(size))


def padded_size(height: int, width: int) -> Size:
    """What an image is padded to for a file of any size."""
    return height + -height % STEP, width + -width % STEP


def check_fitting(data: CocoData) -> None:
    """UserError unless every validation image fits `data.input_size`, one way or the other.

    Images are as large as their annotation file says, resized as the config's test pipeline does it; none is opened.
    """
    size, dataset = data.settings.input_size, data.test
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    sizes = [(info["height"], info["width"]) for info in infos]
    resized = {each: shown_size(dataset, each) for each in set(sizes)}
    shown = [resized[each] for each in sizes]
    odd = [i for i, sides in enumerate(shown) if not fits(sides, size)]
    if not odd:
        return
    name, (height, width) = Path(infos[odd[0]]["img_path"]).name, shown[odd[0]]
    short, long = padded_size(max(map(min, shown)), max(map(max, shown)))
    needed = (short, long) if orientation(size) == "landscape" else (long, short)
    raise UserError(
        f"{len(odd)} of {len(shown)} validation images are larger after the config's test pipeline, such as {name} "
        f"with {height} x {width}",
        argument="data.input_size",
        value=size,
        remedy=f"set it to {list(needed)}, which takes all of them in either orientation",
    ).at("recipe")


def shown_size(dataset: Any, size: Size) -> Size:
    """What the pipeline of a `dataset` in test mode makes of an image of `size`."""
    if size[0] * size[1] > MOST_PIXELS:
        raise UserError(
            f"recipe: data.root: an image of {size[0]} x {size[1]} is larger than OpenCV reads; correct its size"
        )
    results: dict[str, Any] = {"img": np.zeros(size, np.uint8), "img_shape": size, "ori_shape": size}
    steps: list[Any] = [step for step in dataset.pipeline.transforms if isinstance(step, _resizing())]
    for step in steps:
        try:
            results = step(results)
        except cv2.error as error:
            raise unsized("an image", step, size, error) from None
    height, width = results["img"].shape[:2]
    return int(height), int(width)


def _resizing() -> tuple[type, ...]:
    """The transforms that change an image's size."""
    from mmcv.transforms import Pad, Resize
    from mmdet.datasets.transforms import ResizeShortestEdge

    return Resize, Pad, ResizeShortestEdge


def scale_of(pipeline: Sequence[Mapping[str, Any]]) -> list[int] | None:
    """[long, short]: the sides within which a test `pipeline` scales every image, its aspect ratio kept.

    None where it does something else.
    """
    changing = [step for step in pipeline if "Resize" in step["type"] or "Pad" in step["type"]]
    if len(changing) != 1 or changing[0]["type"] != "Resize" or not changing[0].get("keep_ratio"):
        return None
    scale = changing[0].get("scale")
    sides = [scale, scale] if isinstance(scale, int) else list(scale or ())
    return [max(sides), min(sides)] if len(sides) == 2 else None


def shown_within(data: CocoData, scale: Sequence[int] | None) -> Any:
    """The validation images of `data`, scaled within `scale` (long, short) where the test pipeline tells its own."""
    from .data import CocoData

    if scale is None or scale_of(data.config.val_dataloader.dataset.pipeline) in (None, list(scale)):
        return data.test
    config = deepcopy(data.config)
    for step in config.val_dataloader.dataset.pipeline:
        if step["type"] == "Resize":
            step["scale"] = tuple(scale)
    return CocoData(config, data.settings).test
