"""A detector in two files, for images that lie and for images that stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ...export.convert import onnx_metadata
from ...export.forms import Size, other_form
from ...spaces import Card
from .convert import export_detector


def export_forms(network: nn.Module, path: str | Path, *, input_size: Size, **options: Any) -> dict[Path, Size]:
    """Write `network` at `path` for images of `input_size` (h, w), and beside it (`other_form`) for those that lie or
    stand the other way; a square takes both. Returns the files with their sizes.

    Args:
        network: as in `export_detector`, which writes them.
        path: the file to write.
        input_size: (h, w).
        options: `export_detector`'s other arguments.

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
    network: nn.Module, card: Card, path: Path, *, input_size: Size | None = None, plugin_free: bool = False
) -> dict[Path, Size]:
    """`export_forms` of a run's network, by its `card`.

    Args:
        network: of the run.
        card: its card.
        path: the file to write.
        input_size: (h, w); None: the card's.
        plugin_free: for TensorRT.

    Example::

        network, _, card = load_model("runs/det")
        export_network(network, card, Path("small.onnx"), input_size=(480, 800))  # and small_portrait.onnx
    """
    _, height, width = card.input_size
    form = "plugin-free" if plugin_free else "onnxruntime"
    return export_forms(network, path, input_size=input_size or (height, width), form=form, **metadata_of(card))


def metadata_of(card: Card) -> dict[str, Any]:
    """What `export_detector` is told of a network by its `card`."""
    metadata = onnx_metadata(card)
    del metadata["preprocessing"]  # the exporter's own tells of padding too
    return {"metadata": metadata, "scale": card.preprocessing.get("scale")}
