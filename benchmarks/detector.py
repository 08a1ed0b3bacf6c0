"""The full detector of table 4.6, Cascade Mask R-CNN on Swin-T, unpruned and with 20 and 40 % of its dimensions gone.

Counts parameters and the backbone's MACs at 800 x 1344, checks that the sliced detector equals the masked one, exports
both forms of every detector, compares their detections with MMDetection's on photographs of COCO, builds the
plugin-free form with TensorRT-RTX, and times the files of ONNX Runtime in turn, one thread. Weights are random: the
last layers' are enlarged so that scores and boxes differ. The RPN proposes 300 boxes, not 1000, whose heads would take
most of the hours.
"""

from __future__ import annotations

import argparse
import time
import warnings
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from _harness import ROOT, check_rivals, print_rows, save_results
from swin_latency import uniform_plan

RECIPE = ROOT / "recipes" / "detection" / "mmdet" / "cascade_mask_rcnn_swin_t_coco.py"
RATIOS = (0.0, 0.2, 0.4)
COUNTED_AT = (3, 800, 1344)
ENLARGED = {"rpn_cls": 20, "rpn_reg": 5, "fc_cls": 8, "fc_reg": 10, "conv_logits": 10}
"""Layer -> factor."""
PROPOSALS = 300
FORMS = ("onnxruntime", "plugin-free")
SHARE = 0.02
"""Detections that rounding may decide the other way."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, metavar="D", help="folder of COCO: annotations/, val2017/")
    parser.add_argument(
        "--images", type=int, nargs=len(RATIOS), default=(20, 4, 4), metavar="N", help="photographs to compare on"
    )
    parser.add_argument("--side", type=int, default=320, metavar="N", help="exported height and width")
    parser.add_argument("--repeats", type=int, default=20, help="samples per network")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "detector", help="keeps files and rows")
    parser.add_argument("--quick", action="store_true", help="one network, one photograph, results not written")
    return parser.parse_args()


def detector(proposals: int = PROPOSALS) -> tuple[Any, Any]:
    """The full detector with seeded weights, and its space."""
    import torch

    from compress.detection import DetectorSpace
    from compress.detection.config_file import load_config
    from compress.detection.data import head_classes

    model = load_config(str(RECIPE)).model.to_dict()
    model["test_cfg"]["rpn"]["max_per_img"] = proposals
    space = DetectorSpace(num_classes=head_classes(model), model=model)
    torch.manual_seed(0)
    network = space.build().eval()
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.weight.mul_(ENLARGED.get(name.rpartition(".")[2], 1))
    return network, space


def photographs(data: str, side: int) -> Any:
    """Validation images as the config's test pipeline shows them, their longer side scaled to `side`."""
    from compress.detection.config_file import load_config
    from compress.detection.data import CocoData, DetectionData

    config = load_config(str(RECIPE))
    next(step for step in config.val_dataloader.dataset.pipeline if step["type"] == "Resize")["scale"] = (side, side)
    return CocoData(config, DetectionData(root=data, input_size=(side, side))).test


