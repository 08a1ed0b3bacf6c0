"""COCO data: reproducible batches whoever loads them, halves, limits, and files that are refused."""

import json
import shutil
from copy import deepcopy

import numpy as np
import pytest
import torch
from drawn_coco import annotation_file

pytest.importorskip("mmdet")
from compress.detection.data import Augmented, CocoData, DetectionData, EpochLoader, evenly, halves
from compress.plan import UserError


def epoch(loader, number):
    """[(image ids, images, boxes)] of the batches of an epoch; the training pipeline flips and scales at random."""
    loader.set_epoch(number)
    return [
        (
            [sample.img_id for sample in batch["data_samples"]],
            batch["inputs"],
            [sample.gt_instances.bboxes.tensor for sample in batch["data_samples"]],
        )
        for batch in loader
    ]


def same(first, second):
    return len(first) == len(second) and all(
        a[0] == b[0] and all(torch.equal(x, y) for i in (1, 2) for x, y in zip(a[i], b[i], strict=True))
        for a, b in zip(first, second, strict=True)
    )


def loader_of(data, **options):
    return EpochLoader(data.train, **{"batch_size": 2, "seed": 3, **options})


def test_an_epoch_shows_every_image_once(data):
    seen = [i for batch in epoch(loader_of(data), 0) for i in batch[0]]
    assert sorted(seen) == [10 * i + 7 for i in range(8)]
    assert seen != sorted(seen)


def test_an_epoch_is_a_function_of_seed_and_number(data):
    loader = loader_of(data)
    first = epoch(loader, 0)
    other = epoch(loader, 1)
    np.random.random(5)  # noqa: NPY002 (what the transforms draw from)
    assert same(epoch(loader, 0), first)
    assert same(epoch(loader_of(data, num_workers=2), 0), first)
    assert not same(other, first)
    assert not same(epoch(loader_of(data, seed=4), 0), first)


def test_images_are_augmented_anew_in_every_epoch(data):
    shown = [Augmented(data.train, seed=seed)[0] for seed in range(8)]
    assert len({tuple(one["inputs"].shape) for one in shown}) > 1
    assert {one["data_samples"].flip for one in shown} == {False, True}
    images = [Augmented(data.train, seed=0)[i] for i in range(8)]
    assert {one["data_samples"].flip for one in images} == {False, True}, "each in its own way"


def test_the_torch_generator_is_left_alone(data):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    epoch(loader_of(data), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_parts_of_two_processes_are_the_batches_of_one(data):
    whole = epoch(loader_of(data, batch_size=4), 2)
    parts = [epoch(loader_of(data, batch_size=2, rank=rank, world_size=2), 2) for rank in (0, 1)]
    joined = [tuple(a[i] + b[i] for i in range(3)) for a, b in zip(*parts, strict=True)]
    assert same(joined, whole)


def test_an_incomplete_batch_is_left_out(data):
    loader = loader_of(data, batch_size=3)
    assert [len(batch[0]) for batch in epoch(loader, 0)] == [3, 3]
    assert len(loader) == 2


def test_halves_are_disjoint_and_equally_large(data):
    for n in (8, 9):
        first, second = halves(n, seed=1)
        assert len(first) == len(second) == 4
        assert not set(first) & set(second)
        assert set(first) | set(second) <= set(range(n))
    assert halves(8, seed=1) == halves(8, seed=1) != halves(8, seed=2)
    p, a = (loader_of(data, indices=half) for half in halves(8, seed=1))
    ids = [{i for batch in epoch(loader, 0) for i in batch[0]} for loader in (p, a)]
    assert [len(own) for own in ids] == [4, 4]
    assert not ids[0] & ids[1]


def test_the_limit_is_kept_and_spread_evenly(config):
    data = CocoData(config, DetectionData(limit=3, input_size=(128, 128)))
    assert [len(part) for part in (data.train, data.test, data.train_evaluation)] == [3, 3, 3]
    assert [data.train.get_data_info(i)["img_id"] for i in range(3)] == [10 * i + 7 for i in (0, 2, 5)]
    assert evenly(8, 3) == [0, 2, 5]
    assert evenly(2, 5) == [0, 1]
    assert len(CocoData(config, DetectionData(limit=50)).train) == 8


def test_training_images_are_evaluated_as_validation_images_are(data, coco):
    shown = [data.train_evaluation[0]["inputs"] for _ in range(3)]
    assert all(torch.equal(one, shown[0]) for one in shown)
    assert data.train_evaluation.ann_file == str(annotation_file(coco, "train2017"))


def test_the_card_says_how_images_come_about(data):
    assert data.preprocessing["input_size"] == [3, 128, 128]
    assert data.preprocessing["rgb"] is True
    assert data.preprocessing["mean"] == [123.675, 116.28, 103.53]
    assert len(data.classes) == 80
    assert data.classes[:2] == ("person", "bicycle")


# Bad files


@pytest.fixture
def broken(coco, config, tmp_path):
    """`broken(change, says)`: the validation annotations, changed in place, are refused with one line."""

    def check(change, says, **settings):
        root = tmp_path / "coco"
        shutil.copytree(coco, root)
        file = annotation_file(root, "val2017")
        value = json.loads(file.read_text())
        changed = change(value)
        file.write_text(changed if isinstance(changed, str) else json.dumps(value))
        with pytest.raises(UserError, match=says) as caught:
            CocoData(config, DetectionData(root=str(root), **settings))
        assert "\n" not in str(caught.value)
        shutil.rmtree(root)

    return check


def test_annotations_of_other_forms_are_refused(broken):
    for change in (lambda v: v.pop("images"), lambda v: v["images"].clear(), lambda v: "[]", lambda v: '{"images": 3}'):
        broken(change, r"data\.root: .*instances_val2017\.json: .*; give COCO's instances_")
    broken(lambda v: "{", r"instances_val2017\.json")


def test_images_that_are_missing_are_named(broken):
    broken(
        lambda v: v["images"][0].update(file_name="gone.png"), r"val2017/gone\.png is missing.*restore the val images"
    )


@pytest.mark.parametrize("mask", [None, [], "polygon", [1.0, 2.0, 3.0], {"counts": "a"}])
def test_a_mask_head_needs_masks(broken, mask):
    def change(value):
        value["annotations"][2]["segmentation"] = mask

    broken(change, r", 1 such as 3, have no 'segmentation', which the model's mask head is trained on")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda entry: entry.pop("id"), r"annotations\.1\.id is missing"),
        (lambda entry: entry.pop("area"), r"annotations\.1\.area is missing"),
        (lambda entry: entry.update(id=1), "annotations must have ids that differ"),
    ],
)
def test_what_mmdetection_reads_of_an_object_is_there(broken, change, says):
    broken(lambda value: change(value["annotations"][1]), says)


