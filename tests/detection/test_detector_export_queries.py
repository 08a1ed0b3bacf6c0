"""DINO and Deformable DETR: the graph equals MMDetection's predict, with and without padding, and so does the file."""

import pytest
import torch
from whole_detectors import neck_maps, prepared, query_detector

pytest.importorskip("mmdet")
pytest.importorskip("onnxruntime")

from compress.detection.export import QueryGraph, compare_detections, export_detector
from compress.plan import UserError

SIZE = (3, 128, 128)
TWO_STAGE = {"with_box_refine": True, "as_two_stage": True, "width": 256}
"""Of no other width: MMDetection's proposals are embedded in so many numbers."""
KINDS = [
    ("DINO", {}),
    ("DeformableDETR", {}),
    ("DeformableDETR", {"with_box_refine": True}),
    ("DeformableDETR", TWO_STAGE),
]
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


@pytest.fixture(scope="module")
def samples(data):
    return [data.test[i] for i in range(len(data.test))]


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_the_graph_is_mmdetections_predict(kind, more, samples):
    network = query_detector(kind, **more)
    graph = QueryGraph(network, input_size=SIZE, form="plugin-free", max_detections=20, candidates=1).eval()
    shapes = set()
    for sample in samples:
        images, image_size, described = prepared(network, sample, SIZE[1:])
        described[0].set_metainfo({"batch_input_shape": SIZE[1:]})
        shapes.add(tuple(described[0].img_shape))
        with torch.no_grad():
            expected = network.predict(images, described, rescale=False)[0].pred_instances
            boxes, scores, labels = (output[0] for output in graph(images, image_size))
        torch.testing.assert_close(boxes, expected.bboxes, rtol=0, atol=1e-3)
        torch.testing.assert_close(scores, expected.scores, rtol=0, atol=1e-5)
        assert torch.equal(labels, expected.labels)
        assert len(scores.unique()) == 20
    assert len(shapes) > 1


def test_an_image_that_fills_the_input_has_no_padding():
    network = query_detector("DINO")
    graph = QueryGraph(network, input_size=(3, 64, 64), form="onnxruntime", max_detections=20, candidates=1).eval()
    from mmdet.structures import DetDataSample

    described = DetDataSample(metainfo={"batch_input_shape": (64, 64), "img_shape": (64, 64)})
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.predict(images, [described], rescale=False)[0].pred_instances
        _, scores, _ = graph(images, torch.tensor([[64.0, 64.0]]))
    torch.testing.assert_close(scores[0], expected.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("DeformableDETR", {"layers": 1}),
        pytest.param("DINO", {}, marks=pytest.mark.slow),
        pytest.param("DeformableDETR", TWO_STAGE, marks=pytest.mark.slow),
    ],
)
def test_the_file_detects_what_mmdetection_detects(kind, more, samples, tmp_path):
    network = query_detector(kind, **more)
    file = export_detector(network, tmp_path / "m.onnx", input_size=SIZE, form="plugin-free")
    entry = compare_detections(network, file, samples)
    assert entry["n_detections"] == 80
    assert entry["n_unmatched"] == 0
    assert entry["max_score_diff"] < 1e-4
    told, maps = neck_maps(file, network)
    assert told == maps


def test_what_is_not_computed_is_refused_in_one_line(tmp_path):
    network = query_detector("DeformableDETR")
    network.bbox_head.loss_cls.use_sigmoid = False
    with pytest.raises(UserError, match=r"loss_cls\.use_sigmoid = False: is not exported; set it to True"):
        export_detector(network, tmp_path / "m.onnx", input_size=SIZE)
    assert not list(tmp_path.iterdir())
