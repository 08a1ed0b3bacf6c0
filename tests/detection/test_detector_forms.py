"""A run's detector at another size, in a file for images that lie and one for images that stand."""

import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from drawn_coco import RECIPE, ROOT, SIZES, Silent, options_of
from run_tool import run_tool
from whole_detectors import model_section, prepared, spread

pytest.importorskip("mmdet")
pytest.importorskip("onnxruntime")
import cv2
import onnx

from compress.detection import DetectorSpace
from compress.detection.evaluation import average_precision, detect
from compress.detection.export import FORMS, DetectorGraph, any_size, compare_detections, convert
from compress.detection.files import detect_exported, evaluate_file, open_forms
from compress.detection.sizes import shown_within
from compress.export import onnx_session
from compress.export.forms import other_form
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import UserError
from compress.spaces import Card, save_model

SIZE = (96, 128)


@pytest.fixture(scope="module")
def network(config):
    """A small Faster R-CNN and its space."""
    space = DetectorSpace(num_classes=80, model=model_section(config.model.to_dict(), "faster", few=True))
    torch.manual_seed(0)
    return spread(space.build()), space


@pytest.fixture(scope="module")
def file(network, data, tmp_path_factory):
    """What `nncompress export --input-size 96 128` makes of its run, which was for 128 x 128 pixels."""
    folder = tmp_path_factory.mktemp("run")
    built, space = network
    preprocessing = {**data.preprocessing, "exif": False}
    save_model(folder / "model", built, Card(space.name, space.arch, data.classes, preprocessing))
    target = folder / "small.onnx"
    assert run_tool("export", folder, "--to", "onnx", "--input-size", *SIZE, "-o", target) == 0
    return target


@pytest.fixture
def context(config_file, coco):
    return make_context(load_recipe(RECIPE, options_of(config_file, coco)), Silent())


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("detect_onnx", ROOT / "docs/deploy/detect_onnx.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entry(path, name):
    return json.loads(next(each.value for each in onnx.load(path).metadata_props if each.key == name))


def test_names_of_the_other_form(tmp_path):
    upright = SIZE[::-1]
    for name, size, other in (
        ("m.onnx", SIZE, "m_portrait.onnx"),
        ("m_portrait.onnx", upright, "m.onnx"),
        ("m.engine", upright, "m_landscape.engine"),
        ("m_landscape.engine", SIZE, "m.engine"),
    ):
        assert other_form(tmp_path / name, size) == tmp_path / other


def test_both_files_are_of_one_network_and_tell_their_size_and_scale(file):
    files = {file: SIZE, file.with_name("small_portrait.onnx"): SIZE[::-1]}
    assert sorted(file.parent.glob("*.onnx")) == sorted(files)
    for path, size in files.items():
        how = entry(path, "preprocessing")
        assert (how["input_size"], how["scale"], how["exif"]) == ([3, *size], [128, 96], False)
        assert json.loads(next(e.value for e in onnx.load(path).metadata_props if e.key == "classes"))[0] == "person"
    assert len({entry(path, "detector")["weights_sha256"] for path in files}) == 1


def test_evaluation_finds_what_pytorch_finds_in_images_of_both_orientations(file, network, context):
    """All drawn images are padded to these very sizes in PyTorch too, so that nothing but rounding differs."""
    shown = shown_within(context.data, [128, 96])
    wanted = detect(network[0], shown)
    found = detect_exported(open_forms(file, threads=1, trust=False), shown, context)
    assert found.image_ids == wanted.image_ids
    assert len(found.boxes) == len(wanted.boxes) > 40
    for image_id, size in zip(found.image_ids, SIZES, strict=True):
        ours, theirs = (
            sorted((e["category_id"], e["score"], *e["bbox"]) for e in each.boxes if e["image_id"] == image_id)
            for each in (found, wanted)
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-2, err_msg=str(size))
    figures = evaluate_file(context, file, threads=1)
    assert figures["per_category"] == average_precision(wanted, context.data.test.ann_file)["per_category"]
    assert evaluate_file(context, other_form(file, SIZE), threads=1) == figures


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("classes", lambda value: value.reverse(), "has other classes than coco"),
        ("preprocessing", lambda value: value.update(channel_order="BGR"), "made for channel_order = BGR, .* has RGB"),
        ("preprocessing", lambda value: value.update(mean=[0.0] * 3), r"made for mean = \[0.0, 0.0, 0.0\], and"),
        ("preprocessing", lambda value: value.update(std=["1"] * 3), "metadata entry preprocessing: .*std"),
    ],
)
def test_a_file_of_other_classes_or_pixels_is_not_evaluated(file, context, tmp_path, name, change, says):
    """AP would be of other objects than the file's, or of pixels that it never saw."""
    proto = onnx.load(file)
    (own,) = (each for each in proto.metadata_props if each.key == name)
    value = json.loads(own.value)
    change(value)
    own.value = json.dumps(value)
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(UserError, match=rf"other\.onnx: {says}"):
        evaluate_file(context, tmp_path / "other.onnx", threads=1)


