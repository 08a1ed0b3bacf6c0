"""Which of the configs that MMDetection brings along go the whole way: prune, slice, reload, train, export, compare.

For each: random weights and scores, 70 % of the backbone's MACs, the sliced detector written as an MMDetection config
and checkpoint and built of them again, one training iteration on a drawn image, both ONNX files, and their detections
compared with MMDetection's on drawn images. Where a config is refused, the row holds the line that says why; what
breaks is a fault, and the script ends with 1. Last layers are enlarged so that scores and boxes differ.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results

CONFIGS = (
    "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco",
    "swin/mask-rcnn_swin-s-p4-w7_fpn_amp-ms-crop-3x_coco",
    "swin/retinanet_swin-t-p4-w7_fpn_1x_coco",
    "rtmdet/rtmdet_l_swin_b_4xb32-100e_coco",
    "dino/dino-5scale_swin-l_8xb2-12e_coco",
    "dino/dino-4scale_r50_8xb2-12e_coco",
    "deformable_detr/deformable-detr_r50_16xb2-50e_coco",
    "deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco",
    "pvt/retinanet_pvt-t_fpn_1x_coco",
    "pvt/retinanet_pvtv2-b0_fpn_1x_coco",
    "retinanet/retinanet_r18_fpn_1x_coco",
    "retinanet/retinanet_r50_fpn_1x_coco",
    "retinanet/retinanet_x101-32x4d_fpn_1x_coco",
    "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco",
    "fcos/fcos_r50-dcn-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco",
    "atss/atss_r50_fpn_1x_coco",
    "gfl/gfl_r50_fpn_1x_coco",
    "ddod/ddod_r50_fpn_1x_coco",
    "free_anchor/freeanchor_r50_fpn_1x_coco",
    "rtmdet/rtmdet_tiny_8xb32-300e_coco",
    "rtmdet/rtmdet-ins_tiny_8xb32-300e_coco",
    "faster_rcnn/faster-rcnn_r50_fpn_1x_coco",
    "faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco",
    "mask_rcnn/mask-rcnn_r50_fpn_1x_coco",
    "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco",
    "regnet/faster-rcnn_regnetx-3.2GF_fpn_1x_coco",
    "res2net/faster-rcnn_res2net-101_fpn_2x_coco",
    "paa/paa_r50_fpn_1x_coco",
    "tood/tood_r50_fpn_1x_coco",
    "vfnet/vfnet_r50_fpn_1x_coco",
    "yolox/yolox_s_8xb8-300e_coco",
    "detr/detr_r50_8xb2-150e_coco",
    "sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco",
)
QUICK = ("retinanet/retinanet_r18_fpn_1x_coco", "vfnet/vfnet_r50_fpn_1x_coco")
MACS_RATIO = 0.7
ENLARGED = {"rpn_cls": 20, "rpn_reg": 5, "fc_cls": 8, "fc_reg": 10, "conv_logits": 10}
"""Layer of a two-stage detector -> factor."""
FORMS = ("onnxruntime", "plugin-free")
SHARE = 0.02
"""Detections that rounding may decide the other way."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="*", default=CONFIGS, help="names below MMDetection's configs (all of these)")
    parser.add_argument("--side", type=int, default=256, metavar="N", help="exported height and width")
    parser.add_argument("--images", type=int, default=2, metavar="N", help="drawn images to compare on")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "detector_configs", help="keeps rows")
    parser.add_argument("--quick", action="store_true", help="two configs, one image of 128 pixels, nothing written")
    return parser.parse_args()


def drawn(n: int, side: int) -> list[dict[str, Any]]:
    """`n` images of blurred noise, of different sizes up to `side`, with three objects each, as pipelines give them."""
    import torch
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData
    from torch.nn import functional as F

    generator, samples = torch.Generator().manual_seed(0), []
    for i in range(n):
        shape = (side, side - 32 * (i % 3)) if i % 2 else (side - 32 * (i % 2), side)
        coarse = torch.rand(1, 3, 12, 12, generator=generator) * 255
        image = F.interpolate(coarse, shape, mode="bicubic").clamp(0, 255)[0].to(torch.uint8)
        corners = torch.rand(3, 2, generator=generator) * side / 3
        boxes = torch.cat([corners, corners + side / 4 + torch.rand(3, 2, generator=generator) * side / 4], 1)
        masks = torch.zeros(3, *shape, dtype=torch.uint8)
        for mask, box in zip(masks, boxes.int().tolist(), strict=True):
            mask[box[1] : box[3], box[0] : box[2]] = 1
        meta = {"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0), "img_path": f"drawn {i}"}
        described = DetDataSample(metainfo={**meta, "img_id": i})
        described.gt_instances = InstanceData(
            bboxes=boxes, labels=torch.tensor([0, 1, 2]), masks=BitmapMasks(masks.numpy(), *shape)
        )
        described.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        samples.append({"inputs": image, "data_samples": described})
    return samples


def enlarge(network: Any) -> None:
    """Give `network` last layers from which scores and boxes differ."""
    import torch
    from torch import nn

    head = getattr(network, "bbox_head", None)
    own = {id(module) for module in head.modules()} if head is not None else set()
    with torch.no_grad():
        for name, module in network.named_modules():
            if id(module) in own and isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=1.5 * module.weight[0].numel() ** -0.5)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(ENLARGED.get(name.rpartition(".")[2], 1))


