"""INT8 files of a detector's run: ranges are measured on its training images."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ..export.int8 import Feed, Int8Config
from ..plan import UserError, replacing, scratch
from ..spaces import Card
from .data import CocoData
from .export.forms import export_forms, metadata_of
from .export.int8 import Feeds, quantize_detector
from .stages import detector_feed, places, shown_to

LOOKED_AT = 4
"""Times as many training images are looked at as are wanted: to know how one is shown it has to be read."""


def export_calibrated(
    network: nn.Module, card: Card, path: Path, *, data: CocoData, images: int, seed: int, config: Int8Config
) -> dict[Path, int]:
    """Write `network` with its backbone and neck in 8-bit integers, as `export_forms` does.

    Each file is calibrated on training images that lie or stand as its own do, shown as validation images are; where
    LOOKED_AT of them do not hold enough, the rest are turned by their diagonal. They are those of the config's first
    annotation file. Returns {file: number of these}. UserError as `export_forms` and `quantize_detector` raise it.

    Args:
        network: of the run.
        card: its card.
        path: the file to write.
        data: what it was trained on.
        images: how many images each file is calibrated on; all there are, where these are fewer.
        seed: of their choice.
        config: how to quantise.

    Example::

        export_calibrated(network, card, Path("det.int8.onnx"), data=data, images=256, seed=0, config=Int8Config())
    """
    _, height, width = card.input_size
    made: dict[Path, tuple[Path, int]] = {}
    dataset = data.train_evaluation
    with scratch() as folder:
        files = export_forms(network, folder / path.name, input_size=(height, width), **metadata_of(card))
        for file, size in files.items():
            own, turned = places(dataset, size, images, seed=seed, most=LOOKED_AT * images)
            if not (chosen := (own + turned)[:images]):
                rule = "every training image is larger after the config's test pipeline, so that none calibrates INT8"
                raise UserError(rule, argument="data.input_size", value=size, remedy="run again with a larger one")
            feeds = Feeds(chosen, partial(_feed, network, dataset, size))
            integers = quantize_detector(file, folder / f"int8_{file.name}", feeds, config=config)
            made[path.with_name(file.name)] = integers, len(chosen)
        for target, (file, _) in made.items():
            with replacing(target) as place:
                shutil.copyfile(file, place)
    return {target: count for target, (_, count) in made.items()}


def _feed(network: Any, dataset: Any, size: tuple[int, int], i: int) -> Feed:
    return detector_feed(network, shown_to(dataset, size, i), size)
