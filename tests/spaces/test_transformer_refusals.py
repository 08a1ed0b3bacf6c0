"""Settings that no Swin or ViT has, or that cannot be sliced, are refused in one line."""

import pytest
from small_transformers import PADDED, SWIN_T
from torch import nn

from compress.plan import UserError
from compress.spaces import (
    SwinSpace,
    VitSpace,
)

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
    ({"widths": {"layers.0.blocks.0.attn": -1}}, r"attn'\] = -1: must be a whole number from 0 to 32"),
    ({"widths": {"layers.0.blocks.0.mlp": 385}}, r"mlp'\] = 385: must be a whole number from 0 to 384"),
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