def reloaded(network: Any, space: Any, stem: Path) -> Any:
    """The detector of the config and checkpoint that are written of `network`."""
    import torch
    from mmengine.config import Config

    from compress.detection.space import build_model

    Config({"model": space.config()}).dump(str(stem.with_suffix(".py")))
    torch.save({"state_dict": network.state_dict()}, stem.with_suffix(".pth"))
    again = build_model(Config.fromfile(str(stem.with_suffix(".py"))).model.to_dict())
    again.load_state_dict(torch.load(stem.with_suffix(".pth"), weights_only=True)["state_dict"])
    return again.eval()


def trained(network: Any, sample: dict[str, Any]) -> float:
    """The loss of one iteration of SGD on two copies of `sample`."""
    import torch
    from mmengine.dataset import pseudo_collate
    from mmengine.logging import MessageHub

    MessageHub.get_current_instance().update_info("iter", 0)  # YOLOX scales its batches every few iterations
    network.train()
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-6)
    if not network.with_mask and "Ins" not in type(getattr(network, "bbox_head", None)).__name__:
        sample["data_samples"].gt_instances.pop("masks")  # which pipelines load for masks alone
    data = network.data_preprocessor(pseudo_collate([sample, sample]), training=True)
    loss, _ = network.parse_losses(network(**data, mode="loss"))
    loss.backward()
    optimiser.step()
    network.eval()
    return float(loss.detach())


def way(args: argparse.Namespace, config: str, row: dict[str, Any]) -> None:
    """Take `config` the whole way and note in `row` how far it came."""
    import torch

    from compress.detection import DetectorSpace
    from compress.detection.data import head_classes
    from compress.detection.export import compare_detections, export_detector
    from compress.detection.run import load_config
    from compress.pruning import Budget, SelectConfig, select, slice_model
    from compress.search import random_scores

    model = load_config(f"mmdet::{config}.py").model.to_dict()
    row |= {"detector": model["type"], "backbone": model["backbone"]["type"]}
    space = DetectorSpace(num_classes=head_classes(model), model=model)
    row["groups"] = len(space.groups)
    torch.manual_seed(0)
    network = space.build().eval()
    operators = space.operators((3, args.side, args.side))
    budget = Budget("macs_ratio", MACS_RATIO)
    plan = select(random_scores(space, seed=0), operators, budget, SelectConfig(), space=space.name)
    small, small_space = slice_model(network, space, plan)
    row["params"] = {
        side: sum(p.numel() for p in net.parameters()) for side, net in (("before", network), ("after", small))
    }
    again = reloaded(small, small_space, args.work_dir / config.replace("/", "_"))
    samples = drawn(args.images, args.side)
    row["loss"] = trained(again, samples[0])
    again.load_state_dict(small.state_dict())
    enlarge(again)
    for form in FORMS:
        file, started = args.work_dir / "exported.onnx", time.perf_counter()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "sampling_ratio = 0")  # both sides then take two samples
            export_detector(again, file, input_size=(3, args.side, args.side), form=form)
        row[form] = compare_detections(again, file, samples, unmatched_share=SHARE)
        row[form]["export_seconds"] = round(time.perf_counter() - started, 1)


def examine(args: argparse.Namespace, config: str) -> dict[str, Any]:
    """A config's row, which is kept in the work folder."""
    from compress.plan import UserError, read_json, write_json
    from compress.plan.errors import FAULTS

    kept = args.work_dir / f"{config.replace('/', '_')}.json"
    settings = {"config": config, "side": args.side, "images": args.images}
    if kept.exists() and settings.items() <= (row := read_json(kept)).items():
        return row
    row = dict(settings)
    try:
        way(args, config, row)
    except UserError as error:
        row["refused"] = str(error)
    except FAULTS as error:  # a row of the table, and the script ends with 1
        traceback.print_exc()
        row["fault"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    write_json(kept, row)
    return row


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """What a person reads of a row."""
    params = row.get("params")
    return {
        "config": row["config"].partition("/")[2],
        "groups": row.get("groups", ""),
        "M": f"{params['before'] / 1e6:.1f} -> {params['after'] / 1e6:.1f}" if params else "",
        "loss": row.get("loss", ""),
        **{form: f"{row[form]['n_unmatched']} of {row[form]['n_detections']}" if form in row else "" for form in FORMS},
        "ends": row.get("fault") or row.get("refused") or "whole way",
    }


def main(args: argparse.Namespace) -> int:
    import torch

    import compress.detection  # noqa: F401 (before MMDetection)

    torch.set_num_threads(1)
    if args.quick:
        args.configs, args.side, args.images, args.work_dir = QUICK, 128, 1, args.work_dir / "quick"
    args.work_dir.mkdir(parents=True, exist_ok=True)
    rows = []
    for config in args.configs:
        rows.append(examine(args, config))
        print(f"{config}: {shown(rows[-1])['ends']}", flush=True)
    print_rows("MMDetection's configs, unmatched detections of each form", [shown(row) for row in rows])
    if not args.quick:
        print(save_results("detector_configs", rows))
    return int(any("fault" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main(parse()))
