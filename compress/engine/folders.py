"""Read folders of images: a folder for each class, below folders for training and for judging."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from ..plan import UserError
from ..plan.errors import shown
from .encoded import FileSource
from .readers import IMAGENET_STATISTICS, Reading, class_name

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"})
_CLUTTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
"""What Windows leaves in folders; other systems hide theirs (.DS_Store, ._1.jpg)."""
PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What the folders of a data set's parts are called, in small or capital letters."""


def read_imagefolder(root: str | Path) -> Reading:
    """Folders `root/train/CLASS/` and `root/val/CLASS/` of image files; classes are numbered in alphabetical order.

    `val` may be called `valid`, `validation` or `test`. Of both, `test` judges and `val` gives the figures after an
    epoch. Without them, or where the class folders stand in `root` itself, all images are for training. Files are
    found, not opened; hidden ones, those of other kinds than images and links to folders are left out and counted.

    Raises:
        UserError: a folder is missing, empty, there twice or unreadable, or the parts hold different classes.

    Example::

        reading = read_imagefolder("imagenet-20")
    """
    root = Path(root)
    try:
        return _read(root)
    except OSError as error:
        raise UserError(f"{root}: cannot be read ({error.strerror}: {error.filename}); correct its rights") from None


def _read(root: Path) -> Reading:
    parts = _parts(root)
    names = {part: _class_names(folder) for part, folder in parts.items()}
    for part in names.keys() - {"train"}:
        _check_same_classes(root, names, parts, part)
    skipped: Counter[str] = Counter()
    sources = {part: _source(folder, names[part], skipped) for part, folder in parts.items()}
    return Reading(
        name=root.resolve().name,
        train=sources["train"],
        test=sources.get("test", sources.get("val")),
        val=sources.get("val") if "test" in sources else None,
        # Read as UTF-8 whatever the locale says, because they go into files.
        classes=tuple(class_name(parts["train"], os.fsencode(name)) for name in names["train"]),
        statistics=IMAGENET_STATISTICS,
        skipped=skipped,
    )


def _parts(root: Path) -> dict[str, Path]:
    """{`train`, `val`, `test`: folder} of `root`; where it holds none of them, it holds the classes itself."""
    if not root.is_dir():
        rule = f"{root}: no folder {root}; root must hold train/ and val/ (or test/) with a folder for each class"
        raise UserError(rule)
    check_not_arrow(root)
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir()]
    found = {part: [each for each in folders if each.name.lower() in names] for part, names in PARTS.items()}
    for part, several in found.items():
        if len(several) > 1:
            twice = " and ".join(f"{each.name}/" for each in several)
            raise UserError(f"{root}: holds {twice}, which both stand for {part}; leave one of them there")
    parts = {part: several[0] for part, several in found.items() if several}
    if parts and "train" not in parts:
        raise UserError(
            f"{root}: no folder {root / 'train'}; root must hold train/ and val/ (or test/) with a folder for "
            "each class"
        )
    return parts or {"train": root}


def check_not_arrow(root: Path) -> None:
    """UserError for a folder that Hugging Face's `datasets` wrote, or the Parquet files of a data set on its Hub."""
    saved = any((root / name).is_file() for name in ("dataset_dict.json", "dataset_info.json"))
    if saved or any(next(folder.glob("*.parquet"), None) for folder in (root, root / "data")):
        what = "a data set as the package datasets saves it" if saved else "Parquet files"
        raise UserError(
            f"{root}: holds {what}, which is not read; save its images as files in train/CLASS/ and val/CLASS/, "
            'in one folder with lists of paths and labels (type="csv"), or as tar shards (type="shards", '
            "docs/inputs.md)"
        )


def _check_same_classes(root: Path, names: dict[str, list[str]], parts: dict[str, Path], part: str) -> None:
    here = parts["train"].name, parts[part].name
    for name, inside, outside in ((here[0], "train", part), (here[1], part, "train")):
        only = sorted(set(names[inside]) - set(names[outside]))
        if only:
            listed = ", ".join(map(shown, only[:5])) + (", ..." if len(only) > 5 else "")
            raise UserError(
                f"{root}: class folders only in {name}: {listed}; {here[0]} and {here[1]} must hold the same classes"
            )


def _class_names(folder: Path) -> list[str]:
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    if lost := [entry for entry in entries if entry.is_symlink() and not entry.exists()]:
        raise UserError(f"{min(lost)}: is a link to nothing; bring back what it leads to, or remove it")
    names = sorted(entry.name for entry in entries if entry.is_dir())
    if not names:
        raise UserError(f"{folder}: no class folders; put the images of each class in a folder of its own")
    return names


def _source(folder: Path, names: list[str], skipped: Counter[str]) -> FileSource:
    """The images below `folder`; what is left out there is counted in `skipped`."""
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = []
        for path in sorted((folder / name).rglob("*")):
            inside = path.relative_to(folder / name).parts
            if not path.is_file():
                if path.is_symlink():
                    skipped["links to folders or to nothing"] += 1
            elif any(part.startswith(".") for part in inside) or path.name.lower() in _CLUTTER:
                skipped["hidden"] += 1
            elif path.suffix.lower() not in IMAGE_SUFFIXES:
                skipped[path.suffix.lower() or "no suffix"] += 1
            else:
                found.append(path)
        if not found:
            raise UserError(f"{folder / name}: no images; add some ({', '.join(sorted(IMAGE_SUFFIXES))})")
        paths += found
        labels += [label] * len(found)
    return FileSource(paths, np.array(labels, dtype=np.int64), folder=folder)
