"""Image files as a config's pipeline loads them; what it cannot use is named, with what helps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import cv2

from ..engine.decoding import BROKEN
from ..plan import UserError
from ..plan.errors import reason


class NamingPipeline:
    """An MMDetection `pipeline`, step by step as it was, whose errors name the image.

    Raises UserError for a file that cannot be read, for one of another size than its annotations say, whose boxes and
    masks would be elsewhere, and for one that OpenCV cannot resize.
    """

    def __init__(self, pipeline: Any) -> None:
        self.transforms = pipeline.transforms

    def __call__(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """What the steps make of an image's description; None: the data set takes another image."""
        told: Mapping[str, Any] = dict(results)
        found: dict[str, Any] | None = results
        for step in self.transforms:
            if found is None:
                return None
            found = _loaded(step, found, told) if isinstance(step, _loading()) else _changed(step, found, told)
        return found


def name_images(dataset: Any) -> None:
    """Give `dataset`, or those within its wrappers, a pipeline that names the image where it fails."""
    for one in _within(dataset):
        one.pipeline = NamingPipeline(one.pipeline)


def _within(dataset: Any) -> Iterator[Any]:
    inner = getattr(dataset, "datasets", None) or [each for each in (getattr(dataset, "dataset", None),) if each]
    if not inner:
        yield dataset
    for one in inner:
        yield from _within(one)


def shows_upright(dataset: Any) -> bool:
    """Whether the pipeline of a `dataset` turns images as their EXIF orientation says."""
    steps: list[Any] = [step for step in dataset.pipeline.transforms if isinstance(step, _loading())]
    return not any(each.color_type == "unchanged" or each.color_type.endswith("ignore_orientation") for each in steps)


def _loading() -> type:
    from mmcv.transforms import LoadImageFromFile

    return LoadImageFromFile


def _loaded(step: Any, results: dict[str, Any], told: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        found = step(results)
    except (*BROKEN, cv2.error) as error:
        raise UserError(
            f"data.root: {told['img_path']}: not a readable image ({reason(error)}); restore the file, or leave it "
            "out of the annotations"
        ) from None
    if found is not None:
        _check_size(found["img"].shape[:2], told)
    return found


def _check_size(size: tuple[int, int], told: Mapping[str, Any]) -> None:
    said = (told.get("height"), told.get("width"))
    if size == said or None in said:
        return
    turned = (
        "; if an EXIF orientation turns it, and its annotations are of the pixels as they are stored, set "
        "color_type='color_ignore_orientation' of the config's LoadImageFromFile"
    )
    raise UserError(
        f"data.root: {told['img_path']} is read as {size[0]} x {size[1]} pixels, and its annotations say {said[0]} x "
        f"{said[1]} (height x width), so that boxes and masks would be elsewhere; correct one of the two"
        f"{turned if size == said[::-1] else ''}"
    )


def _changed(step: Any, results: dict[str, Any], told: Mapping[str, Any]) -> dict[str, Any] | None:
    shape = results["img"].shape[:2] if "img" in results else (told.get("height"), told.get("width"))
    try:
        found: dict[str, Any] | None = step(results)
    except cv2.error as error:
        raise unsized(str(told["img_path"]), step, shape, error) from None
    return found


def unsized(name: str, step: Any, shape: tuple[Any, ...], error: Exception) -> UserError:
    """What is said of an image, called `name`, of `shape` (h, w), of which OpenCV makes nothing."""
    return UserError(
        f"data.root: {name}: the config's {type(step).__name__} fails on its {shape[0]} x {shape[1]} pixels "
        f"({reason(error)}), as where a side would become 0 pixels; leave it out of the annotations, or change the "
        "pipeline"
    )
