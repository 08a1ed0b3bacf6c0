"""Average precision: of perfect, missing and shifted detections, equal to pycocotools called by hand."""

import contextlib
import io
import json
import os
from copy import deepcopy

import numpy as np
import pytest
import torch
from drawn_coco import annotation_file

pytest.importorskip("mmdet")
from mmengine.structures import InstanceData
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from compress.detection import evaluation
from compress.detection.evaluation import STATS, Detections, add_detections, average_precision, detect
from compress.plan import UserError


@pytest.fixture(scope="module")
def file(coco):
    return annotation_file(coco, "val2017")


def perfect(file, *, shift=0, images=None):
    """The annotated objects as detections, boxes and masks moved to the right by `shift` pixels."""
    truth = json.loads(file.read_text())
    ids = images or [image["id"] for image in truth["images"]]
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    found = Detections(list(ids))
    scores = np.random.default_rng(0).uniform(0.5, 1, len(truth["annotations"]))
    for annotation, score in zip(truth["annotations"], scores, strict=True):
        image = annotation["image_id"]
        if image not in ids:
            continue
        entry = {"image_id": image, "category_id": annotation["category_id"], "score": float(score)}
        x, y, width, height = annotation["bbox"]
        mask = rle.decode(rle.merge(rle.frPyObjects(annotation["segmentation"], *sizes[image])))
        found.boxes.append({**entry, "bbox": [x + shift, y, width, height]})
        found.masks.append({**entry, "segmentation": rle.encode(np.asfortranarray(np.roll(mask, shift, axis=1)))})
    return found


