"""One-stage detectors: the graph of every head equals MMDetection's predict, and so does its file."""

import onnx
import pytest
import torch
from whole_detectors import DENSE_HEADS, dense_detector, halved, neck_maps, prepared

pytest.importorskip("mmdet")
pytest.importorskip("onnxruntime")

from compress.detection.export import FORMS, DenseGraph, compare_detections, export_detector
from compress.detection.export.timing import TimedDetector
from compress.plan import UserError

SIZE = (3, 128, 128)
EXPORTED = {
    "RetinaNet": "onnxruntime",
    "ATSS": "onnxruntime",
    "FCOS": "plugin-free",
    "GFL": "plugin-free",
    "RTMDet": "plugin-free",
}
ALIKE = ("ATSS", "GFL", "RTMDet")
"""Whose files take as long as the others', and whose graphs are compared anyway."""
NEED_PLUGINS = {"NonMaxSuppression", "RoiAlign", "NonZero", "Loop", "If", "Scan", "ScatterND", "ScatterElements"}
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


@pytest.fixture(scope="module")
def samples(data):
    return [data.test[i] for i in range(len(data.test))]


@pytest.mark.parametrize("kind", DENSE_HEADS)
def test_the_graph_is_mmdetections_predict(kind, samples):
    network = halved(dense_detector(kind), samples, SIZE[1:])
    sizes = {"input_size": SIZE, "max_detections": 20, "candidates": 2000}
    graphs = {form: DenseGraph(network, form=form, **sizes).eval() for form in FORMS}
    found = 0
    for sample in samples:
        images, image_size, described = prepared(network, sample, SIZE[1:])
        with torch.no_grad():
            expected = network.predict(images, described, rescale=False)[0].pred_instances
            count = len(expected)
            for graph in graphs.values():
                boxes, scores, labels = (output[0] for output in graph(images, image_size))
                torch.testing.assert_close(boxes[:count], expected.bboxes, rtol=0, atol=1e-3)
                torch.testing.assert_close(scores[:count], expected.scores, rtol=0, atol=1e-6)
                assert torch.equal(labels[:count], expected.labels)
                assert all(output[count:].eq(0).all() for output in (boxes, scores, labels + 1))
        found += count
    assert found > 10


@pytest.mark.parametrize(
    ("kind", "form"),
    [pytest.param(*each, marks=pytest.mark.slow if each[0] in ALIKE else ()) for each in EXPORTED.items()],
)
def test_the_file_detects_what_mmdetection_detects(kind, form, samples, tmp_path):
    network = halved(dense_detector(kind), samples, SIZE[1:])
    file = export_detector(network, tmp_path / "m.onnx", input_size=SIZE, form=form)
    entry = compare_detections(network, file, samples)
    assert entry["n_detections"] > 10
    assert entry["n_unmatched"] == 0
    assert entry["max_box_diff"] < 1e-2
    assert entry["max_score_diff"] < 1e-4
    told, maps = neck_maps(file, network)
    assert told == maps
    if form == "plugin-free":
        assert not {node.op_type for node in onnx.load(file).graph.node} & NEED_PLUGINS


def test_a_detector_without_rois_is_timed_whole():
    network = dense_detector("FCOS")
    timed = TimedDetector(network, SIZE)
    with torch.no_grad():
        maps = network.extract_feat(torch.ones(1, *SIZE))
        output = timed(torch.ones(1, *SIZE))
    torch.testing.assert_close(output[:, :-1], torch.cat([level.mean((2, 3)) for level in maps], 1))
    assert output[0, -1] > 0


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("FCOS", {"nms": {"type": "soft_nms", "iou_threshold": 0.5}}, "test_cfg.nms = .*soft_nms"),
        ("FCOS", {"nms_pre": 5000}, "nms_pre = 5000: must be a whole number from 1 to 3840"),
        ("GFL", {"nms_pre": -1}, "nms_pre = -1: must be a whole number from 1"),
        ("GFL", {"score_thr": -1.0}, "test_cfg.score_thr = -1.0"),
    ],
)
def test_what_is_not_computed_is_refused_in_one_line(kind, change, words, tmp_path):
    network = dense_detector(kind, **change)
    with pytest.raises(UserError, match=words) as caught:
        export_detector(network, tmp_path / "m.onnx", input_size=SIZE, form="plugin-free")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_other_heads_and_scores_that_are_no_sigmoid_are_refused(tmp_path):
    network = dense_detector("RetinaNet")
    for change, words in (
        (lambda: setattr(network.bbox_head, "use_sigmoid_cls", False), "loss_cls.use_sigmoid = False"),
        (lambda: setattr(network, "bbox_head", torch.nn.Conv2d(1, 1, 1)), "bbox_head: Conv2d is not exported; use Ret"),
    ):
        change()
        with pytest.raises(UserError, match=words):
            export_detector(network, tmp_path / "m.onnx", input_size=SIZE)
    assert not list(tmp_path.iterdir())
