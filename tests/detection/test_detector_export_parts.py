"""The graph of a whole detector before it is a file: its steps equal MMDetection's and torchvision's, one by one."""

import pytest
import torch
from whole_detectors import KINDS, detector, halved, prepared

pytest.importorskip("mmdet")
from torchvision.ops import nms

from compress.detection.export import FORMS, DetectorGraph, export_detector
from compress.detection.export.boxes import decode
from compress.detection.export.roi_align import Pooling, pool_by_level, pool_from_atlas
from compress.detection.export.suppression import ROUNDS, suppress_by_rounds, suppress_in_turn
from compress.plan import UserError

SIZE = (3, 128, 128)


def clustered(n, clusters, spread, *, groups=1, size=512):
    """[groups, n, 4]: boxes around a few centres, in random order."""
    generator = torch.Generator().manual_seed(n + clusters)
    centres = torch.rand(groups, clusters, 2, generator=generator) * size
    sides = torch.rand(groups, clusters, 2, generator=generator) * size / 4 + 8
    which = torch.randint(clusters, (groups, n, 1), generator=generator).expand(-1, -1, 2)
    side = sides.gather(1, which)
    centre = centres.gather(1, which) + torch.randn(groups, n, 2, generator=generator) * spread * side
    half = side * (torch.randn(groups, n, 2, generator=generator) * spread).exp() / 2
    return torch.cat([centre - half, centre + half], -1)


def greedy(boxes_N4, threshold):
    """torchvision's result as bool [N]; boxes are sorted."""
    kept = nms(boxes_N4, torch.arange(len(boxes_N4), 0, -1).float(), threshold)
    return torch.zeros(len(boxes_N4), dtype=torch.bool).index_fill(0, kept, True)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(("clusters", "spread"), [(1, 0.05), (3, 0.2), (20, 0.4), (200, 0.1)])
def test_both_suppressions_are_torchvisions_on_clustered_boxes(clusters, spread, threshold):
    boxes = clustered(400, clusters, spread, groups=2)
    expected = torch.stack([greedy(group, threshold) for group in boxes])
    assert 0 < expected.sum() < expected.numel()
    assert torch.equal(suppress_by_rounds(boxes, threshold), expected)
    assert torch.equal(suppress_in_turn(boxes, threshold), expected)


@pytest.mark.slow
def test_two_thousand_boxes_of_one_cluster_are_suppressed_exactly():
    boxes = clustered(2000, 1, 0.4)
    assert torch.equal(suppress_by_rounds(boxes, 0.5)[0], greedy(boxes[0], 0.5))


def chain(links):
    """[1, links + 1, 4]: each box overlaps only its neighbours by more than a half."""
    start = torch.arange(links + 1.0) * 3
    return torch.stack([start, torch.zeros_like(start), start + 10, torch.full_like(start, 10.0)], 1).unsqueeze(0)


def test_a_chain_needs_as_many_rounds_as_it_has_links_and_too_few_keep_too_many_or_too_few():
    boxes, links = chain(40), 40
    expected = greedy(boxes[0], 0.5)
    assert torch.equal(expected, torch.arange(links + 1) % 2 == 0)  # every second box stays
    assert torch.equal(suppress_by_rounds(boxes, 0.5, rounds=links)[0], expected)
    for rounds in (ROUNDS, ROUNDS + 1):
        kept = suppress_by_rounds(boxes, 0.5, rounds=rounds)[0]
        assert torch.equal(kept[: rounds + 1], expected[: rounds + 1])
        surplus = kept.int() - expected.int()
        assert (surplus >= 0).all() if rounds % 2 == 0 else (surplus <= 0).all()
        assert surplus.any()


def test_boxes_without_area_neither_suppress_nor_are_suppressed():
    boxes = torch.tensor([[[5.0, 5, 5, 9], [0, 0, 10, 10], [5, 5, 5, 9], [0, 0, 10, 10]]])
    for suppress in (suppress_by_rounds, suppress_in_turn):
        assert suppress(boxes, 0.5).tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("clip", [True, False])
