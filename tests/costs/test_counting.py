"""Costs: by hand, by formula, and counted on the running network; one multiply-add is one MAC."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compress.costs import count_macs, count_module_macs, count_params, macs, params
from compress.spaces import PreResNetSpace, SwinSpace, VitSpace, sizes

SIZE = (3, 32, 32)


# PreResNet-20 on 3 x 32 x 32, layer by layer: (channels in, channels out, side of the kernel, side of the output).
CONVOLUTIONS_20 = [
    (3, 16, 3, 32),  # stem
    (16, 16, 1, 32), (16, 16, 3, 32), (16, 64, 1, 32), (16, 64, 1, 32),  # stage 1, block 0, shortcut last
    (64, 16, 1, 32), (16, 16, 3, 32), (16, 64, 1, 32),
    (64, 32, 1, 32), (32, 32, 3, 16), (32, 128, 1, 16), (64, 128, 1, 16),  # stage 2: conv2 and the shortcut stride
    (128, 32, 1, 16), (32, 32, 3, 16), (32, 128, 1, 16),
    (128, 64, 1, 16), (64, 64, 3, 8), (64, 256, 1, 8), (128, 256, 1, 8),  # stage 3
    (256, 64, 1, 8), (64, 64, 3, 8), (64, 256, 1, 8),
]  # fmt: skip
NORMS_20 = [16, 16, 16, 64, 16, 16, 64, 32, 32, 128, 32, 32, 128, 64, 64, 256, 64, 64, 256]


def test_preresnet20_by_hand():
    weights = sum(k * k * n_in * n_out for n_in, n_out, k, _ in CONVOLUTIONS_20)
    n_params = weights + 2 * sum(NORMS_20) + 256 * 10 + 10
    n_macs = sum(k * k * n_in * n_out * side * side for n_in, n_out, k, side in CONVOLUTIONS_20) + 256 * 10
    assert (n_params, n_macs) == (219_482, 33_737_216)
    space = PreResNetSpace(20, 10)
    model, operators, widths = space.build(), space.operators(SIZE), sizes(space.groups)
    assert params(operators, widths) == count_params(model) == n_params
    assert macs(operators, widths) == count_macs(model, SIZE) == n_macs


def test_preresnet164_is_the_thesis_network():
    """Section 4.2: 1.70 M parameters; table 4.1: 2.48e8."""
    space = PreResNetSpace(164, 10)
    operators, widths = space.operators(SIZE), sizes(space.groups)
    assert params(operators, widths) == 1_703_258
    assert macs(operators, widths) == 247_646_720


@pytest.mark.parametrize(
    "space", [PreResNetSpace(20, 10, score_inputs=True), PreResNetSpace(164, 100)], ids=["20", "164"]
)
@pytest.mark.parametrize("seed", range(3))
def test_formulas_equal_counts_at_random_widths(space, seed):
    generator = torch.Generator().manual_seed(seed)
    low = (1, 1, 8)[seed]
    widths = {
        name: int(torch.randint(min(low, n), n + 1, (), generator=generator)) for name, n in sizes(space.groups).items()
    }
    small = space.with_widths(widths)
    model = small.build()
    size = (3, 16, 16) if seed else (3, 12, 20)
    for operators in (space.operators(size), small.operators(size)):
        assert params(operators, widths) == count_params(model)
        assert macs(operators, widths) == count_macs(model, size)


def test_widths_that_are_not_scored_count_as_they_are():
    """A network sliced with its inputs scored, described again without scoring them."""
    widths = {"layer1.1.input": 5, "head.input": 100, "layer2.0.conv1": 3}
    space = PreResNetSpace(20, 10, widths=widths)
    model, operators = space.build(), space.operators(SIZE)
    assert params(operators, sizes(space.groups)) == count_params(model)
    assert macs(operators, sizes(space.groups)) == count_macs(model, SIZE)


@pytest.mark.parametrize("cost", [macs, params])
def test_costs_of_soft_widths_have_the_gradient_of_finite_differences(cost):
    space = PreResNetSpace(20, 10, score_inputs=True)
    operators = space.operators(SIZE)
    torch.manual_seed(0)
    soft = {name: (n * torch.rand((), dtype=torch.float64)).requires_grad_() for name, n in sizes(space.groups).items()}
    value = cost(operators, soft)
    gradients = torch.autograd.grad(value, list(soft.values()))
    with torch.no_grad():
        for (name, width), gradient in zip(soft.items(), gradients, strict=True):
            above, below = (cost(operators, {**soft, name: width + h}) for h in (0.5, -0.5))
            assert float(gradient) == pytest.approx(float(above - below), rel=1e-9)
            assert float(gradient) > 0


def test_counts_of_layers_by_hand():
    grouped = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4)
    assert count_macs(grouped, (8, 10, 6)) == 12 * (8 // 4) * 9 * 5 * 3
    depthwise = nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)
    assert count_macs(depthwise, (8, 10, 6)) == 8 * 25 * 60
    assert count_params(depthwise) == 200
    assert count_macs(nn.Linear(6, 7), (4, 5, 6)) == 4 * 5 * 6 * 7, "a linear layer is applied to every token"


def test_counting_leaves_the_network_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert count_macs(model, (3, 8, 8)) == 4 * 27 * 36
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model[0]._forward_hooks


class Attention(nn.Module):
    """Attention of 16 tokens of width 8 in a list that is not called itself; fused by torch."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 24), nn.Linear(8, 8)])

    def forward(self, x_BCHW):
        q, k, v = self.layers[0](x_BCHW.flatten(2).transpose(1, 2)).chunk(3, -1)
        return self.layers[1](F.scaled_dot_product_attention(q, k, v))


