"""MMCV's operators by torchvision: equal to slow references, and out of the way where MMCV has its own."""

import sys
from types import ModuleType

import pytest
import torch

pytest.importorskip("mmdet")
from whole_detectors import dense_section

import compress.detection  # noqa: F401
from compress.detection.operators import GAUSSIAN, LINEAR, NAIVE, OPERATORS, USERS, _Operators, install
from compress.detection.space import build_model
from compress.plan import UserError

STAND_IN = isinstance(sys.modules.get("mmcv._ext"), _Operators)
needs_stand_in = pytest.mark.skipif(not STAND_IN, reason="this MMCV has compiled operators of its own")


def boxes_and_scores(n, seed=0, side=20):
    """Boxes on whole pixels, so that `offset` matters, crowded enough to overlap; scores without ties."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, side, (n, 2), generator=generator).float()
    sides = torch.randint(1, side, (n, 2), generator=generator).float()
    scores = torch.randperm(n, generator=generator).float().add(1) / n
    return torch.cat([corners, corners + sides], dim=1), scores


def overlap(a, b, offset):
    """Intersection over union of two boxes whose last pixel belongs to them with offset 1."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    shared = max(width, 0) * max(height, 0)
    area = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    return shared / (sum(area) - shared)


def naive_nms(boxes, scores, threshold, offset):
    boxes = boxes.tolist()
    left, kept = scores.argsort(descending=True).tolist(), []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if overlap(boxes[best], boxes[i], offset) <= threshold]
    return kept


def naive_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    boxes, scores = boxes.tolist(), scores.tolist()
    left, found = list(range(len(boxes))), []
    while left:
        best = max(left, key=scores.__getitem__)
        left.remove(best)
        found.append((best, *boxes[best], scores[best]))
        for i in list(left):
            iou = overlap(boxes[best], boxes[i], offset)
            if method == GAUSSIAN:
                scores[i] *= torch.tensor(-iou * iou / sigma).exp().item()
            elif iou >= threshold:
                scores[i] *= 1 - iou if method == LINEAR else 0
            if scores[i] < min_score:
                left.remove(i)
    return found


@needs_stand_in
@pytest.mark.parametrize("threshold", [0.3, 0.5])
@pytest.mark.parametrize("offset", [0, 1])
def test_nms_equals_a_naive_one(offset, threshold):
    from mmcv.ops import nms

    boxes, scores = boxes_and_scores(60)
    found, kept = nms(boxes, scores, threshold, offset=offset)
    expected = naive_nms(boxes, scores, threshold, offset)
    assert kept.tolist() == expected
    assert 5 < len(expected) < 55
    assert torch.equal(found, torch.cat([boxes, scores[:, None]], dim=1)[expected])


def test_the_offset_of_nms_matters():
    boxes, scores = boxes_and_scores(60)
    kept = [OPERATORS["nms"](boxes, scores, iou_threshold=0.3, offset=offset).tolist() for offset in (0, 1)]
    assert kept[0] != kept[1]


@needs_stand_in
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(("name", "number"), [("naive", NAIVE), ("linear", LINEAR), ("gaussian", GAUSSIAN)])
def test_soft_nms_equals_a_naive_one(name, number, offset):
    from mmcv.ops import soft_nms

    boxes, scores = boxes_and_scores(30, seed=1)
    found, kept = soft_nms(boxes, scores, 0.3, sigma=0.4, min_score=0.05, method=name, offset=offset)
    expected = naive_soft_nms(boxes, scores, 0.3, 0.4, 0.05, number, offset)
    assert kept.tolist() == [row[0] for row in expected]
    assert 3 < len(expected) < 30
    torch.testing.assert_close(found, torch.tensor([row[1:] for row in expected]), rtol=1e-5, atol=1e-6)


@needs_stand_in
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_and_its_gradient_are_torchvisions(aligned, sampling_ratio):
    from mmcv.ops import RoIAlign
    from torchvision.ops import roi_align

    torch.manual_seed(0)
    corners, _ = boxes_and_scores(12, seed=2)
    rois = torch.cat([torch.arange(12)[:, None] % 2, corners], dim=1).float()
    features = [torch.randn(2, 3, 10, 12).requires_grad_() for _ in range(2)]
    features[1].data.copy_(features[0].data)
    layer = RoIAlign((3, 2), spatial_scale=0.5, sampling_ratio=sampling_ratio, aligned=aligned)
    out = layer(features[0], rois)
    expected = roi_align(features[1], rois, (3, 2), 0.5, sampling_ratio, aligned)
    assert torch.equal(out, expected)
    weights = torch.randn_like(out)
    for result in (out, expected):
        (result * weights).sum().backward()
    assert torch.equal(features[0].grad, features[1].grad)
    assert features[0].grad.abs().sum() > 0


@needs_stand_in
def test_max_pooling_of_regions_is_refused():
    from mmcv.ops import roi_align

    with pytest.raises(NotImplementedError, match="pool_mode='max' is not in torchvision; use pool_mode='avg'"):
        roi_align(torch.zeros(1, 1, 8, 8), torch.tensor([[0.0, 0, 0, 4, 4]]), 2, 1.0, 0, "max")


