"""Costs side by side: every operator once, sums, what belongs together, and disagreement that is not hidden."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from compress.costs import Costed, breakdown, count_macs, count_params
from compress.spaces import MobileNetV2Space, Operator, PreResNetSpace, SwinSpace, VitSpace, sizes

SIZE = (3, 32, 32)
TINY_SWIN = {"patch_size": 2, "window_size": 4, "embed_dim": 12, "depths": [2, 1], "num_heads": [1, 2]}
TINY_VIT = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
SWIN = SwinSpace(7, "swin_tiny_patch4_window7_224", input_size=32, options=TINY_SWIN)
DEIT = VitSpace(7, "deit_tiny_distilled_patch16_224", input_size=32, options=TINY_VIT)
SPACES = {"preresnet": PreResNetSpace(11, 7, score_inputs=True), "swin": SWIN, "vtp": replace(SWIN, scored="vtp")}


def halved(space):
    return {name: max(1, n // 2) for name, n in sizes(space.groups).items()}


def costs_of(space, *, operators=None):
    """The breakdown of `space` at full and at half width, by the formulas of the full one."""
    operators = space.operators(SIZE) if operators is None else operators
    full = Costed(space.build(), operators, sizes(space.groups))
    half = Costed(space.with_widths(halved(space)).build(), operators, halved(space))
    return breakdown(full, half, groups=space.groups, input_size=SIZE), full, half


@pytest.mark.parametrize("name", SPACES)
def test_every_operator_once_and_the_sums_are_those_of_the_networks(name):
    space = SPACES[name]
    found, full, half = costs_of(space)
    assert json.loads(json.dumps(found)) == found
    assert (found["format"], found["input_size"]) == (1, [3, 32, 32])
    assert [(row["name"], row["kind"]) for row in found["operators"]] == [
        (op.name, op.kind) for op in space.operators(SIZE)
    ]
    for side, network in (("before", full.network), ("after", half.network)):
        for cost, expected in (("params", count_params(network)), ("macs", count_macs(network, SIZE))):
            assert found[cost][side] == {"formula": expected, "counted": expected}
            for source in ("formula", "counted"):
                assert sum(row[cost][side][source] for row in found["operators"]) == expected
    assert any(row["macs"]["after"]["counted"] < row["macs"]["before"]["counted"] for row in found["operators"])


def test_one_attention_block_by_hand():
    """The first block: 16 windows of 16 tokens, one head of 12 dimensions, half of them kept."""
    rows = {row["name"].removeprefix("layers.0.blocks.0."): row for row in costs_of(SWIN)[0]["operators"]}
    expected = {
        "attn.qkv": ("attention_projections", 36 * 12 + 36, 18 * 12 + 18, 256 * 36 * 12, 256 * 18 * 12),
        "attn.products": ("attention_products", 0, 0, 2 * 16 * 16 * 16 * 12, 2 * 16 * 16 * 16 * 6),
        "attn.relative_position_bias_table": ("parameters", 49, 49, 0, 0),
        "mlp.fc2": ("mlp", 48 * 12 + 12, 24 * 12 + 12, 256 * 48 * 12, 256 * 24 * 12),
        "norm1": ("norms", 24, 24, 0, 0),
    }
    for name, (part, *numbers) in expected.items():
        row = rows[name]
        counted = [row[cost][side]["counted"] for cost in ("params", "macs") for side in ("before", "after")]
        assert (row["part"], counted) == (part, numbers), name


@pytest.mark.parametrize("scored", ["sidt", "vtp"])
def test_parts_of_a_transformer(scored):
    space = replace(DEIT, scored=scored)
    parts = {row["name"]: row["part"] for row in costs_of(space)[0]["operators"]}
    block = {"attn.qkv": "attention_projections", "attn.proj": "attention_projections"}
    block |= {"attn.products": "attention_products", "mlp.fc1": "mlp", "mlp.fc2": "mlp"}
    block |= {"norm1": "norms", "norm2": "norms"}
    outside = {"patch_embed.proj": "layers", "norm": "norms", "head": "classifier", "head_dist": "classifier"}
    outside |= dict.fromkeys(("cls_token", "dist_token", "pos_embed"), "parameters")
    assert parts == outside | {f"blocks.{i}.{name}": part for i in range(2) for name, part in block.items()}


def test_a_removed_block_costs_nothing_after_and_what_is_left_of_it_nothing_before():
    space = MobileNetV2Space(7, multiplier=0.35)
    small = space.with_widths({"blocks.2.1": 0})
    full, left = (Costed(s.build(), s.operators(SIZE), sizes(s.groups)) for s in (space, small))
    found = breakdown(full, left, groups=space.groups, input_size=SIZE)
    rows = {row["name"]: row for row in found["operators"]}
    pair = dict.fromkeys(("formula", "counted"), 0)
    for name in ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"):
        row = rows[f"blocks.2.1.{name}"]
        assert row["params"]["after"] == row["macs"]["after"] == pair
        assert row["params"]["before"]["counted"] > 0
    shift = rows["blocks.2.1"]
    assert (shift["part"], shift["params"]["before"], shift["params"]["after"]["counted"]) == ("parameters", pair, 16)
    assert found["params"]["after"]["counted"] == count_params(left.network)
    assert {row["part"] for row in found["operators"]} == {"layers", "norms", "classifier", "parameters"}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("layers.0.blocks.1.attn.products", {"macs": 1}, "12 macs by formula, 98,304 counted on the network before"),
        ("layers.0.blocks.1.mlp.fc1", {"n_out": 48}, "624 params by formula, 312 counted on the network after slicing"),
        ("head.fc", {"biases": 0}, "168 params by formula, 175 counted on the network before slicing"),
    ],
)
def test_a_wrong_formula_stops_with_the_operators_name(name, change, message):
    operators = [replace(op, **change) if op.name == name else op for op in SWIN.operators(SIZE)]
    with pytest.raises(RuntimeError, match=f"{name}: {message}"):
        costs_of(SWIN, operators=operators)


@pytest.mark.parametrize(
    ("left_out", "named"),
    [
        ("layers.0.blocks.0.norm1", "layers.0.blocks.0.norm1.weight: 12 params"),
        ("layers.0.blocks.0.attn.products", "layers.0.blocks.0.attn: 98,304 macs"),
        ("layers.0.blocks.0.attn.relative_position_bias_table", "layers.0.blocks.0.attn.relative_position_bias_table"),
    ],
)
def test_what_has_no_operator_stops_with_its_name(left_out, named):
    operators = [op for op in SWIN.operators(SIZE) if op.name != left_out]
    with pytest.raises(RuntimeError, match=f"^{named}.*no operator of its space has them"):
        costs_of(SWIN, operators=operators)


class Product(nn.Module):
    """Multiplies matrices itself."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x_BCHW):
        return self.scale * x_BCHW @ x_BCHW.transpose(2, 3)


def test_products_of_the_network_itself_need_an_operator_too():
    side = Costed(Product(), (Operator("scale", "parameter", 1, 1, macs=0, weights=1),), {})
    with pytest.raises(RuntimeError, match=r"^the network itself: 98,304 macs counted on the network before slicing"):
        breakdown(side, side, groups=(), input_size=SIZE)


def test_an_operator_listed_twice_stops():
    operators = SWIN.operators(SIZE)
    with pytest.raises(RuntimeError, match=r"patch_embed\.proj: .* by formula, 0 counted"):
        costs_of(SWIN, operators=[operators[0], *operators])


def test_the_networks_are_left_as_they_were():
    space = SPACES["preresnet"]
    network = space.build().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    side = Costed(network, space.operators(SIZE), sizes(space.groups))
    breakdown(side, side, groups=space.groups, input_size=SIZE)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.device.type == "cpu" and p.grad is None for p in network.parameters())