def test_the_script_finds_what_pytorch_finds_in_images_of_both_orientations(
    file, network, context, script, tmp_path, monkeypatch, capsys
):
    shown = shown_within(context.data, [128, 96])
    for i in range(2):  # 96 x 128, 120 x 90
        sample = shown[i]
        with torch.no_grad():
            (described,) = network[0].test_step({key: [value] for key, value in sample.items()})
        expected = described.pred_instances.numpy()
        image, out = sample["data_samples"].img_path, tmp_path / f"{i}.npz"
        monkeypatch.setattr(sys, "argv", ["detect_onnx.py", str(file), image, "--score", "0", "--masks", str(out)])
        script.main()
        assert capsys.readouterr().err == ""
        with np.load(out) as found:
            order = np.argsort(-found["scores"], kind="stable")
            assert len(order) == len(expected) > 5
            np.testing.assert_allclose(found["scores"][order], expected.scores, atol=1e-4)
            np.testing.assert_allclose(found["boxes"][order], expected.bboxes, atol=1e-2)
            assert found["labels"][order].tolist() == expected.labels.tolist()


def test_a_file_alone_and_one_beside_another_networks(file, context, script, coco, tmp_path, monkeypatch, capsys):
    """Upright images are then refused where they are judged, and made small, with a warning, by the script."""
    alone, beside = tmp_path / "small.onnx", tmp_path / "small_portrait.onnx"
    shutil.copy(file, alone)
    image = str(coco / "val2017/000000000017.png")
    monkeypatch.setattr(sys, "argv", ["detect_onnx.py", str(alone), image])
    with pytest.raises(UserError, match=r"takes images up to 96 x 128, and \S*17.png has 128 x 96; `nncompress export"):
        evaluate_file(context, alone, threads=1)
    script.main()
    assert capsys.readouterr().err == (
        f"warning: {beside} is not there, so the image of 120 x 90 is made small for {alone}\n"
    )
    other = onnx.load(other_form(file, SIZE))
    for each in other.metadata_props:
        each.value = each.value.replace(entry(file, "detector")["weights_sha256"], "0" * 64)
    onnx.save(other, beside)
    with pytest.raises(UserError, match=r"small_portrait.onnx: is not \S*small.onnx for the other orientation"):
        evaluate_file(context, alone, threads=1)
    with pytest.raises(SystemExit) as end:
        script.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {alone}: {beside} is of another network; export both again, or move it away\n"
    )


def test_a_graph_of_any_size_computes_what_that_of_its_size_does(network, data):
    """At 128 x 96 every map is padded to whole windows, in at least one direction."""
    settings = {"form": "onnxruntime", "max_detections": 20, "candidates": 2000}
    free = any_size.AnySizeGraph(any_size.free(network[0]), input_size=any_size.EXAMPLE, **settings).eval()
    for i, size in ((0, (96, 128)), (1, (128, 96)), (2, (128, 128))):
        graph = DetectorGraph(convert.prepared(network[0]), input_size=(3, *size), **settings).eval()
        given = prepared(network[0], data.test[i], size)[:2]
        with torch.inference_mode():
            for found, wanted in zip(free(*given), graph(*given), strict=True):
                torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_file_of_any_size_finds_what_pytorch_finds(file, network, context, script, tmp_path, monkeypatch, capsys):
    """It is padded as MMDetection pads: 128 x 98 pixels to 128 x 128, 73 x 128 to 96 x 128."""
    path = tmp_path / "any.onnx"
    assert run_tool("export", file.parent, "--to", "onnx", "--input-size", "any", "-o", path) == 0
    assert capsys.readouterr().out == f"ONNX: {path}\n"
    assert run_tool("export", path, "--to", "onnx", "--fp16", "-o", tmp_path / "half.onnx") == 2
    assert "fp16: this ONNX network computes its anchors, which float16 would round" in capsys.readouterr().err
    how = entry(path, "preprocessing")
    assert (how["input_size"], how["scale"], how["size_divisor"], how["exif"]) == (None, [128, 128], 32, False)
    settings = {"form": "onnxruntime", "max_detections": 20, "candidates": 2000}
    for size in ((32, 32), (32, 96)):  # torch.export was told of two steps at least
        graph = DetectorGraph(convert.prepared(network[0]), input_size=(3, *size), **settings).eval()
        images, image_size = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1)), torch.tensor([size])
        given = {"images": images, "image_size": image_size.float()}
        with torch.inference_mode():
            scores = graph(*given.values())[1]
        found = onnx_session(path).run(["scores"], {name: value.numpy() for name, value in given.items()})[0]
        assert (scores > 0).sum() > 5
        np.testing.assert_allclose(found, scores.numpy(), atol=1e-4)
    samples = [context.data.test[i] for i in range(4)]
    assert {sample["data_samples"].img_shape for sample in samples} == {(96, 128), (128, 96), (128, 98), (73, 128)}
    compared = compare_detections(network[0], path, samples)
    assert compared["n_detections"] > 40
    assert compared["max_score_diff"] < 1e-4
    figures = evaluate_file(context, path, threads=1)
    wanted = detect(network[0], context.data.test)
    assert figures["per_category"] == average_precision(wanted, context.data.test.ann_file)["per_category"]
    image, out = samples[2]["data_samples"].img_path, tmp_path / "found.npz"
    monkeypatch.setattr(sys, "argv", ["detect_onnx.py", str(path), image, "--score", "0", "--masks", str(out)])
    script.main()
    wanted_scores = [each["score"] for each in wanted.boxes if each["image_id"] == 27]
    with np.load(out) as found:
        np.testing.assert_allclose(sorted(found["scores"]), sorted(wanted_scores), atol=1e-4)


