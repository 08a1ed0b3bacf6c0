"""A detector in two files, for images that lie and for images that stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ...export.convert import onnx_metadata
from ...export.forms import Size, other_form
from ...plan import UserError
from ...spaces import Card, InputSize
from .any_size import export_any_size
from .convert import export_detector


def export_forms(network: nn.Module, path: str | Path, *, input_size: Size, **options: Any) -> dict[Path, Size]:
    """Write `network` at `path` for images of `input_size` (h, w), and beside it (`other_form`) for those that lie or
    stand the other way; a square takes both. `options` are `export_detector`'s others. Returns the files with their
    sizes.

    Example::

        export_forms(network, "detector.onnx", input_size=(800, 1344))  # and detector_portrait.onnx
    """
    files = {Path(path): input_size}
    if input_size[0] != input_size[1]:
        files[other_form(path, input_size)] = (input_size[1], input_size[0])
    for file, size in files.items():
        export_detector(network, file, input_size=(3, *size), **options)
    return files


def export_network(
    network: nn.Module,
    card: Card,
    path: Path,
    *,
    input_size: InputSize | None = None,
    plugin_free: bool = False,
    batch: int = 1,
) -> list[Path]:
    """`export_forms` of a run's network, by its `card`, or `export_any_size`; returns what is written.

    Args:
        network: of the run.
        card: its card.
        path: the file to write.
        input_size: (h, w) or "any"; None: the card's.
        plugin_free: for TensorRT.
        batch: number of images of one call.
    """
    if input_size == "any":
        if plugin_free:
            raise UserError("must be two sides, for TensorRT", argument="--input-size", value="any", remedy="give H W")
        if batch != 1:
            raise UserError("must be 1, for images of any size", argument="--batch", value=batch, remedy="give H W")
        return [export_any_size(network, path, **metadata_of(card))]
    form = "plugin-free" if plugin_free else "onnxruntime"
    _, height, width = card.input_size
    options = {"form": form, "batch": batch, **metadata_of(card)}
    return list(export_forms(network, path, input_size=input_size or (height, width), **options))


def metadata_of(card: Card) -> dict[str, Any]:
    """What `export_detector` is told of a network by its `card`."""
    metadata = onnx_metadata(card)
    del metadata["preprocessing"]  # the exporter's own tells of padding too
    own = card.preprocessing
    return {"metadata": metadata, "scale": own.get("scale"), "exif": own.get("exif", True)}