def test_decoding_is_mmdetections_to_the_bit(clip):
    from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

    coder = DeltaXYWHBBoxCoder(target_means=(0.0, 0.1, 0.0, 0.2), target_stds=(0.1, 0.1, 0.2, 0.2), clip_border=clip)
    priors = clustered(500, 9, 0.5)[0]
    deltas = torch.randn(500, 4, generator=torch.Generator().manual_seed(1)) * 12  # some beyond the largest ratio
    found = decode(priors, deltas, coder, torch.tensor([[300.0, 400.0]]))
    assert torch.equal(found, coder.decode(priors, deltas, max_shape=(300, 400)))


def pyramid(size=256, channels=8):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(1, channels, size // stride, size // stride, generator=generator) for stride in (4, 8, 16, 32)]


def extractor(ratio, *, aligned=True, size=7):
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    layer = {"type": "RoIAlign", "output_size": size, "sampling_ratio": ratio, "aligned": aligned}
    return SingleRoIExtractor(roi_layer=layer, out_channels=8, featmap_strides=[4, 8, 16, 32], finest_scale=28)


def awkward_boxes():
    """Of all levels; some reach over the border, some have no area."""
    boxes = torch.cat([clustered(60, 30, 0.3, size=250)[0], torch.tensor([[0.0, 0, 256, 256], [-30, -40, 500, 300]])])
    return torch.cat(
        [boxes, torch.tensor([[0.0, 0, 0, 0], [20, 30, 170, 180], [255.9, 10, 256, 60], [250, 250, 290, 290]])]
    )


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2, 3])
def test_pooling_by_level_is_mmdetections_to_the_bit(ratio, aligned):
    layers, boxes = extractor(ratio, aligned=aligned), awkward_boxes()
    pooling = Pooling.of(layers)
    assert set(pooling.levels(boxes).tolist()) == {0, 1, 2, 3}
    expected = layers(pyramid(), torch.cat([torch.zeros(len(boxes), 1), boxes], 1))
    assert torch.equal(pool_by_level(pyramid(), boxes, pooling), expected)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("ratio", "size"), [(2, 7), (3, 7), (2, (14, 6))])
def test_pooling_from_the_atlas_is_the_same_up_to_rounding(ratio, size, aligned):
    layers, boxes = extractor(ratio, aligned=aligned, size=size), awkward_boxes()
    expected = layers(pyramid(), torch.cat([torch.zeros(len(boxes), 1), boxes], 1))
    assert expected.shape[2:] == (size if isinstance(size, tuple) else (size, size))
    torch.testing.assert_close(pool_from_atlas(pyramid(), boxes, Pooling.of(layers)), expected, rtol=0, atol=1e-4)


