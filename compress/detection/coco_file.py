"""Shape of COCO's instances files: what is read of a user's annotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Le, Len, MinLen
from typing_extensions import TypedDict

from ..plan import Rule
from ..plan.kinds import Name, Number

Id = Annotated[int, Ge(0), Le(2**63 - 1)]
MOST_BYTES = 8 << 30
"""COCO's own training annotations have half a gigabyte."""


class Image(TypedDict):
    """An image file and its size in pixels."""

    id: Id
    file_name: Annotated[str, MinLen(1)]
    height: Annotated[int, Ge(1), Le(1 << 20)]
    width: Annotated[int, Ge(1), Le(1 << 20)]


class Category(TypedDict):
    """A class."""

    id: Id
    name: Name


class Annotation(TypedDict):
    """An object: its box as x, y, width, height, and its area in pixels."""

    id: Id
    image_id: Id
    category_id: Id
    bbox: Annotated[list[Number], Len(4, 4)]
    area: Number
    iscrowd: NotRequired[Annotated[int, Ge(0), Le(1)]]
    segmentation: NotRequired[Any]


def _instances_fault(found: _Instances) -> str | None:
    listed: dict[str, Any] = {key: found[key] for key in ("images", "categories", "annotations")}
    for key, items in listed.items():
        if len({item["id"] for item in items}) < len(items):
            return f"{key} must have ids that differ"
    images, categories = ({item["id"] for item in found[key]} for key in ("images", "categories"))
    for i, annotation in enumerate(found["annotations"]):
        if annotation["image_id"] not in images or annotation["category_id"] not in categories:
            return f"annotations.{i} is of an image or a category that the file does not list"
    return None


def lacks_mask(annotation: Annotation) -> bool:
    """Whether an object, one with an area, has neither polygons nor run lengths."""
    if annotation["area"] <= 0 or min(annotation["bbox"][2:]) < 1:
        return False  # MMDetection leaves it out
    given = annotation.get("segmentation")
    if isinstance(given, list):
        return not given or not all(isinstance(polygon, list) for polygon in given)
    return not (isinstance(given, Mapping) and {"size", "counts"} <= given.keys())


class _Instances(TypedDict):
    images: Annotated[list[Image], MinLen(1)]
    categories: Annotated[list[Category], MinLen(1)]
    annotations: list[Annotation]


InstancesFile = Annotated[_Instances, Rule(_instances_fault)]
