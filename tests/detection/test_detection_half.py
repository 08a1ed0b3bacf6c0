"""Training and searching in bfloat16: finite gradients, losses close to float32's, RoIs that are not rounded."""

from copy import deepcopy

import pytest
import torch
from drawn_coco import without_chance

pytest.importorskip("mmdet")
from mmengine.dataset import pseudo_collate

from compress.detection import DetectorSpace
from compress.detection.operators import OPERATORS
from compress.detection.task import DetectionTask, DetectorTraining
from compress.engine.searchers import SearchModel
from compress.engine.settings import SearchConfig

SGD = {"type": "SGD", "lr": 1e-3}
ALIGN = {
    "aligned_height": 3, "aligned_width": 2, "spatial_scale": 0.5, "sampling_ratio": 2, "pool_mode": 1, "aligned": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def parts(space, randomised):
    """A detector whose losses are not a matter of which candidates are drawn, and its space."""
    own = DetectorSpace(num_classes=80, model=without_chance(space.model))
    return randomised(own), own


def batch_of(data, *indices):
    return pseudo_collate([data.test[i] for i in indices])


def step_of(network, batch, *, bf16):
    """Loss and gradients of a training step, and what the RoI extractors were given."""
    model = DetectorTraining(deepcopy(network), bf16=bf16).train()
    given = []
    for extractor in model.network.roi_head.bbox_roi_extractor:
        extractor.roi_layers[0].register_forward_pre_hook(lambda module, inputs: given.append(inputs))
    torch.manual_seed(0)
    data = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**data, mode="loss"))
    loss.backward()
    gradients = {name: p.grad for name, p in model.network.named_parameters()}
    return float(loss.detach()), gradients, given


def test_a_training_step_in_bfloat16_is_close_to_one_in_float32(parts, data):
    network, batch = parts[0], batch_of(data, 0, 1)
    full, _, _ = step_of(network, deepcopy(batch), bf16=False)
    half, gradients, given = step_of(network, deepcopy(batch), bf16=True)
    assert half == pytest.approx(full, rel=0.02)
    assert half != full
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients.values())
    assert given
    assert {tensor.dtype for inputs in given for tensor in inputs} == {torch.float32}


def test_a_search_step_in_bfloat16_is_close_to_one_in_float32(parts, data):
    network, space = parts
    losses = []
    for amp in (None, "bf16"):
        config = SearchConfig(1, {"type": "rarts", "order": "fused"}, 2, optimizer=SGD, alpha_optimizer=SGD, amp=amp)
        model = SearchModel(network, space, config, input_size=(3, 128, 128), objective=DetectionTask(data))
        optimizers = model.optimizers()
        model.train()
        torch.manual_seed(0)
        logs = model.train_step({"p": batch_of(data, 0, 1), "a": batch_of(data, 2, 3)}, optimizers)
        losses.append(float(logs["loss_p"]))
        assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
        assert all(float((score - 1).abs().max()) > 0 for score in model.scores().values())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]


def test_roi_align_of_half_precision_is_computed_in_float32():
    torch.manual_seed(0)
    rois, empty = torch.tensor([[0.0, 1.3, 2.1, 13.4, 17.2]]), torch.zeros(0)
    features = torch.randn(1, 4, 10, 12).bfloat16()
    gradient = torch.randn(1, 4, 3, 2).bfloat16()
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        out, grad = torch.zeros(1, 4, 3, 2, dtype=dtype), torch.zeros(1, 4, 10, 12, dtype=dtype)
        OPERATORS["roi_align_forward"](features.to(dtype), rois, out, empty, empty, **ALIGN)
        OPERATORS["roi_align_backward"](gradient.to(dtype), rois, empty, empty, grad, **ALIGN)
        assert float(grad.abs().sum()) > 0
        found.append((out.bfloat16(), grad.bfloat16()))
    assert all(map(torch.equal, *found))