class MultiHead(nn.Module):
    """torch's own attention, which skips its submodules' calls and has a fast path in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x_BCHW):
        x = x_BCHW.flatten(2).transpose(1, 2)
        return self.attention(x, x, x)[0]


def test_attention_counts_its_projections_and_both_products_however_fused():
    n, d = 16, 8
    counted = count_module_macs(Attention(), (d, 4, 4))
    assert counted == {"": 2 * n * n * d, "layers.0": n * d * 3 * d, "layers.1": n * d * d}
    assert count_module_macs(MultiHead(), (d, 4, 4)) == {"attention": 4 * n * d * d + 2 * n * n * d}


def test_swin_tiny_by_hand_by_formula_and_counted():
    """timm's 4.5 G at 224 x 224; the first block has 64 windows of 49 tokens and 3 heads of 32 dimensions."""
    space, size = SwinSpace(1000, "swin_tiny_patch4_window7_224"), (3, 224, 224)
    model, operators = space.build(), space.operators(size)
    counted = count_module_macs(model, size)
    attention = [module for module in model.modules() if hasattr(module, "fused_attn")]
    for fused in (False, True):
        for module in attention:
            module.fused_attn = fused
        assert count_module_macs(model, size) == counted
        assert [module.fused_attn for module in attention] == [fused] * 12
    assert macs(operators, sizes(space.groups)) == sum(counted.values()) == count_macs(model, size) == 4_490_566_656
    assert counted["patch_embed.proj"] == 56 * 56 * 96 * 3 * 16
    assert counted["layers.0.blocks.0.attn.qkv"] == 56 * 56 * 96 * 288
    assert counted["layers.0.blocks.0.attn"] == 2 * 64 * 49 * 49 * 3 * 32
    assert counted["layers.0.blocks.0.mlp.fc2"] == 56 * 56 * 96 * 384


TINY_SWIN = {"patch_size": 2, "window_size": 4, "embed_dim": 12, "depths": [2, 1], "num_heads": [1, 2]}
TINY_VIT = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


@pytest.mark.parametrize("scored", ["sidt", "vtp"])
@pytest.mark.parametrize(
    "space",
    [
        SwinSpace(7, "swin_tiny_patch4_window7_224", input_size=32, options=TINY_SWIN),
        VitSpace(7, "deit_tiny_distilled_patch16_224", input_size=32, options=TINY_VIT),
    ],
    ids=["swin", "deit"],
)
def test_formulas_of_transformers_equal_counts_at_random_widths(space, scored):
    space = replace(space, scored=scored)
    generator = torch.Generator().manual_seed(0)
    widths = {name: int(torch.randint(1, n + 1, (), generator=generator)) for name, n in sizes(space.groups).items()}
    model = space.with_widths(widths).build()
    assert macs(space.operators(SIZE), widths) == count_macs(model, SIZE)
    assert params(space.operators(SIZE), widths) == count_params(model)
