"""Pictures of what detectors find, how far two detectors agree, and the AP of every category."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mmdet")

from compress.detection.drawing import SIDE, Detection, colour, draw_detections
from compress.detection.evaluation import Detections, add_detections, average_precision
from compress.detection.pictures import coinciding, write_categories, write_predictions

CLASSES = ("person", "hair drier", "cat")
GREY = (120, 120, 120)
CAT_IDS = [1, 89, 17]


def picture(detections, *, size=(160, 120), **options):
    """The drawn picture of a grey image as an array [H, W, 3]."""
    return np.asarray(draw_detections(Image.new("RGB", size, GREY), detections, CLASSES, **options)).astype(int)


def pixels(drawn, rgb):
    return int((drawn == rgb).all(-1).sum())


def test_box_and_mask_have_the_colour_of_the_class_and_the_rest_of_the_image_stays():
    mask = np.zeros((120, 160), dtype=bool)
    mask[60:100, 40:120] = True
    drawn = picture([Detection((40, 50, 120, 110), 2, 0.9, mask)])
    assert drawn.shape == (480, SIDE, 3)
    assert (drawn[4 * 80, 160 + 1 : 160 + 4] == colour(2)).all()
    expected = 0.55 * np.array(GREY) + 0.45 * np.array(colour(2))
    assert np.abs(drawn[4 * 80, 4 * 80] - expected).max() <= 1
    outside = [drawn[:170], drawn[450:], drawn[:, :150], drawn[:, 490:], drawn[210:235, 170:470]]
    assert all((part == GREY).all() for part in outside)


def test_colours_of_80_classes_differ_and_no_class_is_grey():
    found = np.array([colour(label) for label in range(80)])
    distances = np.abs(found[:, None] - found).sum(-1) + 1000 * np.eye(80)
    assert distances.min() >= 12
    assert distances[:12, :12].min() >= 60
    assert (found.max(1) - found.min(1)).min() > 60


@pytest.mark.parametrize("x", [-9, 0, 159, 200])
@pytest.mark.parametrize("y", [-9, 0, 60, 119, 200])
def test_names_are_whole_wherever_the_box_is(x, y):
    whole = pixels(picture([Detection((500, 60, 501, 61), 1, 0.5)]), colour(1))  # of the box itself nothing is seen
    found = pixels(picture([Detection((x, y, x + 1, y + 1), 1, 0.5)]), colour(1))
    assert whole > 900
    assert whole - 30 <= found <= whole + 140


def test_names_of_boxes_in_the_same_place_do_not_cover_each_other():
    box = (40.0, 40.0, 90.0, 90.0)
    alone = [pixels(picture([Detection(box, label, 0.5)]), colour(label)) for label in range(3)]
    together = picture([Detection(box, label, 0.5 + 0.1 * label) for label in range(3)])
    outline = 4 * (4 * 50) * 3  # of the lower two boxes nothing but the names is left
    for label, n in enumerate(alone):
        assert pixels(together, colour(label)) > n - outline - 200
    assert min(pixels(together, colour(label)) for label in range(3)) > 800


@pytest.mark.parametrize(("size", "shape"), [((1600, 1200), (480, 640)), ((30, 60), (640, 320)), ((900, 5), (4, 640))])
def test_every_picture_has_the_same_longer_side(size, shape):
    drawn = picture([Detection((0, 0, *size), 0, 0.5)], size=size, remark="nothing")
    assert drawn.shape[:2] == shape


def test_remark_stands_along_the_lower_edge_only():
    drawn = picture([], remark="nothing found")
    assert (drawn[:440] == GREY).all()
    assert pixels(drawn, (255, 255, 255)) > 50
    assert (picture([]) == GREY).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_images_of_any_mode_are_drawn_on(mode):
    drawn = draw_detections(Image.new(mode, (64, 48)), [Detection((5, 5, 40, 40), 0, 0.5)], CLASSES)
    assert (drawn.mode, drawn.size) == ("RGB", (640, 480))


def test_coinciding_detections_are_of_one_class_overlap_by_half_and_count_once():
    box = Detection((0, 0, 100, 100), 0, 0.9)
    assert coinciding([box], [Detection((0, 0, 100, 51), 0, 0.4)]) == 1
    assert coinciding([box], [Detection((0, 0, 100, 50), 0, 0.4)]) == 0  # an IoU of 0.5 is not above it
    assert coinciding([box], [Detection((0, 0, 100, 100), 1, 0.9)]) == 0
    assert coinciding([box, box], [box]) == coinciding([box], [box, box]) == 1
    assert coinciding([box], []) == coinciding([], [box]) == coinciding([], []) == 0
    assert coinciding([Detection((5, 5, 5, 5), 0, 0.9)], [Detection((5, 5, 5, 5), 0, 0.9)]) == 0
    near, far = Detection((0, 0, 100, 90), 0, 0.5), Detection((0, 20, 100, 120), 0, 0.6)
    assert coinciding([box, far], [near, Detection((0, 30, 100, 130), 0, 0.5)]) == 2


class Scripted(torch.nn.Module):
    """A detector that finds what `script` says: {image id: [(box, label, score)]}, with the boxes' areas as masks."""

    def __init__(self, script):
        super().__init__()
        self.script = script

    def test_step(self, batch):
        from mmdet.structures import DetDataSample

        samples = []
        for given in batch["data_samples"]:
            found = DetDataSample(metainfo=given.metainfo)
            found.pred_instances = instances(self.script.get(given.img_id, []), given.ori_shape)
            samples.append(found)
        return samples


