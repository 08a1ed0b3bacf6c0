"""Small whole detectors whose detections are neither none nor ties, and images as MMDetection's pipelines give them."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import torch
from thresholds import in_widest_gap
from torch import nn
from torch.nn import functional as F

KINDS = ("cascade-mask", "cascade", "mask", "faster")


def model_section(
    model: dict[str, Any], kind: str = "cascade-mask", *, few: bool = False, **rcnn: Any
) -> dict[str, Any]:
    """The twin's model section with a shallower backbone, as a detector of `kind`; `rcnn` changes its test_cfg.

    With `few`, two stages of the backbone and of the cascade and three levels: the same operators, half as often.
    """
    found = deepcopy(model)
    found["backbone"]["depths"] = [2, 1, 1, 1]
    head = found["roi_head"]
    if few:
        _keep_two(found, head)
    if "mask" not in kind:
        head.pop("mask_head"), head.pop("mask_roi_extractor")
    if "cascade" not in kind:
        found["type"] = "MaskRCNN" if kind == "mask" else "FasterRCNN"
        head["type"] = "StandardRoIHead"
        head.pop("num_stages"), head.pop("stage_loss_weights")
        head["bbox_head"] = {**head["bbox_head"][0], "reg_class_agnostic": False}
        found["train_cfg"]["rcnn"] = found["train_cfg"]["rcnn"][0]
    found["test_cfg"]["rpn"] |= {"nms_pre": 256, "max_per_img": 48}
    found["test_cfg"]["rcnn"] |= {"score_thr": 0.05, "max_per_img": 20, **rcnn}
    return found


def _keep_two(section: dict[str, Any], head: dict[str, Any]) -> None:
    two = {"depths": [2, 1], "num_heads": [1, 2], "strides": [4, 2], "out_indices": [0, 1]}
    section["backbone"] |= two
    section["neck"] |= {"in_channels": [32, 64], "num_outs": 3}
    section["rpn_head"]["anchor_generator"]["strides"] = [4, 8, 16]
    for extractor in ("bbox_roi_extractor", "mask_roi_extractor"):
        head[extractor]["featmap_strides"] = [4, 8]
    head |= {"num_stages": 2, "bbox_head": head["bbox_head"][:2], "stage_loss_weights": [1, 0.5]}
    section["train_cfg"]["rcnn"] = section["train_cfg"]["rcnn"][:2]


DENSE_HEADS: dict[str, dict[str, Any]] = {
    "RetinaNet": {"type": "RetinaHead", "anchors": {"ratios": [0.5, 1.0]}, "bbox_coder": "DeltaXYWHBBoxCoder"},
    "ATSS": {"type": "ATSSHead", "anchors": {}, "bbox_coder": "DeltaXYWHBBoxCoder"},
    "FCOS": {"type": "FCOSHead", "strides": [4, 8], "norm_on_bbox": True, "centerness_on_reg": True},
    "GFL": {"type": "GFLHead", "anchors": {}, "reg_max": 4},
    "DDOD": {"type": "DDODHead", "anchors": {}, "use_dcn": False, "bbox_coder": "DeltaXYWHBBoxCoder"},
    "RTMDet": {"type": "RTMDetSepBNHead", "points": 0, "exp_on_reg": True, "with_objectness": True},
}
"""Detector -> what its head has of its own; `anchors` and `points` make its priors."""


def dense_section(kind: str, **test: Any) -> dict[str, Any]:
    """The model section of a one-stage detector with a very small Swin and two levels; `test` changes its test_cfg."""
    head = {"num_classes": 80, "in_channels": 32, "stacked_convs": 1, "feat_channels": 32, **DENSE_HEADS[kind]}
    strides = [4, 8]
    if (anchors := head.pop("anchors", None)) is not None:
        sizes = {"octave_base_scale": 4, "scales_per_octave": 1, "ratios": [1.0], **anchors}
        head["anchor_generator"] = {"type": "AnchorGenerator", "strides": strides, **sizes}
    if (offset := head.pop("points", None)) is not None:
        head["anchor_generator"] = {"type": "MlvlPointGenerator", "strides": strides, "offset": offset}
        head["bbox_coder"] = "DistancePointBBoxCoder"
    if coder := head.pop("bbox_coder", None):
        head["bbox_coder"] = {"type": coder}
    thresholds = {"nms_pre": 60, "min_bbox_size": 0, "score_thr": 0.05, "max_per_img": 20}
    return {
        "type": kind,
        "data_preprocessor": {"type": "DetDataPreprocessor", "mean": [120.0] * 3, "std": [60.0] * 3},
        "backbone": {"type": "SwinTransformer", "embed_dims": 16, "depths": [1, 1], "num_heads": [1, 2]}
        | {"strides": [4, 2], "out_indices": [0, 1]},
        "neck": {"type": "FPN", "in_channels": [16, 32], "out_channels": 32, "num_outs": 2},
        "bbox_head": head,
        "test_cfg": {**thresholds, "nms": {"type": "nms", "iou_threshold": 0.5}, **test},
    }


def query_section(kind: str, *, width: int = 32, layers: int = 2, **more: Any) -> dict[str, Any]:
    """The model section of a very small `DINO` or `DeformableDETR` of `width` on the backbone of `dense_section`;
    `layers` of the decoder."""
    found = dense_section("FCOS")
    found["neck"]["out_channels"] = width
    attention = {"embed_dims": width, "num_heads": 4, "num_levels": 2, "dropout": 0.0}
    layer = {"ffn_cfg": {"embed_dims": width, "feedforward_channels": 64, "ffn_drop": 0.0}}
    selves = {"embed_dims": width, "num_heads": 4, "dropout": 0.0}
    found |= {
        "type": kind,
        "num_queries": 24,
        "num_feature_levels": 2,
        "encoder": {"num_layers": 1, "layer_cfg": {**layer, "self_attn_cfg": attention}},
        "decoder": {"num_layers": layers, "return_intermediate": True, "post_norm_cfg": None}
        | {"layer_cfg": {**layer, "self_attn_cfg": selves, "cross_attn_cfg": attention}},
        "positional_encoding": {"num_feats": width // 2, "normalize": True},
        "bbox_head": {"type": f"{kind}Head", "num_classes": 80, "embed_dims": width}
        | {"loss_cls": {"type": "FocalLoss", "use_sigmoid": True}},
        "test_cfg": {"max_per_img": 20},
        **more,
    }
    if kind == "DINO":
        noise = {"label_noise_scale": 0.5, "box_noise_scale": 1.0}
        groups = {"dynamic": True, "num_groups": None, "num_dn_queries": 8}
        found |= {"dn_cfg": {**noise, "group_cfg": groups}, "with_box_refine": True, "as_two_stage": True}
    return found


def query_detector(kind: str, **more: Any) -> Any:
    """A detector with queries whose scores and boxes differ from each other."""
    from compress.detection import DetectorSpace

    torch.manual_seed(0)
    return spread_head(DetectorSpace(num_classes=80, model=query_section(kind, **more)).build())


def dense_detector(kind: str, **test: Any) -> Any:
    """A one-stage detector whose scores and boxes differ from each other."""
    from compress.detection import DetectorSpace

    torch.manual_seed(0)
    return spread_head(DetectorSpace(num_classes=80, model=dense_section(kind, **test)).build())


def spread_head(network: Any) -> Any:
    """`network`, of one stage or with queries, in eval mode with a head of larger weights."""
    for module in network.bbox_head.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=1.5 * module.weight[0].numel() ** -0.5)
    return network.eval()


def spread(network: Any) -> Any:
    """`network` in eval mode with larger weights in its last layers: scores and boxes differ from each other.

    Not so large that scores become 1: MMDetection sorts equal ones in any order.
    """
    factors = {"rpn_cls": 20, "rpn_reg": 5, "fc_cls": 8, "fc_reg": 10, "conv_logits": 10}
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(factors.get(name.rpartition(".")[2], 1))
    return network.eval()


def detector(model: dict[str, Any], kind: str = "cascade-mask", *, seed: int = 0, **options: Any) -> Any:
    """A detector of `kind` with seeded weights; `options` are those of `model_section`."""
    from compress.detection import DetectorSpace

    torch.manual_seed(seed)
    return spread(DetectorSpace(num_classes=80, model=model_section(model, kind, **options)).build())


def prepared(network: Any, sample: dict[str, Any], size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Normalised images [1, 3, H, W] padded to `size`, the image's own size [1, 2], and its description."""
    data = network.data_preprocessor({key: [deepcopy(sample[key])] for key in ("inputs", "data_samples")})
    images, described = data["inputs"], data["data_samples"]
    images = F.pad(images, (0, size[1] - images.shape[3], 0, size[0] - images.shape[2]))
    return images, torch.tensor([[float(side) for side in described[0].img_shape]]), described


def halved(network: Any, samples: list[dict[str, Any]], size: tuple[int, int]) -> Any:
    """`network` with a `score_thr` that about half of its detections in `samples` reach, none of them closely.

    Images have different numbers of detections then, and no processor's rounding changes one of them.
    """
    scores = []
    for sample in samples:
        images, _, described = prepared(network, sample, size)
        with torch.no_grad():
            scores.append(network.predict(images, described, rescale=False)[0].pred_instances.scores)
    from compress.detection.export.supported import box_settings

    box_settings(network).score_thr = in_widest_gap(torch.cat(scores).tolist(), high=0.6)
    return network


def neck_maps(file: Any, network: Any) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Sorted shapes of the tensors that `file` says leave backbone and neck, and of those that do in `network`."""
    import onnx

    proto = onnx.load(file)
    metadata = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    graph = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {info.name: tuple(d.dim_value for d in info.type.tensor_type.shape.dim) for info in graph.value_info}
    with torch.no_grad():
        maps = network.extract_feat(torch.zeros(1, *metadata["preprocessing"]["input_size"]))
    return sorted(shapes[name] for name in metadata["detector"]["maps"]), sorted(tuple(each.shape) for each in maps)
