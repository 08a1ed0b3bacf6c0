"""Are a network and a data set made for each other? Asked before anything is computed from the two."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plan import UserError

if TYPE_CHECKING:
    from ..engine.data import ImageData


def check_agrees(source: str | Path, classes: Sequence[str], preprocessing: Mapping[str, Any], data: ImageData) -> None:
    """UserError, beginning with `source`, unless its network has the classes and the preprocessing of `data`."""
    if len(classes) != len(data.classes):
        raise UserError(
            f"{source}: has {len(classes)} classes, and {data.name} has {len(data.classes)}; give the recipe of its "
            "data"
        )
    if odd := [i for i, pair in enumerate(zip(classes, data.classes, strict=True)) if pair[0] != pair[1]]:
        raise UserError(
            f"{source}: class {odd[0]} is {classes[odd[0]]!r}, and {data.classes[odd[0]]!r} in {data.name}; give the "
            "recipe of its data"
        )
    if differing := [key for key, value in data.preprocessing.items() if preprocessing.get(key) != value]:
        key = differing[0]
        raise UserError(
            f"{source}: made for {key} = {preprocessing.get(key)!r}, and the data have {data.preprocessing[key]!r}; "
            "set the recipe's data section to the network's"
        )


def exported_metadata(source: str | Path, metadata: Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Classes and preprocessing in the metadata of an exported file; UserError when they are not there."""
    try:
        classes, preprocessing = json.loads(metadata["classes"]), json.loads(metadata["preprocessing"])
        if not isinstance(classes, list) or not isinstance(preprocessing, dict):
            raise ValueError
    except (KeyError, ValueError):
        raise UserError(
            f"{source}: its metadata do not tell classes and preprocessing; export the network with tools/export.py"
        ) from None
    return tuple(classes), preprocessing