def instances(entries, shape):
    """MMDetection's instances of [(box, label, score)] in an image of (height, width)."""
    from mmengine.structures import InstanceData

    masks = torch.zeros(len(entries), *shape, dtype=torch.bool)
    for mask, (box, _, _) in zip(masks, entries, strict=True):
        mask[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
    boxes = torch.tensor([box for box, _, _ in entries], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([label for _, label, _ in entries], dtype=torch.long)
    return InstanceData(bboxes=boxes, labels=labels, scores=torch.tensor([score for *_, score in entries]), masks=masks)


CAT, DRIER = (10, 10, 60, 60), (70, 20, 110, 80)


@pytest.fixture
def dataset(tmp_path):
    """Instances file and MMDetection's data set of four grey images: each has a cat, a hair drier and a crowd."""
    from mmdet.datasets import CocoDataset
    from mmengine.registry import DefaultScope

    annotations = []
    for image in range(1, 5):
        Image.new("RGB", (120, 100), GREY).save(tmp_path / f"{image:04}.jpg")
        for category, box, crowd in ((17, CAT, 0), (89, DRIER, 0), (1, (0, 80, 120, 100), 1)):
            x, y, right, lower = box
            corners = [x, y, right, y, right, lower, x, lower]
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": category, "iscrowd": crowd}
            entry |= {"bbox": [x, y, right - x, lower - y], "area": (right - x) * (lower - y)}
            annotations.append({**entry, "segmentation": [corners]})
    images = [{"id": i, "file_name": f"{i:04}.jpg", "height": 100, "width": 120} for i in range(1, 5)]
    categories = [{"id": i, "name": name} for i, name in zip(CAT_IDS, CLASSES, strict=True)]
    file = tmp_path / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    with DefaultScope.overwrite_default_scope("mmdet"):
        return CocoDataset(
            ann_file=str(file),
            data_prefix={"img": str(tmp_path)},
            metainfo={"classes": CLASSES},
            pipeline=[{"type": "LoadImageFromFile"}, {"type": "PackDetInputs"}],
            test_mode=True,
        )


def test_predictions_are_drawn_counted_and_compared(dataset, tmp_path):
    before = Scripted({i: [(CAT, 2, 0.9), (DRIER, 1, 0.8), ((0, 0, 20, 20), 0, 0.2)] for i in range(1, 5)})
    after = Scripted({1: [(CAT, 2, 0.7), (DRIER, 2, 0.6)]})
    run = tmp_path / "run"
    written = write_predictions(run, before, after, dataset, n=2)
    assert written == json.loads((run / "predictions.json").read_text())
    assert [image["image"] for image in written["images"]] == ["0001.jpg", "0003.jpg"]
    first, second = written["images"]
    assert (first["objects"], first["coincide"], second["coincide"]) == (2, 1, 0)
    file = "predictions/0001_after.jpg"
    assert first["after"] == {"file": file, "detections": 2, "correct": 1}
    assert [second[side]["detections"] for side in ("before", "after")] == [2, 0]
    files = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    assert files == [
        "predictions.json",
        *sorted(image[s]["file"] for image in (first, second) for s in ("after", "before")),
    ]
    shown = {path: np.asarray(Image.open(run / path).convert("RGB")).astype(int) for path in files[1:]}
    assert all(image.shape == (533, 640, 3) for image in shown.values())
    empty = shown["predictions/0003_after.jpg"]  # says that nothing was found
    assert np.abs(empty[:490] - GREY).max() < 8
    assert empty[-10:].mean() < 60
    inside = shown[file][4 * 45, 5 * 45]  # of the cat's mask
    assert np.abs(inside - (0.55 * np.array(GREY) + 0.45 * np.array(colour(2)))).max() < 12


def test_images_are_drawn_as_the_pipeline_reads_them(dataset, tmp_path):
    """Boxes and masks are of pixels as they are stored where EXIF is left aside."""
    orientation = Image.Exif()
    orientation[0x0112] = 6
    for path in tmp_path.glob("*.jpg"):
        Image.open(path).save(path, exif=orientation)
    network = Scripted({1: [(CAT, 2, 0.5)]})
    for color_type, size in (
        ("color", (533, 640)),
        ("color_ignore_orientation", (640, 533)),
        ("unchanged", (640, 533)),
    ):
        dataset.pipeline.transforms[0].color_type = color_type
        image = write_predictions(tmp_path / color_type, network, network, dataset, n=1)["images"][0]
        assert Image.open(tmp_path / color_type / image["before"]["file"]).size == size


def test_training_images_follow_where_they_are_given(dataset, tmp_path):
    network = Scripted({1: [(CAT, 2, 0.5)]})
    images = write_predictions(tmp_path, network, network, dataset, training=dataset, n=2)["images"]
    assert [(image["image"], image["training"]) for image in images] == [
        ("0001.jpg", False), ("0003.jpg", False), ("0001.jpg", True), ("0003.jpg", True),
    ]  # fmt: skip
    files = {image[side]["file"] for image in images for side in ("before", "after")}
    assert len(files) == 8
    assert all((tmp_path / file).is_file() for file in files)


def test_threshold_decides_what_is_shown(dataset, tmp_path):
    network = Scripted({1: [(CAT, 2, 0.5), (DRIER, 1, 0.25)]})
    counts = [
        write_predictions(tmp_path / "run", network, network, dataset, n=1, threshold=threshold)["images"][0][
            "coincide"
        ]
        for threshold in (0.2, 0.3, 0.5)
    ]
    assert counts == [2, 1, 0]


def test_two_runs_of_one_detector_coincide_in_everything(network, data, tmp_path):
    images = write_predictions(tmp_path, network, network, data.test, n=3, threshold=0.0)["images"]
    assert [image["objects"] for image in images] == [3, 3, 3]
    for image in images:
        assert image["before"]["detections"] == image["after"]["detections"] == image["coincide"] > 0
        before, after = ((tmp_path / image[side]["file"]).read_bytes() for side in ("before", "after"))
        assert before == after


def found(dataset, script):
    """AP of every category of what `script` finds in the data set's images."""
    detections = Detections([])
    for image in range(1, 5):
        detections.image_ids.append(image)
        add_detections(detections, image, instances(script.get(image, []), (100, 120)), CAT_IDS)
    return average_precision(detections, dataset.ann_file)["per_category"]


def test_categories_before_and_after_with_the_worst_change_first(dataset, tmp_path):
    full = found(dataset, {i: [(CAT, 2, 0.9), (DRIER, 1, 0.8)] for i in range(1, 5)})
    half = found(dataset, {i: [(CAT, 2, 0.9)] + [(DRIER, 1, 0.8)] * (i < 3) for i in range(1, 5)})
    written = write_categories(tmp_path, full, half, dataset)
    assert written == json.loads((tmp_path / "categories.json").read_text())
    assert written["images"] == 4
    drier, cat, person = written["categories"]
    assert [row["name"] for row in written["categories"]] == ["hair drier", "cat", "person"]
    assert (drier["objects"], cat["objects"], person["objects"]) == (4, 4, 0)
    assert drier["bbox_mAP"]["before"] == drier["segm_mAP"]["before"] == pytest.approx(100)
    assert drier["bbox_mAP"]["after"] == pytest.approx(51 / 101 * 100, abs=0.01)  # recall ends at a half
    assert cat["bbox_mAP"] == pytest.approx({"before": 100, "after": 100})
    assert person["bbox_mAP"] == person["segm_mAP"] == {"before": None, "after": None}


def test_a_network_that_finds_nothing_has_an_ap_of_zero_where_there_are_objects(dataset, tmp_path):
    full = found(dataset, {i: [(CAT, 2, 0.9)] for i in range(1, 5)})
    rows = {row["name"]: row for row in write_categories(tmp_path, full, found(dataset, {}), dataset)["categories"]}
    assert rows["cat"]["segm_mAP"] == {"before": pytest.approx(100), "after": 0.0}
    assert rows["hair drier"]["bbox_mAP"] == {"before": 0.0, "after": 0.0}
    assert rows["person"]["bbox_mAP"]["after"] is None
