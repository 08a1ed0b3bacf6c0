"""Are a network and a data set made for each other? Asked before anything is computed from the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plan import UserError, check_stored
from ..plan.errors import reason
from .onnx_checks import check_numbers, check_one_image
from .onnx_read import takes_pixels

if TYPE_CHECKING:
    from ..engine.data import ImageData

PIXELS = "uint8 NHWC"
"""Entry `input` of a file's preprocessing: what its graph takes. Without the entry that is float32 NCHW, normalised."""


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


def exported_metadata(
    source: str | Path, metadata: Mapping[str, str], *, shape: Sequence[Any], pixels: bool
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Classes and preprocessing in the metadata of an exported file that takes images of `shape`, `pixels` or floats.

    Raises UserError when they are not there, not of their kinds (docs/formats.md), or of another input than the file's.
    """
    from .metadata import Classes, Preprocessing

    remedy = "export the network with `nncompress export`"
    kinds = {"classes": Classes, "preprocessing": Preprocessing}
    if not kinds.keys() <= metadata.keys():
        raise UserError(f"{source}: its metadata do not tell classes and preprocessing; {remedy}")
    found = {
        key: entry_value(f"{source}: metadata entry {key}", metadata[key], kind, remedy) for key, kind in kinds.items()
    }
    preprocessing = found["preprocessing"]
    claims = preprocessing.get("input") == PIXELS
    if claims != pixels:
        told, real = (PIXELS if each else "float NCHW" for each in (claims, pixels))
        raise UserError(f"{source}: its metadata tell of {told} input, and it takes {real}; {remedy}")
    channels, *sides = preprocessing.get("input_size", [3, *shape[1:]])
    wanted = [*sides, channels] if pixels else [channels, *sides]
    if list(shape) != wanted and "input_size" in preprocessing:
        raise UserError(f"{source}: its metadata tell of images {wanted}, and it takes {list(shape)}; {remedy}")
    return tuple(found["classes"]), preprocessing


def entry_value(source: str, text: str, kind: Any, remedy: str) -> Any:
    """The JSON `text` of an entry of the metadata, checked to be of `kind`."""
    from pydantic_core import from_json

    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise UserError(f"{source}: not valid JSON ({reason(error)}); {remedy}") from None
    check_stored(value, kind, source=source, remedy=remedy)
    return value


def described(source: str | Path, proto: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """`exported_metadata` of an `onnx.ModelProto`."""
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    axes = proto.graph.input[0].type.tensor_type.shape.dim
    shape = [axis.dim_param or axis.dim_value for axis in axes][1:]
    return exported_metadata(source, metadata, shape=shape, pixels=takes_pixels(proto))


def check_network(source: str | Path, proto: Any) -> None:
    """UserError unless an `onnx.ModelProto` is one to make another file of: a classifier's, or a detector's, whose
    weights are numbers and whose metadata, where it has them, are those of its input."""
    check_one_image(proto, source)
    check_numbers(proto, source)
    keys = {entry.key for entry in proto.metadata_props}
    if "preprocessing" in keys and "detector" not in keys:
        described(source, proto)