def test_the_number_of_categories_is_the_heads(broken):
    broken(lambda v: v["categories"].pop(), r"has 79 categories, the model's heads have 80; set num_classes")


def test_the_names_of_categories_are_the_data_sets_in_its_order(broken):
    """MMDetection would drop a category of another name, and give labels in the file's order."""
    broken(
        lambda v: v["categories"][1].update(name="bike"),
        r"category 2 of .*val2017\.json is 'bike', the config's data set has 'bicycle' there; set metainfo\.classes",
    )
    broken(lambda v: v["categories"].reverse(), r"category 1 of .* is 'toothbrush', .*'person'")


def test_classes_of_the_config_are_taken(coco, config, tmp_path):
    root = tmp_path / "coco"
    shutil.copytree(coco, root)
    for part in ("train2017", "val2017"):
        file = annotation_file(root, part)
        value = json.loads(file.read_text())
        for category in value["categories"]:
            category["name"] = category["name"].upper()
        file.write_text(json.dumps(value))
    own = deepcopy(config)
    for part in ("train_dataloader", "val_dataloader"):
        own[part].dataset.metainfo = {"classes": [category["name"] for category in value["categories"]]}
    data = CocoData(own, DetectionData(root=str(root)))
    assert data.classes[0] == "PERSON"
    assert len(data.train) == 8
    assert len(data.train[0]["data_samples"].gt_instances) == 3


def test_a_folder_or_kind_that_is_not_there(config, tmp_path):
    with pytest.raises(UserError, match=r"data\.root: .*instances_train2017\.json, the train annotations, is missing"):
        CocoData(config, DetectionData(root=str(tmp_path)))
    other = deepcopy(config)
    other.val_dataloader.dataset.type = "LVISV1Dataset"
    with pytest.raises(UserError, match=r"its val_dataloader reads a 'LVISV1Dataset'; only CocoDataset"):
        CocoData(other, DetectionData())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"limit": 1}, "limit = 1: must be a whole number of at least 2"),
        ({"watch": -1}, "watch = -1: must be a whole number of at least 0"),
        ({"num_workers": -1}, "num_workers = -1"),
        ({"input_size": (100, 128)}, r"input_size = \(100, 128\): sides must be multiples of 32"),
        ({"input_size": (0, 128)}, r"input_size\[0\] = 0: must be a whole number of at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, says):
    with pytest.raises(UserError, match=says):
        DetectionData(**settings)
