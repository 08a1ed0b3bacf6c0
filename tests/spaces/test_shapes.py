"""Networks called with shapes alone stay as they are."""

import pytest
import torch
from torch import nn

from compress.spaces import shapes_through


class TwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 3, 1)
        self.b = self.a

    def forward(self, x):
        return self.b(self.a(x))


class TiedWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


class SharedStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.b.running_mean = self.a.running_mean

    def forward(self, x):
        return self.b(self.a(x))


@pytest.mark.parametrize("kind", [TwoNames, TiedWeights, SharedStatistics])
@pytest.mark.parametrize("training", [False, True])
def test_shapes_alone_leave_a_network_as_it_is(kind, training):
    network = kind().train(training)
    before = [(id(value), value.clone()) for value in network.state_dict(keep_vars=True).values()]
    out = shapes_through(network, (torch.ones(2, 3, 4, 4),))
    after = network.state_dict(keep_vars=True).values()
    assert out.is_meta
    assert out.shape == (2, 3, 4, 4)
    assert all(
        id(value) == which and torch.equal(value, old) for (which, old), value in zip(before, after, strict=True)
    )