def masked_difference(network: Any, sliced: Any, plan: Any, sample: Any) -> float:
    """Largest difference of the maps that the FPN reads, relative to the largest entry, masked against sliced."""
    import torch

    masked = deepcopy(network)
    with torch.no_grad():
        for name, n in plan.sizes.items():
            zero = torch.ones(n, dtype=torch.bool)
            zero[list(plan.kept[name])] = False
            module = masked.get_submodule(name)
            if name.endswith(".w_msa"):  # the rows of q, k and v of every head
                rows = zero.repeat(3 * module.num_heads)
                module.qkv.weight[rows], module.qkv.bias[rows] = 0, 0
            else:
                module.layers[1].weight[:, zero] = 0
        images = network.data_preprocessor({"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]})
        pairs = zip(masked.backbone(images["inputs"]), sliced.backbone(images["inputs"]), strict=True)
        return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def built(file: Path) -> dict[str, Any]:
    """Seconds and size of TensorRT-RTX's engine for compute capability 8.9; empty where it is not installed."""
    from compress.export import EngineConfig, build_engine

    try:
        import tensorrt_rtx  # noqa: F401
    except ImportError:
        return {}
    config = EngineConfig(backend="tensorrt-rtx", batch=(1, 1, 1), compute_capabilities=("8.9",))
    started = time.perf_counter()
    engine = build_engine(file, file.with_suffix(".engine"), config=config)
    return {"engine_seconds": round(time.perf_counter() - started, 1), "engine_bytes": engine.stat().st_size}


def examine(args: argparse.Namespace, name: str, ratio: float, dataset: Any, images: int) -> dict[str, Any]:
    """One network's row, which is kept in the work folder; its ONNX file for ONNX Runtime stays beside it."""
    from compress.costs import macs, params
    from compress.detection.export import compare_detections, export_detector
    from compress.plan import read_json, write_json
    from compress.pruning import slice_model
    from compress.spaces import sizes

    kept = args.work_dir / f"{name}.json"
    settings = {"network": name, "side": args.side, "proposals": PROPOSALS, "images": images}
    if kept.exists() and settings.items() <= (row := read_json(kept)).items():
        return row
    network, space = detector()
    row = dict(settings)
    if ratio:
        whole, plan = network, uniform_plan(space, ratio, 1)
        network, space = slice_model(network, space, plan)
        row["masked_difference"] = masked_difference(whole, network, plan, dataset[0])
    operators, widths = space.operators(COUNTED_AT), sizes(space.groups)
    row |= {
        "params": params(operators, widths),
        "backbone_params": sum(p.numel() for p in network.backbone.parameters()),
        "backbone_macs": macs(operators, widths),
    }
    if row["params"] != sum(p.numel() for p in network.parameters()):
        raise RuntimeError(f"{name}: formula and count of parameters differ")
    samples = [dataset[i] for i in range(min(images, len(dataset)))]
    for form in FORMS:
        file = args.work_dir / f"{name}_{form}.onnx"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "sampling_ratio = 0")  # both sides then take two samples
            export_detector(network, file, input_size=(3, args.side, args.side), form=form)
        row[form] = compare_detections(network, file, samples, unmatched_share=SHARE)
    row |= built(file)
    write_json(kept, row)
    return row


def main(args: argparse.Namespace) -> None:
    if not args.quick:
        check_rivals("detector", "tensorrt_rtx")
    import torch

    from compress.detection.stages import detector_feed
    from compress.export import onnx_session
    from compress.measure import interleaved, summarise, summarise_ratio

    torch.set_num_threads(1)
    if args.quick:
        args.images, args.repeats, args.work_dir = (1,), 2, args.work_dir / "quick"
    args.work_dir.mkdir(parents=True, exist_ok=True)
    dataset = photographs(args.data, args.side)
    ratios = RATIOS[: 1 if args.quick else None]
    names = [f"{ratio:.0%}" for ratio in ratios]
    settings = zip(names, ratios, args.images, strict=False)
    rows = [examine(args, name, ratio, dataset, images) for name, ratio, images in settings]
    feed = detector_feed(detector()[0], dataset[0], (args.side, args.side))
    calls = {
        f"{name} {form}": partial(onnx_session(args.work_dir / f"{name}_{form}.onnx").run, None, feed)
        for name in names
        for form in FORMS
    }
    samples = interleaved(calls, repeats=args.repeats)
    first = samples[f"{rows[0]['network']} {FORMS[0]}"]
    for row in rows:
        for form in FORMS:
            times = samples[f"{row['network']} {form}"]
            row[form] |= {"ms": summarise(times), "latency_ratio": summarise_ratio(first, times)["median"]}
    print_rows(f"Cascade Mask R-CNN, Swin-T, {args.side} x {args.side}, ONNX Runtime, one thread", shown(rows))
    if not args.quick:
        print(save_results("detector", rows))


def shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a person reads of `rows`."""
    return [
        {
            "pruned": row["network"],
            "M total": row["params"] / 1e6,
            "M backbone": row["backbone_params"] / 1e6,
            "GMACs backbone": row["backbone_macs"] / 1e9,
            **{f"unmatched, {form}": f"{row[form]['n_unmatched']} of {row[form]['n_detections']}" for form in FORMS},
            **{f"latency, {form}": row[form]["latency_ratio"] for form in FORMS},
            "engine, s": row.get("engine_seconds"),
        }
        for row in rows
    ]


if __name__ == "__main__":
    main(parse())