def test_the_atlas_takes_two_samples_where_the_config_has_as_many_as_needed():
    boxes = awkward_boxes()
    adaptive, fixed = (pool_from_atlas(pyramid(), boxes, Pooling.of(extractor(ratio))) for ratio in (0, 2))
    assert torch.equal(adaptive, fixed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_is_mmdetections_predict(kind, config, data):
    samples = [data.test[i] for i in range(len(data.test))]
    network = halved(detector(config.model.to_dict(), kind), samples, SIZE[1:])
    sizes = {"input_size": SIZE, "max_detections": 20, "candidates": 2000}
    graphs = {form: DetectorGraph(network, form=form, **sizes).eval() for form in FORMS}
    found = []
    for sample in samples:
        images, image_size, described = prepared(network, sample, SIZE[1:])
        with torch.no_grad():
            expected = network.predict(images, described, rescale=False)[0].pred_instances
            count = len(expected)
            found.append(count)
            for form, graph in graphs.items():
                boxes, scores, labels, *masks = (output[0] for output in graph(images, image_size))
                exact = {"rtol": 0, "atol": 0 if form == "onnxruntime" else 1e-3}
                torch.testing.assert_close(boxes[:count], expected.bboxes, **exact)
                torch.testing.assert_close(scores[:count], expected.scores, **exact)
                assert torch.equal(labels[:count], expected.labels)
                assert all(output[count:].eq(0).all() for output in (boxes, scores, labels + 1))
                assert len(masks) == ("mask" in kind)
                assert all(mask.shape == (20, 28, 28) and mask[count:].eq(0).all() for mask in masks)
    assert min(found) > 0, found
    assert len(set(found)) > 1, found


def test_fewer_candidates_change_nothing_while_enough_detections_are_left(config, data):
    network = detector(config.model.to_dict())
    images, image_size, _ = prepared(network, data.test[0], SIZE[1:])
    answers = []
    for candidates in (200, 2000):
        sizes = {"input_size": SIZE, "max_detections": 5, "candidates": candidates}
        with torch.no_grad():
            answers.append(DetectorGraph(network, form="plugin-free", **sizes).eval()(images, image_size))
    assert answers[0][1].gt(0).all()
    assert all(torch.equal(few, many) for few, many in zip(*answers, strict=True))


def refused(change, words, config, tmp_path, **options):
    network = detector(config.model.to_dict())
    change(network)
    with pytest.raises(UserError, match=words) as caught:
        export_detector(network, tmp_path / "m.onnx", **{"input_size": SIZE, **options})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: n.roi_head.test_cfg.nms.update(type="soft_nms"), "test_cfg.rcnn.nms = .*soft_nms"),
        (lambda n: n.rpn_head.test_cfg.nms.update(max_num=10), "test_cfg.rpn.nms = .*max_num"),
        (lambda n: n.roi_head.test_cfg.update(score_thr=-1.0), "score_thr"),
        (lambda n: setattr(n.roi_head.bbox_head[1].loss_cls, "custom_cls_channels", True), "custom_cls_channels"),
        (lambda n: setattr(n.roi_head.bbox_head[0].bbox_coder, "add_ctr_clamp", True), "add_ctr_clamp"),
        (lambda n: setattr(n.roi_head.bbox_roi_extractor[0].roi_layers[0], "pool_mode", "max"), "pool_mode"),
        (lambda n: setattr(n, "rpn_head", type("MyHead", (type(n.rpn_head),), {})(**RPN)), "rpn_head: MyHead"),
        (lambda n: setattr(n, "rpn_head", torch.nn.Identity()), "rpn_head: Identity is not exported; use RPNHead"),
        (lambda n: n.rpn_head.test_cfg.update(nms_pre=-1), "rpn.nms_pre = -1"),
    ],
)
def test_what_is_not_computed_is_refused_in_one_line(change, words, config, tmp_path):
    refused(change, words, config, tmp_path)


RPN = {
    "in_channels": 64,
    "anchor_generator": {"type": "AnchorGenerator", "scales": [4], "ratios": [1.0], "strides": [4]},
}
RPN |= {"bbox_coder": {"type": "DeltaXYWHBBoxCoder"}, "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True}}
RPN |= {"loss_bbox": {"type": "SmoothL1Loss"}, "num_classes": 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_size": (3, 100, 128)}, "multiples of 32"),
        ({"input_size": (1, 128, 128)}, "multiples of 32"),
        ({"form": "tensorrt"}, "form = 'tensorrt': must be one of onnxruntime, plugin-free"),
        ({"opset": 23}, "opset = 23"),
        ({"max_detections": 0}, "max_detections = 0"),
        ({"max_detections": 50, "candidates": 40}, "at most candidates = 40"),
        ({"form": "plugin-free", "candidates": 5000}, "candidates = 5000: must be a whole number from 1 to 3840"),
    ],
)
def test_sizes_out_of_range_are_refused_in_one_line(options, words, config, tmp_path):
    refused(lambda network: None, words, config, tmp_path, **options)


def test_other_networks_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="Conv2d is not exported whole; only Faster"):
        export_detector(torch.nn.Conv2d(3, 8, 3), tmp_path / "m.onnx", input_size=SIZE)
