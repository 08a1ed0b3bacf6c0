"""Read lists of images: CSV files with a path and a label in every line."""

from __future__ import annotations

import csv
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..plan import UserError
from ..plan.errors import reason, shown
from ..plan.paths import inside
from .encoded import FileSource
from .folders import check_not_arrow
from .readers import IMAGENET_STATISTICS, Reading

COLUMNS = ("path", "label")
DELIMITERS = (",", "\t", ";")
ONE_LABEL = "networks of several labels for an image are not trained here, so give each image one line with one label"
_WHOLE = re.compile(r"[+-]?\d+")

Rows = dict[str, tuple[int, str, str]]
"""Path, in its shortest spelling -> line, path as it is written, label."""


def read_csv(root: str | Path, train: str, val: str | None) -> Reading:
    """Images below the folder `root`, listed with their labels in `train` and `val`, CSV files in it.

    Columns are those that the first line calls path and label, in whatever order, else the first two. Labels are names
    or whole numbers; the classes are those of `train`, in alphabetical or numerical order. Paths are relative to
    `root`. Without `val` all images are for training.

    Raises:
        UserError: a list is absent or no such list, names an image that is not there, outside or there twice, gives
            several labels to one, or `val` has a class that `train` has not.

    Example::

        reading = read_csv("imagenet-20", "train.csv", "val.csv")
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the one that the lists and the images are in")
    check_not_arrow(root)
    lists = {name: _read(root, name) for name in (train, val) if name is not None}
    classes = _in_order({label for _, _, label in lists[train].values()})
    if val is not None:
        _check_together(root, lists, train, val)
    sources = {name: _source(root, rows, classes) for name, rows in lists.items()}
    return Reading(
        name=root.resolve().name,
        train=sources[train],
        test=None if val is None else sources[val],
        classes=tuple(classes),
        statistics=IMAGENET_STATISTICS,
    )


def _source(root: Path, rows: Rows, classes: list[str]) -> FileSource:
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[label] for _, _, label in rows.values()], dtype=np.int64)
    return FileSource([root / name for name in rows], labels, folder=root)


def _in_order(labels: set[str]) -> list[str]:
    if all(map(_WHOLE.fullmatch, labels)):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)


def _check_together(root: Path, lists: dict[str, Rows], train: str, val: str) -> None:
    known = {label for _, _, label in lists[train].values()}
    for name, (line, written, label) in lists[val].items():
        place = f"{root / val}: line {line}"
        if label not in known:
            raise UserError(f"{place}: no image of {train} has the label {shown(label)}; add some, or correct it")
        if name in lists[train]:
            there = lists[train][name][0]
            raise UserError(
                f"{place}: {shown(written)} is trained on, line {there} of {train}; remove one of the two lines"
            )


def _read(root: Path, name: str) -> Rows:
    """The rows of the list `name`, checked one by one."""
    path = inside(root, name, source=f"{root}", remedy="give a list in that folder")
    rows: Rows = {}
    whole: set[str] = set()
    try:
        for line, written, label in _cells(path):
            place = f"{path}: line {line}"
            name_here = os.fsdecode(written.encode())  # what the system calls it, whatever the locale says
            _check_file(root, name_here, place, whole)
            key = os.path.normpath(name_here)
            if key in rows:
                raise UserError(f"{place}: {shown(written)} stands in line {rows[key][0]} already; {ONE_LABEL}")
            rows[key] = line, written, label
    except FileNotFoundError:
        raise UserError(f"{root}: no list {path}; put a CSV file of paths and labels there") from None
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no list of images ({reason(error)}); write a CSV file in UTF-8") from None
    if not rows:
        raise UserError(f"{path}: lists no images; give each a line with its path and its label")
    _check_one_label(path, rows)
    return rows


def _cells(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, path, label) of every row that is not empty."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = next((mark for mark in DELIMITERS if mark in first), ",")
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        columns, begun = [0, 1], False
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            names = [cell.lower() for cell in cells]
            if not begun and all(column in names for column in COLUMNS):
                columns, begun = [names.index(column) for column in COLUMNS], True
                continue
            begun = True
            found = [cells[column] for column in columns if column < len(cells)]
            if len(found) < len(columns) or not all(found):
                raise UserError(f"{path}: line {reader.line_num}: must hold a path and a label; complete it")
            yield reader.line_num, found[0], found[1]


def _check_file(root: Path, name: str, place: str, whole: set[str]) -> None:
    """UserError unless `name` is a file inside `root`; `whole` remembers the folders that are."""
    remedy = "correct the line, or call the columns path and label in the first line"
    folder = os.path.dirname(name)
    try:
        mode = os.lstat(root / name).st_mode
    except (OSError, ValueError):
        mode = 0
    if folder not in whole or not stat.S_ISREG(mode):
        path = inside(root, name, source=place, remedy="write paths relative to it, with /")
        if not path.is_file():
            raise UserError(f"{place}: {root} has no image {shown(name)}; {remedy}")
        whole.add(folder)


def _check_one_label(path: Path, rows: Rows) -> None:
    """UserError where a label is several: joined by |, several whole numbers, or labels of other images."""
    known = {label for _, _, label in rows.values()}
    for line, _, label in rows.values():
        parts = [part.strip() for part in re.split(r"[|,;]", label)]
        several = "|" in label or (len(parts) > 1 and known.issuperset(parts))
        words = re.split(r"[\s|,;]+", label.strip("[]() "))
        if several or (len(words) > 1 and all(map(_WHOLE.fullmatch, words))):
            raise UserError(f"{path}: line {line}: {shown(label)} is more than one label; {ONE_LABEL}")
