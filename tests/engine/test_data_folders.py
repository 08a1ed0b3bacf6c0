"""Folders of images as people have them: what their parts are called, and a part set aside where there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.engine.data import DataConfig, ImageData, load_data
from compress.engine.folders import read_imagefolder
from compress.plan import UserError


def put(folder: Path, count: int = 2) -> None:
    """`count` images of each of two classes, no two alike, in `folder`."""
    for label, name in enumerate(("ape", "bee")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.full((32, 32, 3), 4 * i + label, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def load(root: Path, *, seed: int = 0, **options) -> ImageData:
    return load_data(DataConfig(type="imagefolder", root=str(root), augment="none", **options), seed=seed)


def names(split) -> set[str]:
    paths = [Path(split.source.paths[i]) for i in split.ids.tolist()]
    return {"/".join(path.parts[-2:]) for path in paths}


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test", "Test", "testing"])
def test_what_the_held_out_folder_is_called(tmp_path, name):
    put(tmp_path / "train", 3)
    put(tmp_path / name, 2)
    data = load(tmp_path)
    assert (len(data.train), len(data.test), data.evaluated_on) == (6, 4, "test")
    assert data.val is None


def test_of_two_held_out_folders_val_is_watched_and_test_judges(tmp_path):
    for name, count in (("train", 4), ("val", 3), ("test", 2)):
        put(tmp_path / name, count)
    data = load(tmp_path)
    assert [len(part) for part in (data.train, data.val, data.test)] == [8, 6, 4]
    assert data.evaluated_on == "test"
    assert {Path(path).parts[-3] for path in data.test.source.paths} == {"test"}


def test_two_folders_of_one_meaning_are_refused(tmp_path):
    for name in ("train", "val", "valid"):
        put(tmp_path / name)
    with pytest.raises(UserError, match=r"holds val/ and valid/, which both stand for val; leave one of them there"):
        read_imagefolder(tmp_path)


def test_images_of_one_class_alone_teach_nothing_and_are_refused(tmp_path):
    for part in ("train", "val"):  # as where the folders of classes lie one level further down
        put(tmp_path / part / "images")
    with pytest.raises(UserError, match=r"has one class alone, images, .*; give images of two classes or more"):
        load(tmp_path)


def test_classes_that_only_one_part_has_are_named_with_it(tmp_path):
    put(tmp_path / "train")
    put(tmp_path / "valid")
    (tmp_path / "valid" / "cat").mkdir()
    with pytest.raises(UserError, match=r"only in valid: cat; train and valid must hold the same classes"):
        read_imagefolder(tmp_path)


@pytest.mark.parametrize("inside", ["train", ""])
def test_one_folder_of_classes_needs_a_part_set_aside(tmp_path, inside):
    put(tmp_path / inside, 10)
    with pytest.raises(UserError, match=r"holdout = 0\.0: .*add val/ .*or set holdout=0\.1 to set aside a tenth"):
        load(tmp_path)
    data = load(tmp_path, holdout=0.2)
    assert (len(data.train), len(data.test), data.evaluated_on) == (16, 4, "holdout")
    assert np.bincount(data.test.labels).tolist() == [2, 2]
    assert not names(data.train) & names(data.test)


def test_class_names_of_any_script_whatever_the_locale(tmp_path):
    names = ["a, b; c", "ñandú", "عربي", "数字", "🐢 turtle"]
    for part in ("train", "val"):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / part / name / "é.png")
    code = "import sys, json; from compress.engine.folders import read_imagefolder as read; "
    code += (
        "found = read(sys.argv[1]); print(json.dumps([found.classes, found.train.read(found.train.labels)[0].shape]))"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    environment = {**os.environ, **plain, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", code, str(tmp_path)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == [names, [1, 3, 4, 4]]
    assert load(tmp_path, input_size=4).classes == tuple(names)


def test_the_part_stays_when_the_folder_moves_and_images_come_and_go(tmp_path):
    put(tmp_path / "a", 50)
    before = names(load(tmp_path / "a", holdout=0.2).test)
    (tmp_path / "a").rename(tmp_path / "b")
    assert names(load(tmp_path / "b", holdout=0.2, seed=9).test) == before
    gone = sorted(names(load(tmp_path / "b", holdout=0.2).train))[0]
    (tmp_path / "b" / gone).unlink()
    after = load(tmp_path / "b", holdout=0.2)
    assert len(before & names(after.test)) >= len(before) - 1  # its size may have changed by one


def test_links_are_followed_to_files_and_classes_and_otherwise_counted(tmp_path):
    for part in ("train", "val"):
        put(tmp_path / part)
    (tmp_path / "val" / "ape").rename(tmp_path / "elsewhere")
    (tmp_path / "val" / "ape").symlink_to(tmp_path / "elsewhere")
    ape = tmp_path / "train" / "ape"
    (ape / "more.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    for link, target in (("linked", tmp_path / "elsewhere"), ("unfetched.png", tmp_path / "gone.png")):
        (ape / link).symlink_to(target)
    reading = read_imagefolder(tmp_path)
    assert (len(reading.train.labels), len(reading.test.labels)) == (5, 4)
    assert reading.skipped == {"links to folders or to nothing": 2}


def test_a_class_that_is_a_link_to_nothing_is_not_left_out(tmp_path):
    for part in ("train", "val"):
        put(tmp_path / part)
        (tmp_path / part / "cow").symlink_to(tmp_path / "unmounted")
    with pytest.raises(UserError, match=r"train/cow: is a link to nothing; bring back what it leads to, or remove it"):
        read_imagefolder(tmp_path)
