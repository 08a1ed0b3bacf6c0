"""Networks whose every BatchNorm has statistics and affine parameters of its own, and plans to slice them by."""

import pytest
import torch
from torch import nn

from compress.plan import WidthPlan
from compress.spaces import sizes


def _randomised(space, seed):
    torch.manual_seed(seed)
    model = space.build()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, -1.5, 1.5)
        nn.init.normal_(norm.bias, std=0.5)
        norm.running_mean.normal_(std=0.5)
        norm.running_var.uniform_(0.5, 2.0)
    return model.eval()


def _random_plan(space, kind, seed):
    """`full`, `one` channel in every group, any `random` number, or `mixed`: full, one or any number by turns."""
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for i, (name, n) in enumerate(sizes(space.groups).items()):
        rule = ("full", "one", "random")[(i + seed) % 3] if kind == "mixed" else kind
        width = {"full": n, "one": 1, "random": int(torch.randint(1, n + 1, (), generator=generator))}[rule]
        kept[name] = tuple(sorted(torch.randperm(n, generator=generator)[:width].tolist()))
    return WidthPlan(space.name, sizes(space.groups), kept)


@pytest.fixture(scope="session")
def randomised():
    return _randomised


@pytest.fixture(scope="session")
def random_plan():
    return _random_plan
