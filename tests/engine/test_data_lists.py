"""Lists of images: columns, labels, what judges, and every way in which a list can be wrong."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.engine.data import DataConfig, load_data
from compress.plan import UserError

TRAIN = "path,label\nsub/0.png,cat\nsub/1.png,dog\n2.png,cat\n3.png,dog\n"
VAL = "path,label\n4.png,dog\n"


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for i in range(8):
        pixels = np.full((32, 32, 3), 10 * i, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("sub" if i < 2 else "") / f"{i}.png")
    Image.new("RGB", (32, 32)).save(tmp_path / "outside.png")
    (folder / "train.csv").write_text(TRAIN)
    (folder / "val.csv").write_text(VAL)
    return folder


def load(root: Path, **options):
    options = {"train": "train.csv", "val": "val.csv", "augment": "none", **options}
    return load_data(DataConfig(type="csv", root=str(root), **options), seed=0)


def test_paths_and_labels(root):
    data = load(root, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert (data.name, data.classes, data.evaluated_on) == ("photos", ("cat", "dog"), "test")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1, 0, 1], [1])
    assert [round(float(x[0, 0, 0]) * 255) for x, _ in data.train.eval_view().__getitems__([0, 1, 2, 3])] == [
        0,
        10,
        20,
        30,
    ]


@pytest.mark.parametrize(
    ("text", "classes", "labels"),
    [
        ("sub/0.png,cat\nsub/1.png,dog\n", ("cat", "dog"), [0, 1]),
        ("\ufefflabel;id;Path\ndog;7;sub/1.png\n\ncat;8;./2.png\n", ("cat", "dog"), [1, 0]),
        ("path\tlabel\n2.png\t10\n3.png\t9\n", ("9", "10"), [1, 0]),
        ('path,label\n2.png,"a, b; c"\n3.png,數 字\n', ("a, b; c", "數 字"), [0, 1]),
        ('"path", "label"\r\n"2.png", "a"\r\n"3.png", "b"\r\n', ("a", "b"), [0, 1]),
    ],
    ids=["no header", "columns by name, semicolons, a byte order mark", "whole numbers, tabs", "odd names", "quotes"],
)
def test_forms_of_a_list(root, text, classes, labels):
    (root / "train.csv").write_text(text, encoding="utf-8")
    data = load(root, val=None, holdout=0.5)
    assert data.classes == classes
    assert data.train.source.labels.tolist() == labels


def test_a_list_alone_needs_a_part_set_aside(root):
    with pytest.raises(
        UserError, match=r"holdout = 0\.0: .*only train\.csv; give a list of others as val, or set holdout"
    ):
        load(root, val=None)
    assert len(load(root, val=None, holdout=0.5).test) == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("9.png,cat", r"line 1: .*photos has no image 9\.png; correct the line, or call the columns path and label"),
        ("../outside.png,cat", r"line 1: '\.\./outside\.png' must be a path inside .*photos, not absolute"),
        ("/etc/hostname,cat", "line 1: '/etc/hostname' must be a path inside"),
        ("link.png,cat", "line 1: 'link.png' must be a path inside .* by a link out of it"),
        ("out/outside.png,cat", "line 1: 'out/outside.png' must be a path inside"),
        ("sub\\0.png,cat", r"line 1: .* must be a path inside .*; write paths relative to it, with /"),
        ("2.png", "line 1: must hold a path and a label"),
        ("2.png,cat\n3.png,", "line 2: must hold a path and a label"),
        (
            "2.png,cat\n./2.png,dog",
            r"line 2: \./2\.png stands in line 1 already; networks of several labels .* one label",
        ),
        ("2.png,cat|dog", r"line 1: cat\|dog is more than one label; networks of several labels"),
        ('2.png,cat\n3.png,dog\n4.png,"cat, dog"', "line 3: cat, dog is more than one label"),
        ("2.png,1\n3.png,2 3", "line 2: 2 3 is more than one label"),
        ('2.png,[1]\n3.png,"[1, 2]"', r"line 2: \[1, 2\] is more than one label"),
        ("path,label", "lists no images"),
        ("2.png,caf\udce9", "no list of images .*write a CSV file in UTF-8"),
    ],
)
def test_a_list_is_refused_in_one_line(root, tmp_path, lines, message):
    os.symlink(tmp_path / "outside.png", root / "link.png")
    os.symlink(tmp_path, root / "out")
    (root / "train.csv").write_bytes(lines.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=message) as caught:
        load(root, val=None, holdout=0.5)
    assert str(root / "train.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("5.png,cow", r"val\.csv: line 1: no image of train\.csv has the label cow"),
        ("./2.png,cat", r"val\.csv: line 1: \./2\.png is trained on, line 4 of train\.csv"),
    ],
)
def test_lists_that_do_not_go_together(root, line, message):
    (root / "val.csv").write_text(line)
    with pytest.raises(UserError, match=message):
        load(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "absent.csv"}, r"no list .*absent\.csv"),
        ({"train": "../train.csv"}, r"must be a path inside .*photos.*give a list in that folder"),
        ({"train": None}, "train = None: type=csv reads a list"),
    ],
)
def test_lists_that_are_not_there(root, options, message):
    with pytest.raises(UserError, match=message):
        load(root, **options)


def test_a_data_set_of_the_package_datasets_is_refused(root):
    (root / "dataset_dict.json").write_text("{}")
    for kind in ("csv", "imagefolder"):
        with pytest.raises(
            UserError, match=rf"^{root}: holds a data set as the package datasets saves it, which is not"
        ):
            load_data(
                DataConfig(type=kind, root=str(root), **({"train": "train.csv"} if kind == "csv" else {})), seed=0
            )