@needs_stand_in
@pytest.mark.parametrize("gamma", [2.0, 1.5])
def test_the_focal_loss_and_its_gradient_are_mmdetections(gamma):
    """On CUDA MMDetection calls the operator; on the CPU it computes the loss by automatic differentiation."""
    from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss, sigmoid_focal_loss

    torch.manual_seed(0)
    logits = [(8 * torch.randn(40, 5, dtype=torch.float64)).requires_grad_() for _ in range(2)]
    logits[1].data.copy_(logits[0].data)
    labels, weights = torch.arange(40) % 6, torch.rand(40, 5)  # the last is background
    settings = {"gamma": gamma, "alpha": 0.3, "reduction": "none"}
    losses = [
        sigmoid_focal_loss(logits[0], labels, weights, **settings),
        py_sigmoid_focal_loss(logits[1], torch.nn.functional.one_hot(labels, 6)[:, :5], weights, **settings),
    ]
    torch.testing.assert_close(*losses)
    for loss in losses:
        (loss * torch.linspace(-1, 2, 5)).sum().backward()
    torch.testing.assert_close(logits[0].grad, logits[1].grad)
    assert float(logits[0].grad.abs().sum()) > 0


@needs_stand_in
def test_the_focal_loss_stays_finite():
    from mmcv.ops import sigmoid_focal_loss

    logits, labels = torch.tensor([[-200.0, 200.0], [200.0, -200.0]], requires_grad=True), torch.tensor([0, 2])
    loss = sigmoid_focal_loss(logits, labels, 2.0, 0.25, None, "none")
    assert torch.allclose(loss, torch.tensor([[50.0, 150.0], [150.0, 0.0]]))
    loss.sum().backward()
    assert torch.allclose(logits.grad, torch.tensor([[-0.25, 0.75], [0.75, 0.0]]))
    with pytest.raises(NotImplementedError, match="without weights of classes; use weight=None"):
        sigmoid_focal_loss(logits, labels, 2.0, 0.25, torch.ones(2), "none")


@needs_stand_in
def test_deformable_attention_and_its_gradients_are_those_of_mmcv_in_pytorch():
    """On CUDA MMCV calls the operator; on the CPU it computes in PyTorch, by automatic differentiation."""
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction, multi_scale_deformable_attn_pytorch

    torch.manual_seed(0)
    shapes, starts = torch.tensor([[4, 5], [2, 3]]), torch.tensor([0, 20])
    given = [torch.randn(2, 26, 3, 8), torch.rand(2, 7, 3, 2, 4, 2), torch.rand(2, 7, 3, 2, 4)]
    ours, theirs = ([tensor.clone().requires_grad_() for tensor in given] for _ in range(2))
    out = MultiScaleDeformableAttnFunction.apply(ours[0], shapes, starts, ours[1], ours[2], 64)
    expected = multi_scale_deformable_attn_pytorch(theirs[0], shapes, theirs[1], theirs[2])
    assert torch.equal(out, expected)
    weights = torch.randn_like(out)
    for result in (out, expected):
        (result * weights).sum().backward()
    assert all(torch.equal(one.grad, other.grad) for one, other in zip(ours, theirs, strict=True))
    assert min(float(tensor.grad.abs().sum()) for tensor in ours) > 0


@needs_stand_in
def test_an_absent_operator_complains_when_it_is_called():
    from mmcv.ops import softmax_focal_loss  # importing it is fine

    with pytest.raises(
        NotImplementedError, match=r"mmcv operator 'softmax_focal_loss_forward': .*install an MMCV"
    ) as e:
        softmax_focal_loss(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
    assert "\n" not in str(e.value)


@needs_stand_in
def test_mmengine_finds_the_operators():
    from mmengine.utils.dl_utils import mmcv_full_available

    assert mmcv_full_available()
    assert install(), "a second call changes nothing"


def test_operators_of_mmcvs_own_win(monkeypatch):
    own = ModuleType("mmcv._ext")
    monkeypatch.setitem(sys.modules, "mmcv._ext", own)
    assert install() is False
    assert sys.modules["mmcv._ext"] is own


@needs_stand_in
def test_operators_that_come_too_late_are_refused(monkeypatch):
    """MMDetection's masks, for one, are then without RoIAlign."""
    monkeypatch.delitem(sys.modules, "mmcv._ext")
    with pytest.raises(UserError, match=r"mmcv\.ops was loaded before it, .*import compress\.detection before mmdet"):
        install()
    for name in [name for name in sys.modules if name.startswith(USERS)]:
        monkeypatch.delitem(sys.modules, name)
    assert install()


@needs_stand_in
def test_detectors_that_need_an_absent_operator_are_refused_before_they_run():
    section = dense_section("ATSS")
    build_model(section)
    section["bbox_head"]["type"] = "TOODHead"
    with pytest.raises(
        UserError, match="bbox_head is a TOODHead, which needs an operator that this MMCV was inst"
    ) as e:
        build_model(section)
    assert "\n" not in str(e.value)
