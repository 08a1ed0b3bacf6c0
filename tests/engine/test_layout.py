"""Networks that oneDNN trains safely in channels-last format are laid out so, others as PyTorch does by default."""

import pytest
import torch
from torch import nn

from compress.engine.layout import laid_out, layout_of, shown_to


@pytest.mark.parametrize(
    ("layer", "last"),
    [
        (nn.Conv2d(8, 16, 1, stride=2), False),
        (nn.Conv2d(64, 64, 1, stride=2, groups=32), False),
        (nn.Conv2d(16, 16, 1, stride=2), True),
        (nn.Conv2d(2, 16, 1), True),
        (nn.Conv2d(2, 16, 3, stride=2, padding=1), True),
    ],
)
def test_strided_pointwise_convolutions_of_few_channels_keep_pytorchs_layout(layer, last):
    network = nn.Sequential(nn.Conv2d(3, layer.in_channels, 3), layer).to(memory_format=torch.channels_last)
    wanted = torch.channels_last if last else torch.contiguous_format
    assert layout_of(network) == wanted
    assert laid_out(network)[0].weight.is_contiguous(memory_format=wanted)
    assert shown_to(network, torch.zeros(2, 3, 8, 8)).is_contiguous(memory_format=wanted)
    grads = torch.autograd.grad(network(shown_to(network, torch.zeros(2, 3, 8, 8))).sum(), [layer.weight])
    assert grads[0].shape == layer.weight.shape
