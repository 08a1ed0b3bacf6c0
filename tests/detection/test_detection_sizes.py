"""Sizes of images and of exported detectors: what does not fit is known before anything is trained."""

from copy import deepcopy

import pytest
from drawn_coco import RECIPE, SIZES, Silent, options_of
from run_tool import run_tool

pytest.importorskip("mmdet")
from compress.detection.data import CocoData, DetectionData
from compress.detection.sizes import check_fitting, fits, padded_size, scale_of, shown_size
from compress.export.forms import orientation
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.spaces import Card, save_model

RESIZES = (
    [{"type": "Resize", "scale": (128, 96), "keep_ratio": True}],
    [{"type": "Resize", "scale": (64, 48), "keep_ratio": False}],
    [{"type": "FixScaleResize", "scale": (133, 80), "keep_ratio": True}],
    [{"type": "ResizeShortestEdge", "scale": 70, "max_size": 90}],
    [{"type": "Resize", "scale_factor": 0.7, "keep_ratio": True}, {"type": "Pad", "size_divisor": 32}],
)


@pytest.mark.parametrize("steps", RESIZES, ids=lambda steps: "-".join(step["type"] for step in steps))
def test_sizes_are_what_the_test_pipeline_makes(steps, config):
    changed = deepcopy(config)
    load, _, *rest = changed.val_dataloader.dataset.pipeline
    changed.val_dataloader.dataset.pipeline = [load, *steps, *rest]
    dataset = CocoData(changed, DetectionData(input_size=(128, 128))).test
    samples = [dataset[i]["data_samples"] for i in range(len(dataset))]
    assert {sample.ori_shape for sample in samples} == set(SIZES)
    assert [shown_size(dataset, sample.ori_shape) for sample in samples] == [sample.img_shape for sample in samples]


def test_a_size_and_its_other_form():
    assert [padded_size(*size) for size in ((96, 98), (1, 64))] == [(96, 128), (32, 64)]
    assert [orientation(size) for size in ((96, 128), (128, 96), (64, 64))] == ["landscape", "portrait", "landscape"]
    assert fits((128, 90), (96, 128))
    assert not fits((97, 97), (96, 128))
    assert [scale_of(steps) for steps in RESIZES] == [[128, 96], None, None, None, None]


def test_validation_images_that_do_not_fit_are_refused_before_anything_is_trained(
    network, space, data, config_file, coco, tmp_path, capsys
):
    """Of the drawn images 101 x 77 becomes 128 x 98. A checkpoint's own input size does not count: none learns it."""
    before = tmp_path / "before"
    preprocessing = {**data.preprocessing, "input_size": [3, 64, 64]}
    save_model(before / "model", network, Card(space.name, space.arch, data.classes, preprocessing))
    work, options = tmp_path / "work", options_of(config_file, coco, "data.input_size=[96,128]")
    arguments = ("--checkpoint", before, "--pruning-ratio", 0.2, "--work-dir", work, "--cfg-options", *options)
    assert run_tool("prune", RECIPE, *arguments) == 2
    assert capsys.readouterr().err == (
        "error: recipe: data.input_size = (96, 128): 1 of 4 validation images are larger after the config's test "
        "pipeline, such as 000000000027.png with 128 x 98; set it to [128, 128], which takes all of them in either "
        "orientation\n"
    )
    assert not work.exists()
    fitting = load_recipe(RECIPE, options_of(config_file, coco, "data.input_size=[128,160]"))
    context = make_context(fitting, Silent(), checkpoint=str(before))
    check_fitting(context.data)
    assert context.baseline[1] == space
