"""Parameters and MACs of timm's Swin and ViT: table 4.3, and counts by other means."""

import pytest
import torch
from small_transformers import PADDED, SWIN_T, pruned
from torch.utils.flop_counter import FlopCounterMode

from compress.costs import count_params, macs, params
from compress.spaces import (
    SwinSpace,
    VitSpace,
    sizes,
)


def block(d, n, tokens_attended, heads, head, hidden):
    """Parameters and MACs of a block (table 4.3), biases and norms counted: head = pd/h dimensions, hidden = pd_m."""
    attention = 4 * d * heads * head + 3 * heads * head + d
    mlp = 2 * d * hidden + hidden + d
    costs = 4 * n * d * heads * head + 2 * n * tokens_attended * heads * head, 2 * n * d * hidden
    return attention + mlp + 2 * 2 * d, sum(costs)


def swin_t(n_classes, ratio):
    """(parameters, MACs at 224 x 224) of Swin-T: stages of 2, 2, 6, 2 blocks, dimensions 96 to 768, heads of 32."""
    n_params, n_macs = 4 * 4 * 3 * 96 + 96 + 2 * 96, 56**2 * 4 * 4 * 3 * 96
    for stage, depth in enumerate((2, 2, 6, 2)):
        d, heads, n = 96 << stage, 3 << stage, (56 >> stage) ** 2
        if stage:  # four tokens of d/2 dimensions become one of d
            n_params += 2 * (2 * d) + 2 * d * d
            n_macs += n * 2 * d * d
        of_block = block(d, n, 7**2, heads, round(32 * (1 - ratio)), round(4 * d * (1 - ratio)))
        n_params += depth * (of_block[0] + 13**2 * heads)  # and the table of relative positions
        n_macs += depth * of_block[1]
    return n_params + 2 * 768 + 768 * n_classes + n_classes, n_macs + 768 * n_classes


def deit(d, heads, n_tokens, n_heads_of_classes, n_classes, ratio):
    """(parameters, MACs at 224 x 224) of a DeiT with patches of 16, 12 blocks and one or two class tokens and heads."""
    n = 14**2 + n_tokens
    of_block = block(d, n, n, heads, round(d // heads * (1 - ratio)), round(4 * d * (1 - ratio)))
    n_params = 16 * 16 * 3 * d + d + n * d + n_tokens * d + 12 * of_block[0] + 2 * d
    n_macs = 14**2 * 16 * 16 * 3 * d + 12 * of_block[1]
    classes = n_heads_of_classes * d * n_classes
    return n_params + classes + n_heads_of_classes * n_classes, n_macs + classes


def test_swin_t_in_numbers():
    assert swin_t(1000, 0) == (28_288_354, 4_490_566_656)
    assert swin_t(100, 0)[0] == count_params(SwinSpace(100, SWIN_T).empty()) == 27_596_254


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (SwinSpace(1000, SWIN_T), lambda ratio: swin_t(1000, ratio)),
        (VitSpace(1000, "deit_small_patch16_224"), lambda ratio: deit(384, 6, 1, 1, 1000, ratio)),
        (VitSpace(20, "deit_tiny_distilled_patch16_224"), lambda ratio: deit(192, 3, 2, 2, 20, ratio)),
    ],
    ids=["swin_t", "deit_small", "deit_tiny_distilled"],
)
def test_table_4_3_holds_to_the_unit_at_every_ratio(space, expected):
    operators = space.operators((3, 224, 224))
    for ratio in (0.0, 0.2, 0.4, 0.6, 0.8):
        small = pruned(space, ratio)
        widths = sizes(small.groups)
        assert (params(operators, widths), macs(operators, widths)) == expected(ratio), ratio
        assert count_params(small.empty()) == expected(ratio)[0], ratio


def counted_macs(model, input_size):
    """Half the floating-point operations of every matrix product and convolution that PyTorch runs."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    with FlopCounterMode(display=False) as counter:  # its hooks need gradients
        model.eval()(torch.zeros(1, *input_size))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("ratio", [0.0, 0.3])
def test_formulas_equal_an_independent_count(space, ratio):
    small, shape = pruned(space, ratio), (3, space.input_size, space.input_size)
    model = small.build()
    for operators in (space.operators(shape), small.operators(shape)):
        assert macs(operators, sizes(small.groups)) == counted_macs(model, shape)
        assert params(operators, sizes(small.groups)) == count_params(model)


def test_padded_windows_are_counted_and_shifted():
    blocks = [block for layer in PADDED.build().layers for block in layer.blocks]
    assert [block.shift_size for block in blocks] == [(0, 0), (2, 2)] * 2
    assert [block.input_resolution for block in blocks] == [(9, 9), (9, 9), (5, 5), (5, 5)]
    rows = {operator.name: operator for operator in PADDED.operators((3, 36, 36))}
    # 12 x 12 tokens in 9 windows go through q, k, v; the MLP sees 9 x 9.
    assert rows["layers.0.blocks.1.attn.qkv"].macs == 3 * 12**2
    assert rows["layers.0.blocks.1.attn.products"].macs == 9 * 2 * 16**2
    assert rows["layers.0.blocks.1.mlp.fc1"].macs == 9**2


def test_swin_t_equals_an_independent_count():
    space = pruned(SwinSpace(1000, SWIN_T), 0.4)
    operators = space.operators((3, 224, 224))
    assert macs(operators, sizes(space.groups)) == counted_macs(space.build(), (3, 224, 224))


@pytest.mark.parametrize("model", ["vit_base_patch16_siglip_224", "vit_tiny_r_s16_p8_224", "vit_base_patch16_rpn_224"])
def test_other_parts_of_vits_are_counted(model):
    """Pooling by attention, a convolutional stem, and norms behind the branches."""
    space = VitSpace(3, model, input_size=64, options={"depth": 1})
    network, operators = space.build(), space.operators((3, 64, 64))
    assert macs(operators, sizes(space.groups)) == counted_macs(network, (3, 64, 64))
    assert params(operators, sizes(space.groups)) == count_params(network)
