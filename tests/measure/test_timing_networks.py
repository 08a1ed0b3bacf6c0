"""Networks to time, and the widths at which they are."""

import numpy as np
import pytest
import torch
from exported_spaces import SPACES, made
from torch import nn

from compress.measure.designs import allowed_widths, sample_designs
from compress.measure.networks import timing_network
from compress.spaces import MobileNetV2Space


@pytest.mark.parametrize("name", ["preresnet", "mobilenetv2-outputs", "swin"])
def test_timing_networks_have_no_denormal_features_and_no_equal_parameters(name):
    _, size, model, _ = made(name)
    tiny = []

    def look(module, args, output):
        values = output.abs()
        tiny.append(int(((values > 0) & (values < torch.finfo(torch.float32).tiny)).sum()))

    # Not the softmax: timm masks with -100, whose exponential is denormal in trained networks too.
    layers = nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.LayerNorm
    hooks = [module.register_forward_hook(look) for module in model.modules() if isinstance(module, layers)]
    with torch.no_grad():
        logits = model(torch.randn(2, *size))
    for hook in hooks:
        hook.remove()
    assert len(tiny) > 10
    assert sum(tiny) == 0
    assert 1e-6 < logits.abs().max() < 1e6
    values = [tuple(p.detach().flatten()[:4].tolist()) for p in model.parameters()]
    assert len(set(values)) == len(values)


def test_timing_networks_leave_the_random_state_alone():
    state = torch.random.get_rng_state()
    timing_network(SPACES["preresnet"][0], (3, 16, 16))
    assert torch.equal(state, torch.random.get_rng_state())


def test_designs_cover_every_group_evenly():
    allowed = {"wide": list(range(8, 977, 8)), "narrow": [8, 16], "single": [16]}
    designs = sample_designs(allowed, 16, seed=0)
    assert designs == sample_designs(allowed, 16, seed=0) != sample_designs(allowed, 16, seed=1)
    for group, widths in allowed.items():
        positions = sorted(widths.index(design[group]) for design in designs)
        assert positions[0] == 0
        for part, position in enumerate(positions):
            assert part * len(widths) / 16 - 1 < position < (part + 1) * len(widths) / 16


def test_designs_are_narrow_or_wide_as_a_whole():
    allowed = {str(i): list(range(8, 513, 8)) for i in range(40)}
    designs = sample_designs(allowed, 64, seed=2)
    table = np.array([list(design.values()) for design in designs])
    between = np.corrcoef(table.T)[np.triu_indices(40, 1)]
    assert 0.3 < between.mean() < 0.7


def test_allowed_widths_are_multiples_and_the_full_width():
    space = MobileNetV2Space(5, 0.35)
    allowed = allowed_widths(space.groups, 16)
    for group in space.groups:
        assert allowed[group.name][-1] == group.size
        assert allowed[group.name][:-1] == [n for n in range(1, group.size) if n % 16 == 0]
