"""Batches in parts: the gradients and BatchNorm statistics of a search that accumulates."""

from copy import deepcopy

import pytest
import torch

from compress.engine.searchers import SearchModel
from compress.engine.settings import SearchConfig
from compress.plan import UserError
from compress.spaces import PreResNetSpace

SPACE = PreResNetSpace(20, 10)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SPACE.build()


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(1)
    return torch.randn(8, 3, 16, 16), torch.arange(8)


def model_of(network, accumulate):
    config = SearchConfig(epochs=1, batch_size=8, method={"type": "joint"}, accumulate=accumulate)
    return SearchModel(network, SPACE, config, input_size=(3, 16, 16)).double()


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_gradients_are_those_of_the_whole_batch_where_batchnorm_keeps_its_statistics(network, batch, parts):
    images, labels = batch[0].double(), batch[1]
    gradients, losses = [], []
    for accumulate in (1, parts):
        model = model_of(network, accumulate)
        model.w.eval()
        loss = model.criterion(model.w, (images, labels))
        parameters = [p for wanted in model.parameter_sets().values() for p in wanted]
        gradients.append(torch.autograd.grad(loss, parameters))
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)  # taken in float32
    for whole, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(summed, whole, rtol=1e-5, atol=1e-8)


def test_statistics_count_every_part_once(network, batch):
    images, labels = batch[0].double(), batch[1]
    model = model_of(network, 2)
    model.train()
    model.criterion(model.w, (images, labels)).backward()
    expected = deepcopy(network).double().train()
    with torch.no_grad():
        for part in images.chunk(2):
            expected(part)
    found = dict(model.w.named_buffers())
    for name, value in expected.named_buffers():
        torch.testing.assert_close(found[name], value)


def test_parts_must_divide_the_batch():
    with pytest.raises(UserError, match=r"search\.accumulate = 3: must divide search\.batch_size = 8"):
        SearchConfig(epochs=1, batch_size=8, accumulate=3)
