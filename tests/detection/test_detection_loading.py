"""Image files that training or AP cannot use: each is named in one line, none is taken for another."""

import json
import shutil
from copy import deepcopy

import cv2
import numpy as np
import pytest
from drawn_coco import annotation_file
from PIL import Image

pytest.importorskip("mmdet")
from compress.detection.data import CocoData, DetectionData, EpochLoader
from compress.detection.evaluation import detect
from compress.detection.sizes import check_fitting
from compress.plan import UserError

PARTS = ("train2017", "val2017")
NAME = "000000000007"
"""The first image of every part, 96 x 128 pixels."""


@pytest.fixture
def changed(coco, config, tmp_path):
    """`changed(annotations=..., image=...)`: the data with every part's annotations, and first image, changed."""

    def make(annotations=None, image=None, config=config):
        root = tmp_path / "coco"
        shutil.copytree(coco, root)
        for part in PARTS:
            value = json.loads(annotation_file(root, part).read_text())
            if annotations is not None:
                annotations(value)
            if image is not None:
                value["images"][0]["file_name"] = image(root / part / f"{NAME}.png").name
            annotation_file(root, part).write_text(json.dumps(value))
        return CocoData(config, DetectionData(root=str(root), input_size=(128, 128)))

    return make


def refusals(data, network):
    """What an epoch of training, and an evaluation, say of the first image."""
    for run in (lambda: list(EpochLoader(data.train, batch_size=2, seed=0)), lambda: detect(network, data.test)):
        with pytest.raises(UserError) as caught:
            run()
        assert NAME in str(caught.value)
        assert "\n" not in str(caught.value)
        yield str(caught.value)


def cut(path):
    file = path.with_suffix(".jpg")
    Image.open(path).save(file)
    file.write_bytes(file.read_bytes()[:700])
    return file


def emptied(path):
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("damage", [cut, emptied])
def test_images_that_cannot_be_read(changed, network, damage):
    for said in refusals(changed(image=damage), network):
        assert "not a readable image" in said
        assert said.endswith("restore the file, or leave it out of the annotations")


def test_what_a_loading_process_refuses_is_one_line_too(changed):
    data = changed(image=emptied)
    with pytest.raises(UserError, match=rf"^data\.root: \S+{NAME}\.png: not a readable image.*annotations$") as caught:
        list(EpochLoader(data.train, batch_size=2, seed=0, num_workers=1))
    assert "\n" not in str(caught.value)


def turned(path):
    """Stored on its side, with the EXIF orientation that turns it upright."""
    file, orientation = path.with_suffix(".jpg"), Image.Exif()
    orientation[0x0112] = 6
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(file, exif=orientation)
    return file


def stored_size(value):
    value["images"][0] |= {"height": 128, "width": 96}


def test_annotations_of_another_size_than_the_image(changed, network):
    """MMDetection trains on boxes that are elsewhere, and finds a mask AP of 0."""

    def double(value):
        value["images"][0] |= {"height": 192, "width": 256}

    for said in refusals(changed(double), network):
        assert "read as 96 x 128 pixels, and its annotations say 192 x 256 (height x width)" in said
        assert "EXIF" not in said


def test_images_that_exif_turns(changed, network, config):
    upright = changed(image=turned)
    assert upright.test[0]["data_samples"].ori_shape == (96, 128)
    shutil.rmtree(upright.settings.root)
    for said in refusals(changed(stored_size, turned), network):
        assert "read as 96 x 128 pixels, and its annotations say 128 x 96" in said
        assert "color_type='color_ignore_orientation'" in said
    shutil.rmtree(upright.settings.root)
    as_stored = deepcopy(config)
    as_stored.val_dataloader.dataset.pipeline[0]["color_type"] = "color_ignore_orientation"
    sideways = changed(stored_size, turned, as_stored)
    assert sideways.test[0]["data_samples"].ori_shape == (128, 96)
    assert (upright.preprocessing["exif"], sideways.preprocessing["exif"]) == (True, False)


def test_images_of_which_resizing_leaves_nothing(changed, network):
    def thread(path):
        cv2.imwrite(str(path), np.zeros((2, 1000, 3), np.uint8))
        return path

    def told(value):
        value["images"][0] |= {"height": 2, "width": 1000}
        value["annotations"] = [entry for entry in value["annotations"] if entry["image_id"] != 7]

    data = changed(told, thread)
    says = "fails on its 2 x 1000 pixels .*leave it out of the annotations"
    with pytest.raises(UserError, match=says):
        detect(network, data.test)
    with pytest.raises(UserError, match=says):
        check_fitting(data)


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("part", PARTS)
def test_annotations_without_an_object(coco, config, tmp_path, part, crowds):
    root = tmp_path / "coco"
    shutil.copytree(coco, root)
    value = json.loads(annotation_file(root, part).read_text())
    value["annotations"] = [{**entry, "iscrowd": 1} for entry in value["annotations"] if crowds]
    annotation_file(root, part).write_text(json.dumps(value))
    with pytest.raises(UserError, match=rf"instances_{part}\.json has no object, crowds not counted"):
        CocoData(config, DetectionData(root=str(root)))


def test_a_filter_that_leaves_no_image(config):
    own = deepcopy(config)
    own.train_dataloader.dataset.filter_cfg = {"filter_empty_gt": True, "min_size": 500}
    with pytest.raises(UserError, match=r"instances_train2017\.json: no image is left .*min_size"):
        len(CocoData(own, DetectionData()).train)
