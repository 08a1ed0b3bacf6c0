"""Groups hold of any number of channels, not by chance of some."""

import pytest
import torch
from torch import nn

from compress.tracing import groups_of

X = torch.zeros(2, 3, 4, 4)


class Between(nn.Module):
    """A layer of 12 channels, what `code` makes of them, and a layer that reads them."""

    def __init__(self, code, n_read=12):
        super().__init__()
        self.stem, self.last, self.head = nn.Conv2d(3, 12, 1), nn.Conv2d(n_read, 10, 1), nn.Linear(10, 7)
        self.inner = nn.Conv2d(4, 4, 1)
        self.code = code

    def forward(self, x):
        return self.head(torch.relu(self.last(self.code(self, torch.relu(self.stem(x))))).mean((2, 3)))


def thirds(network, x):
    a, b, c = torch.tensor_split(x, 3, dim=1)
    return torch.cat([a, network.inner(b), c], 1)


def sizes_of(code, **more):
    torch.manual_seed(0)
    return {group.name: group.size for group in groups_of(Between(code, **more), X).groups}


@pytest.mark.parametrize("seed", range(3))
def test_equal_parts_lose_equally_many(seed):
    torch.manual_seed(0)
    groups = groups_of(Between(thirds), X, seed=seed).groups
    assert {group.name: group.size for group in groups} == {"stem": 4, "inner": 4, "last": 10}


@pytest.mark.parametrize(
    "code",
    [
        lambda _, x: x * (2 if x.shape[1] >= 4 else 3),
        lambda _, x: x * (2 if x.shape[1] % 2 == 0 else 3),
        lambda _, x: x.unflatten(1, (4, -1)).flatten(1, 2),
        lambda _, x: x.mean((2, 3), keepdim=True).squeeze()[..., None, None].expand(2, -1, 4, 4),
    ],
    ids=["few", "odd", "multiple", "one"],
)
def test_code_that_does_something_else_for_some_numbers_of_channels_is_no_group(code):
    assert sizes_of(code) == {"last": 10}
