"""Data sets as MMDetection's configs name them: COCO's, what derives from them, and what wraps them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..engine.optimisers import registered
from ..plan import UserError

WRAPPERS = ("RepeatDataset", "ClassBalancedDataset", "ConcatDataset")
"""Wrappers that show images of others as they are."""

OTHER_FILES = ("LVISV05Dataset", "CocoPanopticDataset")
"""Subclasses of CocoDataset whose annotations are not COCO's instances."""

MOST_NAMED = 10
"""Missing images that a message lists."""


def kind_of(dataset: Any) -> str:
    """The name of a data set's class, without MMEngine's scope."""
    kind = dataset.get("type")
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition(".")[2]


def datasets_in(dataset: Any) -> Iterator[Any]:
    """The sections of the data sets that `dataset`, a section too, reads: itself, or those within its wrappers."""
    if kind_of(dataset) not in WRAPPERS:
        yield dataset
        return
    for inner in dataset.get("datasets") or [dataset.get("dataset") or {}]:
        yield from datasets_in(inner)


def reads_coco(dataset: Any) -> bool:
    """Whether a section is of a CocoDataset, or of a class that derives from it and reads the same files."""
    try:
        _coco_class(dataset, "")
    except UserError:
        return False
    return True


def checked_datasets(config: Any, part: str) -> list[Any]:
    """The sections of all that the dataloader `part` of `config` reads.

    Raises UserError for what is no CocoDataset, and for wrappers in any but the train_dataloader: AP needs every image
    once.
    """
    dataset = config[part].dataset
    if (kind := kind_of(dataset)) in WRAPPERS and part != "train_dataloader":
        raise UserError(
            f"space.config: its {part} reads a {kind!r}, but AP needs every image once, of one annotation file; give "
            "the data set within, alone"
        )
    found = list(datasets_in(dataset))
    for one in found:
        _coco_class(one, part)
    return found


def classes_of(dataset: Any) -> list[str]:
    """Names in the order of the labels: those of `metainfo`, else those of the data set's class."""
    kind = _coco_class(dataset, "its data set")
    return list(kind._load_metainfo(dict(dataset.get("metainfo") or {})).get("classes") or ())


def annotations_of(dataset: Any) -> Path:
    """The instances file of a section."""
    return Path(dataset.get("data_root") or "") / str(dataset.get("ann_file") or "")


def images_of(dataset: Any) -> Path:
    """The folder of a section's images."""
    return Path(dataset.get("data_root") or "") / str((dataset.get("data_prefix") or {}).get("img", ""))


def check_images(folder: Path, names: Sequence[str], *, file: Path, side: str) -> None:
    """UserError, with up to ten of them, where images called `names` in the annotations `file` are not in `folder`."""
    missing = list(_missing(folder, names))
    if not missing:
        return
    remedy = f"restore the {side} images"
    if len(missing) == 1:
        raise UserError(f"data.root: {folder / missing[0]} is missing, which {file.name} names; {remedy}")
    more = f", and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    raise UserError(
        f"data.root: {len(missing)} of the {len(names)} images that {file.name} names are missing in {folder}: "
        f"{', '.join(missing[:MOST_NAMED])}{more}; {remedy}"
    )


def _missing(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """Those of `names` that are not there; every folder is read once."""
    there: dict[str, set[str]] = {}
    for name in names:
        head, tail = os.path.split(name)
        if head not in there:
            place = folder / head
            there[head] = set(os.listdir(place)) if place.is_dir() else set()
        if tail not in there[head]:
            yield name


def _coco_class(dataset: Any, part: str) -> Any:
    """The class of a section; UserError unless it reads COCO's instances files."""
    from mmdet.datasets import CocoDataset
    from mmdet.registry import DATASETS

    kind, name = dataset.get("type"), kind_of(dataset)
    if not isinstance(kind, type):
        kind = registered(DATASETS, name, name=f"space.config: {part}.dataset.type", example="'CocoDataset'")
    if not issubclass(kind, CocoDataset) or any(base.__name__ in OTHER_FILES for base in kind.__mro__):
        raise UserError(
            f"space.config: its {part} reads a {name!r}; only CocoDataset is supported, classes derived from it, and "
            f"for training {', '.join(WRAPPERS)} around them, in the format of COCO's instances files"
        )
    return kind
