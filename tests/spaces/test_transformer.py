"""timm's Swin and ViT as spaces: counts against table 4.3, sliced networks that stay timm's, files, bad input."""

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compress.costs import count_params, macs, params
from compress.plan import UserError, WidthPlan
from compress.pruning import slice_model
from compress.spaces import (
    Alphas,
    Card,
    Layout,
    SwinSpace,
    VitSpace,
    load_model,
    load_state,
    read_state,
    save_model,
    sizes,
)

SWIN_T = "swin_tiny_patch4_window7_224"
SHALLOW = {"window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2), "drop_path_rate": 0.3}
# 36 pixels are 9 x 9 patches, then 5 x 5: windows of 4 need padding in both stages, and so does the merging.
PADDED = SwinSpace(num_classes=5, model=SWIN_T, input_size=36, options=SHALLOW)
SPACES = {
    "swin": PADDED,
    "swin-vtp": SwinSpace(num_classes=5, model=SWIN_T, input_size=36, options=SHALLOW, scored="vtp"),
    "vit": VitSpace(5, "vit_small_patch16_224", input_size=32, options={"depth": 2, "patch_size": 8}),
    "vit-vtp": VitSpace(5, "deit_tiny_patch16_224", input_size=32, options={"depth": 2}, scored="vtp"),
    "distilled": VitSpace(5, "deit_tiny_distilled_patch16_224", input_size=32, options={"depth": 2}),
}


@pytest.fixture(params=SPACES.values(), ids=SPACES.keys())
def space(request):
    return request.param


def images(space, n=2):
    generator = torch.Generator().manual_seed(9)
    return torch.randn(n, space.in_channels, space.input_size, space.input_size, generator=generator)


def network_of(space, seed=0):
    """Random values everywhere, so that no bias, norm, token or position table is at its neutral start."""
    torch.manual_seed(seed)
    model = space.build().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def plan_of(space, share=0.4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    full = sizes(space.groups)
    picked = {name: torch.randperm(n, generator=generator)[: max(1, int(n * share))] for name, n in full.items()}
    return WidthPlan(space.name, full, {name: tuple(sorted(kept.tolist())) for name, kept in picked.items()})


def pruned(space, ratio):
    """`space` with every group at round(size * (1 - ratio))."""
    return space.with_widths({name: round(n * (1 - ratio)) for name, n in sizes(space.groups).items()})


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


def test_groups_follow_the_thesis_or_vtp():
    found = {group.name: group for group in PADDED.groups}
    assert sizes(PADDED.groups) == {
        f"layers.{stage}.blocks.{i}.{part}": {"attn": 24, "mlp": 96 << stage}[part]
        for stage in (0, 1)
        for i in (0, 1)
        for part in ("attn", "mlp")
    }
    attention = found["layers.1.blocks.0.attn"]
    assert (attention.kind, attention.gated) == ("attention", "writes")
    assert [(each.layout.offset, each.layout.copies, each.exponent) for each in attention.writes] == [
        (0, 2, 0.5),
        (48, 2, 0.0),
        (96, 2, 0.0),
    ]
    assert [each.layout for each in attention.reads] == [Layout(copies=2)]
    streams = sizes(SPACES["swin-vtp"].groups)
    assert [streams[f"layers.1.blocks.0.{part}"] for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp")] == [
        48,
        48,
        48,
        192,
    ]


def test_dimensions_of_a_head_may_differ_from_dim_over_heads():
    space = SwinSpace(5, SWIN_T, input_size=36, options={**SHALLOW, "head_dim": 10})
    assert sizes(space.groups)["layers.1.blocks.0.attn"] == 10
    small = space.with_widths({"layers.1.blocks.0.attn": 7})
    assert small.build().layers[1].blocks[0].attn.qkv.out_features == 3 * 2 * 7
    assert small.build()(images(space)).shape == (2, 5)


@pytest.mark.parametrize("ratio", [0.0, 0.3])
def test_an_empty_network_with_the_weights_loaded_is_the_built_one(space, ratio):
    """Also what no checkpoint holds: indices of relative positions, masks of shifted windows, rates, scales."""
    space = pruned(space, ratio)
    built = network_of(space)
    torch.use_deterministic_algorithms(True)  # fills memory that nobody has written with NaN and large integers
    try:
        empty = space.empty()
    finally:
        torch.use_deterministic_algorithms(False)
    empty.load_state_dict(built.state_dict())
    buffers = dict(empty.named_buffers())
    assert buffers.keys() == dict(built.named_buffers()).keys()
    assert all(torch.equal(buffers[name], value) for name, value in built.named_buffers())
    for a, b in zip(built.modules(), empty.modules(), strict=True):
        for attribute in ("drop_prob", "p", "scale", "head_dim", "attn_dim", "in_features", "out_features", "eps"):
            assert getattr(a, attribute, None) == getattr(b, attribute, None)
    assert torch.equal(empty.eval()(images(space)), built(images(space)))


def test_masks_of_shifted_windows_are_among_the_buffers():
    """Else the test above would compare nothing."""
    names = {name.rpartition(".")[2] for name, _ in PADDED.empty().named_buffers()}
    assert names == {"relative_position_index", "attn_mask"}
    assert "layers.0.blocks.1.attn_mask" not in PADDED.empty().state_dict()


def test_a_checkpoint_of_timm_loads(space, tmp_path):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(space.model, num_classes=5, img_size=space.input_size, **space.options).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "timm.pth")
    ours, state = space.build().eval(), read_state(tmp_path / "timm.pth")
    load_state(ours, state, source="timm.pth")
    assert torch.equal(ours(images(space)), theirs(images(space)))
    with pytest.raises(UserError, match=r"timm\.pth: a checkpoint of another architecture; .* of another shape"):
        load_state(pruned(space, 0.5).build(), state, source="timm.pth")


def test_saved_and_loaded_bit_by_bit(space, tmp_path):
    small, small_space = slice_model(network_of(space), space, plan_of(space))
    shape = [3, space.input_size, space.input_size]
    preprocessing = {
        "input_size": shape,
        "resize": None,
        "interpolation": "bilinear",
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
    }
    save_model(tmp_path / "model", small, Card(small_space.name, small_space.arch, tuple("abcde"), preprocessing))
    loaded, space_again, _ = load_model(tmp_path)
    assert space_again == small_space
    assert space_again.arch == json.loads(json.dumps(small_space.arch)) == small_space.arch
    assert all(torch.equal(value, small.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert torch.equal(loaded(images(space)), small(images(space)))


@torch.no_grad()
def test_sliced_networks_stay_timms_own_modules(space):
    from timm.models._features import FeatureGetterNet, FeatureListNet

    network, x = network_of(space), images(space)
    small, _ = slice_model(network, space, plan_of(space))
    assert type(small) is type(network)
    features, logits = small.forward_features(x), small(x)
    assert torch.equal(small.forward_head(features), logits)
    last, stages = small.forward_intermediates(x)
    assert torch.equal(last, features)
    assert [stage.shape for stage in stages] == [stage.shape for stage in network.forward_intermediates(x)[1]]
    swin = space.name == "swin"
    wrapped = (
        FeatureListNet(deepcopy(small), out_indices=(0, 1), flatten_sequential=True)
        if swin
        else FeatureGetterNet(deepcopy(small), out_indices=(0, 1), norm=False)
    )
    for found, expected in zip(wrapped(x), stages, strict=True):
        assert torch.equal(found.permute(0, 3, 1, 2) if swin else found, expected)
    small.reset_classifier(7)
    assert small(x).shape == (2, 7)
    assert torch.equal(small.forward_features(x), features)


@torch.no_grad()
def test_a_sliced_swin_takes_another_image_size():
    small, small_space = slice_model(network_of(PADDED), PADDED, plan_of(PADDED))
    larger = replace(small_space, input_size=48)
    expected = larger.empty().eval()
    expected.load_state_dict(small.state_dict())
    small.set_input_size((48, 48), window_size=4)
    assert torch.equal(small(images(larger)), expected(images(larger)))


def test_gradients_of_scores_are_those_of_multiplied_q_k_v_and_hidden_units(space):
    """The gates act on weights; here the same products are taken of features."""
    network, x = network_of(space).double(), images(space).double()
    generator = torch.Generator().manual_seed(4)
    scores = {name: torch.randn(n, generator=generator) for name, n in sizes(space.groups).items()}
    alphas = Alphas(space.groups).double()
    alphas.load_scores(scores)
    gates = alphas.attach(network)
    values = {name: score.double().requires_grad_() for name, score in scores.items()}
    gated = network(x)
    found = torch.autograd.grad(gated.square().sum(), [alphas[name] for name in values])
    for gate in gates:
        gate.remove()
    assert not any(hasattr(module, "score") or hasattr(module, "copies") for module in network.modules())
    for name, value in values.items():
        module = network.get_submodule(name)
        if isinstance(module, nn.Linear):  # features of the stream
            module.register_forward_pre_hook(lambda module, args, value=value: (args[0] * value,))
        elif hasattr(module, "qkv"):
            module.qkv.register_forward_hook(
                lambda _, args, output, value=value, heads=module.num_heads: (
                    output.unflatten(-1, (3, heads, -1)) * value
                ).flatten(-3)
            )
        else:
            module.fc2.register_forward_pre_hook(lambda module, args, value=value: (args[0] * value,))
    expected = network(x)
    torch.testing.assert_close(gated, expected, rtol=1e-10, atol=0)
    gradients = torch.autograd.grad(expected.square().sum(), list(values.values()))
    for a, b in zip(found, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))


def test_gates_leave_the_layers_as_they_were(space):
    network = network_of(space)
    before = [type(module) for module in network.modules()], list(network.state_dict())
    gates = Alphas(space.groups).attach(network)
    assert list(network.state_dict()) == before[1]
    for gate in gates:
        gate.remove()
    assert [type(module) for module in network.modules()] == before[0]


BAD = [
    ({"model": "swin_t"}, r"space\.model = 'swin_t': timm has no such model; for example 'swin_tiny"),
    ({"model": None}, r"space\.model = None: timm has no such model"),
    ({"model": "resnet18"}, r"space\.model = 'resnet18': ResNet is no swin; for example 'swin_tiny"),
    ({"model": "resnet18", "input_size": 32}, r"timm refuses them for resnet18 .*choose a swin such as 'swin_tiny"),
    ({"model": "swinv2_tiny_window8_256"}, r"SwinTransformerV2 is no swin; for example"),
    ({"model": "deit_tiny_patch16_224"}, r"VisionTransformer is no swin; for example"),
    ({"model": "hf_hub:timm/swin_tiny_patch4_window7_224"}, r"space\.model = 'hf_hub:.*timm has no such model"),
    ({"model": "local-dir:/tmp/swin_tiny_patch4_window7_224"}, r"space\.model = 'local-dir:.*timm has no such model"),
    ({"model": "swin_tiny_patch4_window7_224./etc"}, r"space\.model = .*timm has no such model"),
    (
        {"options": {"windows": 7}},
        r"space\.options\['windows'\]: timm's SwinTransformer has no such.*it has patch_size",
    ),
    ({"options": {"checkpoint_path": "x"}}, r"options\['checkpoint_path'\]: weights come from --checkpoint"),
    ({"options": {"features_only": True}}, r"options\['features_only'\]: timm's SwinTransformer has no such argument"),
    ({"options": {"norm_layer": "os.system"}}, r"options\['norm_layer'\] = 'os.system': must be a plain value"),
    ({"options": {"norm_layer": {"a": 1}}}, r"options\['norm_layer'\] = \{'a': 1\}: must be a plain value"),
    ({"options": {"num_classes": 7}}, r"options\['num_classes'\]: is space.num_classes.*; leave it away"),
    ({"options": {"window_size": 0}}, r"timm refuses them for swin_tiny.*must be positive.*; correct them"),
    ({"options": {"num_heads": (1,)}}, r"timm refuses them for swin_tiny.*index out of range.*; correct them"),
    ({"options": {"patch_size": 0}}, r"timm refuses them for swin_tiny.*by zero\); correct them"),
    ({"options": {"drop_path_rate": "a"}}, r"timm refuses them for swin_tiny.*; correct them"),
    (
        {"options": {"norm_layer": nn.LayerNorm}},
        r"space\.options\['norm_layer'\] = .*plain value.*give numbers, words or lists",
    ),
    ({"options": 7}, r"space\.options = 7: must map names to plain values"),
    ({"input_size": 0}, r"input_size = 0: must be a whole number from 1 to 8192"),
    (
        {"widths": {"blocks.0.attn": 3}},
        r"widths\['blocks\.0\.attn'\]: swin_tiny\S+ has no such group; see space\.groups",
    ),
    ({"widths": {"layers.0.blocks.0.attn": 0}}, r"attn'\] = 0: must be a whole number from 1 to 32"),
    ({"widths": {"layers.0.blocks.0.mlp": 385}}, r"mlp'\] = 385: must be a whole number from 1 to 384"),
    ({"widths": {"layers.0.blocks.0.mlp": 2.5}}, r"mlp'\] = 2\.5: must be a whole number"),
    ({"scored": "heads"}, r"space\.scored = 'heads': must be 'sidt' or 'vtp'"),
]
BAD_VITS = [
    ("swin_tiny_patch4_window7_224", {}, r"SwinTransformer is no vit; for example 'deit_small"),
    ("eva02_tiny_patch14_224", {}, r"Eva is no vit; for example 'deit_small"),
    ("vit_tiny_patch16_224", {"qk_norm": True}, r"blocks\.0 has attention with a norm.*use a plain ViT"),
    ("vit_tiny_patch16_224", {"scale_attn_norm": True}, r"blocks\.0 has attention with a norm.*use a plain ViT"),
    ("vit_tiny_patch16_224", {"scale_mlp_norm": True}, r"blocks\.0 has an MLP of type Mlp, or with a norm"),
    ("vit_giant_patch14_dinov2", {"depth": 1}, r"blocks\.0 has an MLP of type GluMlp.*use a plain ViT"),
    ("vit_dlittle_patch16_reg1_gap_256", {"depth": 1}, r"attention of type DiffAttention.*use a plain ViT"),
    ("vit_small_patch16_18x2_224", {"depth": 1}, r"no block has one attention and one MLP.*for example 'deit_small"),
    ("vit_tiny_patch16_224", {"depth": 0}, r"no block has one attention and one MLP"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_impossible_swins_are_refused_in_one_line(change, message):
    with pytest.raises(UserError, match=message) as caught:
        SwinSpace(**{"num_classes": 3, "model": SWIN_T, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("model", "options", "message"), BAD_VITS)
def test_vits_that_cannot_be_sliced_are_refused_in_one_line(model, options, message):
    with pytest.raises(UserError, match=message) as caught:
        VitSpace(3, model, options=options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("space", "side", "message"),
    [
        (PADDED, 32, r"space\.input_size = 36: the images have 32 x 32 pixels; set it to the data's input_size"),
        (
            SwinSpace(3, SWIN_T),
            32,
            r"height \(32\) doesn't match model \(224\); set space\.input_size to the images' side",
        ),
        (VitSpace(3, "deit_tiny_patch16_224"), 96, r"height \(96\) doesn't match model \(224\); set space\.input_size"),
        (
            VitSpace(3, "deit_tiny_patch16_224", options={"dynamic_img_size": True}),
            100,
            r"100.*divisible by patch size.*; set space\.input_size to .* a multiple of the patch size",
        ),
    ],
)
def test_images_of_another_size_are_refused_in_one_line(space, side, message):
    with pytest.raises(UserError, match=message) as caught:
        space.operators((3, side, side))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["pretrained", "checkpoint_path", "img_size", "num_classes"])
def test_options_that_would_bypass_the_space_are_refused(option):
    with pytest.raises(UserError, match=rf"space.options\['{option}'\]"):
        SwinSpace(4, "swin_tiny_patch4_window7_224", options={option: 1})
