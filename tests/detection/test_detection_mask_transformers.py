"""Mask2Former and MaskFormer with a Swin: pruned and judged by AP; what of them is not exported is said at once."""

import json

import pytest
import torch
from drawn_coco import RECIPE, Silent, options_of, write_config
from run_tool import run_tool

pytest.importorskip("mmdet")
from compress.detection import DetectorSpace
from compress.detection.config_file import load_config
from compress.detection.data import head_classes
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import UserError

MASK2FORMER = """
_classes = dict(num_things_classes=80, num_stuff_classes=0)
_attention = dict(embed_dims=32, num_heads=2, dropout=0.0, batch_first=True)
_ffn = dict(embed_dims=32, feedforward_channels=32, num_fcs=2, ffn_drop=0.0, act_cfg=dict(type="ReLU", inplace=True))
_positions = dict(num_feats=16, normalize=True)
_square = dict(type="BatchFixedSizePad", size=(128, 128), pad_mask=True)
_costs = [
    dict(type="ClassificationCost", weight=2.0),
    dict(type="CrossEntropyLossCost", weight=5.0, use_sigmoid=True),
    dict(type="DiceCost", weight=5.0, pred_act=True, eps=1.0),
]
model = dict(
    _delete_=True,
    type="Mask2Former",
    data_preprocessor=dict(
        type="DetDataPreprocessor", mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4], pad_size_divisor=32,
        pad_mask=True, batch_augments=[_square],
    ),
    backbone=dict(type="SwinTransformer", embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8]),
    panoptic_head=dict(
        type="Mask2FormerHead", in_channels=[16, 32, 64, 128], strides=[4, 8, 16, 32], feat_channels=32,
        out_channels=32, num_queries=10, num_transformer_feat_level=3, enforce_decoder_input_project=False,
        positional_encoding=_positions,
        pixel_decoder=dict(
            type="MSDeformAttnPixelDecoder", num_outs=3, norm_cfg=dict(type="GN", num_groups=8),
            act_cfg=dict(type="ReLU"), positional_encoding=_positions,
            encoder=dict(
                num_layers=1,
                layer_cfg=dict(self_attn_cfg=dict(**_attention, num_levels=3, num_points=2), ffn_cfg=_ffn),
            ),
        ),
        transformer_decoder=dict(
            return_intermediate=True, num_layers=2, init_cfg=None,
            layer_cfg=dict(self_attn_cfg=_attention, cross_attn_cfg=_attention, ffn_cfg=_ffn),
        ),
        loss_cls=dict(type="CrossEntropyLoss", loss_weight=2.0, class_weight=[1.0] * 80 + [0.1]),
        loss_mask=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=5.0),
        loss_dice=dict(type="DiceLoss", use_sigmoid=True, activate=True, naive_dice=True, eps=1.0, loss_weight=5.0),
        **_classes,
    ),
    panoptic_fusion_head=dict(type="MaskFormerFusionHead", loss_panoptic=None, init_cfg=None, **_classes),
    train_cfg=dict(
        num_points=64, oversample_ratio=3.0, importance_sample_ratio=0.75, sampler=dict(type="MaskPseudoSampler"),
        assigner=dict(type="HungarianAssigner", match_costs=_costs),
    ),
    test_cfg=dict(
        panoptic_on=False, semantic_on=False, instance_on=True, max_per_image=10, iou_thr=0.8, filter_low_score=True
    ),
)
"""
MASKFORMER = """
_deeper = dict(num_layers=1, layer_cfg=dict(self_attn_cfg=_attention, ffn_cfg=_ffn))
_head = model["panoptic_head"]
_head.update(
    type="MaskFormerHead",
    pixel_decoder=dict(
        type="TransformerEncoderPixelDecoder", norm_cfg=dict(type="GN", num_groups=8), act_cfg=dict(type="ReLU"),
        encoder=_deeper, positional_encoding=_positions,
    ),
    loss_mask=dict(type="FocalLoss", use_sigmoid=True, loss_weight=20.0),
)
for _key in ("strides", "num_transformer_feat_level"):
    _head.pop(_key)
model["type"] = "MaskFormer"
model["train_cfg"] = dict(assigner=dict(type="HungarianAssigner", match_costs=[
    dict(type="ClassificationCost", weight=1.0), dict(type="FocalLossCost", weight=20.0, binary_input=True),
    dict(type="DiceCost", weight=1.0, pred_act=True, eps=1.0)]), sampler=dict(type="MaskPseudoSampler"))
"""
LEFT_OUT = "stages export and measure will be left out: network: {} is not exported whole"


@pytest.fixture(scope="module", params=["Mask2Former", pytest.param("MaskFormer", marks=pytest.mark.slow)])
def made(request, coco, tmp_path_factory):
    """Its name, and config and checkpoint of a small one."""
    folder = tmp_path_factory.mktemp(request.param)
    more = MASK2FORMER + (MASKFORMER if request.param == "MaskFormer" else "")
    file = write_config(folder / "config.py", coco, more)
    torch.manual_seed(0)
    network = DetectorSpace(num_classes=80, model=load_config(str(file)).model.to_dict()).build()
    torch.save({"state_dict": network.state_dict()}, folder / "network.pth")
    return request.param, file, folder / "network.pth"


def test_it_is_pruned_and_what_is_left_out_is_said_first(made, coco, tmp_path, capsys):
    name, file, checkpoint = made
    run = tmp_path / "run"
    arguments = ("--checkpoint", checkpoint, "--work-dir", run, "--pruning-ratio", 0.2)
    with pytest.warns(UserWarning, match=LEFT_OUT.format(name)):
        code = run_tool("prune", RECIPE, *arguments, "--cfg-options", *options_of(file, coco))
    assert code == 0, capsys.readouterr().err
    summary = json.loads((run / "summary.json").read_text())
    assert summary["macs"]["after"] < summary["macs"]["before"]
    assert {"bbox_mAP", "segm_mAP"} <= summary.keys()
    assert load_config(str(run / "model.py")).model.type == name


def test_the_line_comes_before_any_training(made, coco):
    name, file, _ = made
    context = make_context(load_recipe(RECIPE, options_of(file, coco)), Silent())
    with pytest.warns(UserWarning, match=LEFT_OUT.format(name)) as told:
        context.check(["search", "export"])
    (line,) = [str(each.message) for each in told if each.category is UserWarning]
    assert "\n" not in line


def test_classes_are_things_and_stuff(made):
    _, file, _ = made
    model = load_config(str(file)).model
    assert head_classes(model) == 80
    for part in ("panoptic_head", "panoptic_fusion_head"):
        model[part].num_stuff_classes = 53
    assert head_classes(model) == 133


def test_without_objects_there_is_no_ap(made, tmp_path):
    _, file, _ = made
    other = tmp_path / "other.py"
    other.write_text(f"_base_ = {str(file)!r}\nmodel = dict(test_cfg=dict(instance_on=False))\n")
    with pytest.raises(UserError, match=r"other\.py: model\.test_cfg\.instance_on is not True.*; set it to True"):
        load_config(str(other))
