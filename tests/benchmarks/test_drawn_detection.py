"""Drawn detection data: the same bytes for a seed, and valid COCO."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from drawn_detection import CLASSES, SIDE, VISIBLE, Draws, draw, picture, run_lengths  # noqa: E402

COUNTS = {"train2017": 16, "val2017": 3}


def digest(folder: Path) -> str:
    """Of all files: their names and bytes."""
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(str(file.relative_to(folder)).encode() + b"\n" + file.read_bytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw(folder, COUNTS, seed=20)
    return folder


def test_a_seed_gives_the_same_bytes_on_every_processor(drawn):
    assert digest(drawn) == "e835595e674a266049b0b7c4673d87e9fdf9d390992516fc868675c1551139b1"


def test_an_image_is_the_same_among_few_and_many_and_another_by_another_seed(drawn, tmp_path):
    draw(tmp_path, {"train2017": 1}, seed=20)
    name = "train2017/000001.ppm"
    assert (tmp_path / name).read_bytes() == (drawn / name).read_bytes()
    assert (drawn / name).read_bytes() != (drawn / "val2017/000001.ppm").read_bytes()
    assert (picture(Draws(21, 0, 0)).pixels != picture(Draws(20, 0, 0)).pixels).mean() > 0.9


def test_it_is_valid_coco(drawn, capsys):
    from pycocotools.coco import COCO

    coco = COCO(str(drawn / "annotations/instances_train2017.json"))
    assert {coco.cats[each["category_id"]]["name"] for each in coco.anns.values()} == set(CLASSES)
    assert len(coco.imgs) == COUNTS["train2017"] == len(set(coco.imgToAnns)), "no image without an object"
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        x, y, width, height = annotation["bbox"]
        assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x, y, x + width, y + height)
        assert mask.sum() == annotation["area"] > 40


def test_objects_stay_in_sight_and_apart():
    drawn = picture(Draws(20, 0, 7))
    for number, (whole, label) in enumerate(zip(drawn.whole, drawn.classes, strict=True)):
        seen = int((drawn.owner == number).sum())
        assert VISIBLE * whole <= seen <= whole, label
    assert None in drawn.classes, "some shapes are of no class"


@pytest.mark.parametrize("first", [False, True])
def test_run_lengths_are_pycocotools_own(first):
    from pycocotools import mask as rle

    mask = np.random.default_rng(0).random((SIDE, SIDE)) < 0.5
    mask[0, 0], mask[-1, -1] = first, first
    coded = rle.frPyObjects({"size": [SIDE, SIDE], "counts": run_lengths(mask)}, SIDE, SIDE)
    assert (rle.decode(coded).astype(bool) == mask).all()


@pytest.mark.parametrize(("name", "outline"), CLASSES.items())
def test_every_outline_fits_its_radius(name, outline):
    v, u = np.mgrid[-1100:1101:20, -1100:1101:20]
    inside = outline(u, v)
    reach = np.sqrt((u**2 + v**2)[inside]).max()
    assert 900 < reach < 1200
    assert 0.25 < inside.mean() / (np.pi * 1024**2 / 2200**2) <= 1.01, name
