"""Small whole detectors whose detections are neither none nor ties, and images as MMDetection's pipelines give them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from thresholds import in_widest_gap
from torch import nn
from torch.nn import functional as F

KINDS = ("cascade-mask", "cascade", "mask", "faster")


def model_section(model: dict[str, Any], kind: str = "cascade-mask", **rcnn: Any) -> dict[str, Any]:
    """The twin's model section with a shallower backbone, as a detector of `kind`; `rcnn` changes its test_cfg."""
    found = deepcopy(model)
    found["backbone"]["depths"] = [2, 1, 1, 1]
    head = found["roi_head"]
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


def detector(model: dict[str, Any], kind: str = "cascade-mask", *, seed: int = 0, **rcnn: Any) -> Any:
    """A detector of `kind` with seeded weights."""
    from compress.detection import DetectorSpace

    torch.manual_seed(seed)
    return spread(DetectorSpace(num_classes=80, model=model_section(model, kind, **rcnn)).build())


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
    network.roi_head.test_cfg.score_thr = in_widest_gap(torch.cat(scores).tolist(), high=0.6)
    return network
