"""Wrapped data sets, subclasses of CocoDataset, and where MMDetection's own tools then look for the images."""

import json
import shutil
from copy import deepcopy
from typing import ClassVar

import pytest
from drawn_coco import annotation_file, draw_coco

pytest.importorskip("mmdet")
from compress.detection.config_file import DATALOADERS
from compress.detection.data import Augmented, CocoData, DetectionData
from compress.detection.datasets import datasets_in
from compress.plan import UserError

# MMDetection comes after the operators that compress.detection installs.
from mmdet.datasets import CocoDataset  # isort: skip
from mmdet.registry import DATASETS  # isort: skip


@DATASETS.register_module(force=True)
class ShoutedDataset(CocoDataset):
    """COCO's categories, loud."""

    METAINFO: ClassVar = {"classes": tuple(name.upper() for name in CocoDataset.METAINFO["classes"]), "palette": None}


@pytest.fixture
def wrapped(config):
    """`wrapped(make, part)`: the config whose data set of `part` is what `make` makes of it."""

    def change(make, part="train_dataloader"):
        own = deepcopy(config)
        own[part].dataset = make(own[part].dataset)
        return own

    return change


def repeated(inner):
    return {"type": "RepeatDataset", "times": 3, "dataset": inner}


def balanced(inner):
    return {"type": "ClassBalancedDataset", "oversample_thr": 1.0, "dataset": inner}


def joined(inner):
    return {"type": "ConcatDataset", "datasets": [inner, repeated(inner)]}


@pytest.mark.parametrize(("wrap", "images"), [(repeated, 24), (balanced, None), (joined, 32)])
def test_wrapped_images_are_trained_on(wrapped, data, wrap, images):
    found = CocoData(wrapped(wrap), DetectionData(input_size=(128, 128)))
    assert len(found.train) >= 8 if images is None else len(found.train) == images
    assert {Augmented(found.train, seed=0)[i]["data_samples"].img_id for i in range(len(found.train))} == {
        10 * i + 7 for i in range(8)
    }
    assert len(CocoData(wrapped(wrap), DetectionData(limit=5)).train) == 5
    assert [len(found.train_evaluation), found.train_evaluation.ann_file] == [8, data.train_evaluation.ann_file]


@pytest.mark.parametrize("wrap", [repeated, balanced, joined])
def test_validation_images_are_not_wrapped(wrapped, wrap):
    kind = wrap({})["type"]
    with pytest.raises(
        UserError, match=rf"^space\.config: its val_dataloader reads a '{kind}', but AP needs every image once.*; give"
    ) as refusal:
        CocoData(wrapped(wrap, "val_dataloader"), DetectionData())
    assert "\n" not in str(refusal.value)


def test_what_mixes_images_is_refused(wrapped):
    mixed = wrapped(lambda inner: {"type": "MultiImageMixDataset", "dataset": inner, "pipeline": []})
    with pytest.raises(UserError, match=r"reads a 'MultiImageMixDataset'; only CocoDataset is supported, .*Repeat"):
        CocoData(mixed, DetectionData())


def test_annotations_within_a_wrapper_are_checked(wrapped, coco, tmp_path):
    root = tmp_path / "coco"
    shutil.copytree(coco, root)
    value = json.loads(annotation_file(root, "train2017").read_text())
    value["categories"].reverse()
    annotation_file(root, "train2017").write_text(json.dumps(value))
    with pytest.raises(UserError, match=r"category 1 of .*train2017\.json is 'toothbrush'"):
        CocoData(wrapped(joined), DetectionData(root=str(root)))


def test_a_subclass_brings_its_classes(wrapped, coco, tmp_path):
    root = tmp_path / "coco"
    shutil.copytree(coco, root)
    for part in ("train2017", "val2017"):
        value = json.loads(annotation_file(root, part).read_text())
        for category in value["categories"]:
            category["name"] = category["name"].upper()
        annotation_file(root, part).write_text(json.dumps(value))

    def shouted(inner):
        return {**inner, "type": "mmdet.ShoutedDataset"}

    config = wrapped(lambda inner: repeated(shouted(inner)))
    config.val_dataloader.dataset.type = "ShoutedDataset"
    data = CocoData(config, DetectionData(root=str(root)))
    assert data.classes[:2] == ("PERSON", "BICYCLE")
    assert len(data.train[0]["data_samples"].gt_instances) == 3
    assert len(data.test) == 4


def test_annotations_of_two_files_are_trained_on_and_not_judged(wrapped, coco, tmp_path):
    more = draw_coco(tmp_path / "more", {"train2017": 2})

    def both(inner):
        return {"type": "ConcatDataset", "datasets": [inner, {**inner, "data_root": str(more)}]}

    assert len(CocoData(wrapped(both), DetectionData()).train) == 10
    for name, settings in (("watch", {"watch": 2}), ("evaluate_train", {"evaluate_train": True})):
        with pytest.raises(UserError, match=rf"^data\.{name}: .*one annotation file.* reads 2; leave it away"):
            CocoData(wrapped(both), DetectionData(**settings))
    with pytest.raises(
        UserError, match=r"data\.root = '.*': .*reads from several folders \(.*/more\).*data\.root=None"
    ):
        CocoData(wrapped(both), DetectionData(root=str(coco)))


def test_all_of_the_config_follows_the_data(wrapped, coco):
    """`data_root` at the top level too, by which MMDetection's tools find images."""
    config = wrapped(joined)
    config.data_root = "data/coco/"
    for part in DATALOADERS:
        for inner in datasets_in(config[part].dataset):
            inner.data_root = "data/coco/"
    config.val_evaluator.ann_file = "data/coco/annotations/instances_val2017.json"
    moved = CocoData(config, DetectionData(root=str(coco))).config
    assert moved.data_root == str(coco)
    assert "data/coco/" not in moved.pretty_text
    assert moved.val_evaluator.ann_file == str(annotation_file(coco, "val2017"))


@pytest.mark.parametrize(("gone", "says"), [(3, "3 of the 12 images"), (12, "12 of the 12 images")])
def test_missing_images_are_counted_and_listed(config, tmp_path, gone, says):
    root = draw_coco(tmp_path / "coco", {"train2017": 12, "val2017": 1})
    names = sorted(file.name for file in (root / "train2017").iterdir())
    for name in names[12 - gone :]:
        (root / "train2017" / name).unlink()
    with pytest.raises(UserError, match=rf"^data\.root: {says} that instances_train2017\.json names") as refusal:
        CocoData(config, DetectionData(root=str(root)))
    told = str(refusal.value)
    assert [name in told for name in names] == [12 - gone <= i < 12 - gone + 10 for i in range(12)]
    assert told.endswith("; restore the train images")
    assert (", and 2 more" in told) == (gone > 10)