def by_hand(file, entries, kind):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(file))
        evaluation = COCOeval(truth, truth.loadRes(deepcopy(entries)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [round(100 * max(value, 0), 4) for value in evaluation.stats[:6]]


def test_perfect_detections_give_100(file):
    figures = average_precision(perfect(file), file)
    assert [figures[f"{kind}_{stat}"] for kind in ("bbox", "segm") for stat in STATS[:3]] == [100.0] * 6
    names = {name for name, own in figures["per_category"].items() if own["bbox_mAP"] is not None}
    truth = json.loads(file.read_text())
    known = {category["id"]: category["name"] for category in truth["categories"]}
    assert names == {known[annotation["category_id"]] for annotation in truth["annotations"]}
    assert all(own["bbox_mAP"] == own["segm_mAP"] for own in figures["per_category"].values())
    assert {own["bbox_mAP"] for own in figures["per_category"].values()} == {100.0, None}


def test_objects_are_numbered_from_0_or_in_any_order(file, tmp_path):
    """pycocotools takes what matches object 0 for a detection of nothing: AP would be below 100."""
    truth = json.loads(file.read_text())
    for number, annotation in enumerate(truth["annotations"]):
        annotation["id"] = number
        del annotation["iscrowd"]
    truth["annotations"].reverse()
    own = tmp_path / "instances.json"
    own.write_text(json.dumps(truth))
    assert average_precision(perfect(file), own) == average_precision(perfect(file), file)


def test_no_detections_give_0(file):
    figures = average_precision(Detections(perfect(file).image_ids), file)
    assert [figures[f"{kind}_{stat}"] for kind in ("bbox", "segm") for stat in STATS] == [0.0] * 12
    whole = average_precision(perfect(file), file)["per_category"]
    expected = {name: {k: v and 0.0 for k, v in own.items()} for name, own in whole.items()}
    assert figures["per_category"] == expected


@pytest.mark.parametrize("shift", [3, 6])
def test_shifted_detections_are_what_pycocotools_says(file, shift):
    found = perfect(file, shift=shift)
    figures = average_precision(found, file)
    for kind, entries in (("bbox", found.boxes), ("segm", found.masks)):
        assert [figures[f"{kind}_{stat}"] for stat in STATS] == by_hand(file, entries, kind)
        assert 0 < figures[f"{kind}_mAP"] < 100
    means = [own["bbox_mAP"] for own in figures["per_category"].values() if own["bbox_mAP"] is not None]
    assert np.mean(means) == pytest.approx(figures["bbox_mAP"], abs=1e-3)


def test_detections_are_not_changed_by_being_evaluated(file):
    found = perfect(file, shift=3)
    before = deepcopy(found)
    first = average_precision(found, file)
    assert found == before
    assert average_precision(found, file) == first


def test_annotations_are_parsed_once_and_again_when_they_change(file, tmp_path, monkeypatch):
    parsed = []
    coco = evaluation._coco

    class Counted(coco().COCO):
        def __init__(self, path):
            parsed.append(path)
            super().__init__(path)

    monkeypatch.setattr(evaluation, "_coco", lambda: type("M", (), {**vars(coco()), "COCO": Counted}))
    copied = tmp_path / "instances.json"
    copied.write_text(file.read_text())
    found = perfect(file)
    assert average_precision(found, copied) == average_precision(found, copied)
    assert parsed == [str(copied)]
    truth = json.loads(file.read_text())
    del truth["annotations"][::2]
    copied.write_text(json.dumps(truth))
    os.utime(copied, ns=(0, 0))
    assert average_precision(found, copied)["bbox_mAP"] < 100
    assert len(parsed) == 2


def test_only_the_images_that_were_shown_count(file):
    found = perfect(file, images=[7, 17])
    assert average_precision(found, file)["bbox_mAP"] == 100.0
    assert average_precision(Detections([7, 17, 27, 37], found.boxes, found.masks), file)["bbox_mAP"] < 100


def test_a_detector_without_masks_gets_no_figures_for_them(file):
    found = perfect(file)
    figures = average_precision(Detections(found.image_ids, found.boxes), file)
    assert figures["bbox_mAP"] == 100.0
    assert "segm_mAP" not in figures


def test_entries_are_in_cocos_terms():
    found = Detections([3])
    masks = torch.zeros(2, 10, 12, dtype=torch.bool)
    masks[0, 2:5, 1:4] = True
    instances = InstanceData(
        bboxes=torch.tensor([[1.0, 2, 4, 5], [0, 0, 12, 10]]),
        scores=torch.tensor([0.75, 0.25]),
        labels=torch.tensor([1, 0]),
        masks=masks,
    )
    add_detections(found, 3, instances, [11, 22])
    assert found.boxes[0] == {"image_id": 3, "category_id": 22, "score": 0.75, "bbox": [1, 2, 3, 3]}
    assert found.boxes[1]["category_id"] == 11
    assert [int(rle.area(entry["segmentation"])) for entry in found.masks] == [9, 0]


@pytest.mark.parametrize("key", ["bboxes", "scores"])
def test_detections_that_are_no_numbers_are_refused(key):
    odd = {"bboxes": torch.ones(2, 4), "scores": torch.ones(2), "labels": torch.tensor([0, 1])}
    odd[key] = odd[key] * torch.inf
    with pytest.raises(UserError, match=r"^image 3: the detector's boxes or scores are not finite numbers; .*rate$"):
        add_detections(Detections([3]), 3, InstanceData(**odd), [11, 22])


def test_detecting_leaves_the_network_as_it_was(network, data):
    assert not network.training
    found = detect(network, data.test)
    assert found.image_ids == [7, 17, 27, 37]
    assert len(found.boxes) == len(found.masks) > 0
    assert {entry["category_id"] for entry in found.boxes} <= set(data.test.cat_ids)
    assert detect(network, data.test) == found
    subset = data.test.get_subset([1, 3])
    assert detect(network, subset).boxes == [entry for entry in found.boxes if entry["image_id"] in (17, 37)]
    training = deepcopy(network).train()
    again = detect(training, subset)
    assert training.training
    assert again.boxes == detect(network, subset).boxes