@pytest.fixture(scope="module")
def four(network, data):
    """Four images padded to 128 x 128 [4, 3, 128, 128], and their own sizes [4, 2]."""
    shown = [prepared(network[0], data.test[i], (128, 128))[:2] for i in range(4)]
    return tuple(torch.cat(parts) for parts in zip(*shown, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_four_images_of_one_call_are_found_what_each_is_found_alone(form, network, four):
    settings = {"form": form, "max_detections": 20, "candidates": 2000}
    graph = DetectorGraph(convert.prepared(network[0]), input_size=(3, 128, 128), **settings).eval()
    with torch.inference_mode():
        together = graph(*four)
        alone = [graph(images, size) for images, size in zip(*(part.split(1) for part in four), strict=True)]
    assert together[0].shape == (4, 20, 4)
    assert (together[1] > 0).sum() > 40
    assert not torch.allclose(together[1][0], together[1][1])
    for found, each in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(found, torch.cat(each), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_file_of_four_images_of_one_call(file, network, four, context, script, tmp_path):
    path = tmp_path / "four.onnx"
    arguments = ("--to", "onnx", "--input-size", 128, 128, "--batch", "4:4:4", "-o", path)
    assert run_tool("export", file.parent, *arguments) == 0
    samples = [context.data.test[i] for i in range(4)]
    assert compare_detections(network[0], path, samples)["n_unmatched"] == 0
    session = onnx_session(path)
    names = [each.name for each in session.get_outputs()]
    feed = {"images": four[0].numpy(), "image_size": four[1].numpy()}
    together = dict(zip(names, session.run(names, feed), strict=True))
    for i, sample in enumerate(samples):
        one = {name: values[[i] * 4] for name, values in feed.items()}
        for name, values in zip(names, session.run(names, one), strict=True):
            np.testing.assert_allclose(values[0], together[name][i], atol=1e-4)
        found = script.detect(session, cv2.imread(sample["data_samples"].img_path))
        assert len(found["scores"]) == int((together["scores"][i] > 0).sum())
    assert evaluate_file(context, path, threads=1)["n_images"] == 4


def test_what_is_not_exported_is_refused_in_one_line(file, tmp_path, capsys):
    run, onnx_file = (file.parent, "--to"), (file, "--to", "onnx", "--input-size")
    for arguments, says in (
        (
            (*run, "onnx", "--input-size", 100, 128),
            "--input-size 100 128: must be height and width, multiples of 32",
        ),
        ((*run, "onnx", "--input-size", 96), "--input-size 96: must be height and width, multiples of 32 up to"),
        (
            (*run, "onnx", "--input-size", "any", "--batch", "4:4:4"),
            "--batch 4: must be 1, for images of any size; give",
        ),
        ((*run, "tensorrt-rtx", "--batch", "1:2:4"), "--batch 1:2:4: a detector's file takes one number of images; gi"),
        ((*onnx_file, 96, 128), f"{file}: an ONNX file keeps its size and batch; --input-size is"),
        ((*run, "ort-int8", "--uint8-input"), f"{file.parent}: holds a detector, whose images are scaled and padded o"),
        (
            (*run, "ort-int8", "--input-size", 96, 128),
            "--to ort-int8: --input-size has a meaning for the other targets",
        ),
    ):
        assert run_tool("export", *arguments, "-o", tmp_path / "x.onnx") == 2
        assert capsys.readouterr().err.startswith(f"error: {says}")
    assert list(tmp_path.iterdir()) == []
