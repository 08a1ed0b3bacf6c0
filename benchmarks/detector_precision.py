"""The drawn set's twin in float32, float16 and 8-bit integers: AP on its validation images, size, latency.

The network is the unpruned one of the comparison on that set (`rivals.py benchmarks/sidt_drawn.json --train`), the
files are those of `nncompress export`: INT8 of backbone and neck, calibrated on training images; float16 of all but
what follows the choice of the RPN. All run in ONNX Runtime, one thread; the files take turns on one image.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from _detector_rival import DetectorRival
from _harness import ROOT, Silent, print_rows, save_results
from _protocol import Protocol

PROTOCOL = ROOT / "benchmarks" / "sidt_drawn.json"
RECIPE = ROOT / "recipes" / "detection" / "cascade_mask_rcnn_swin_tiny_coco_mini_sidt.py"
FIGURES = ("bbox_mAP", "segm_mAP")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, metavar="D", help="folder that the comparison's images are drawn in")
    parser.add_argument("--seed", type=int, default=1, help="of the network")
    parser.add_argument("--calibration-images", type=int, default=256, metavar="N")
    parser.add_argument("--repeats", type=int, default=200, help="samples per file")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "detector_precision", metavar="D")
    return parser.parse_args()


def written(rival: DetectorRival, context: Any, args: argparse.Namespace) -> dict[str, Path]:
    """The network's files, made unless they are there."""
    from compress.detection.export import FORMS, export_detector
    from compress.export.convert import export_int8, write_onnx
    from compress.spaces import Card, save_model

    network, space = rival.baseline
    folder = args.work_dir / str(args.seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(
        folder / "model", network, Card(space.name, space.arch, context.data.classes, context.data.preprocessing)
    )
    files = {}
    for form in FORMS:
        files[f"float32, {form}"] = whole = folder / f"{form}.onnx"
        files[f"float16, {form}"] = half = folder / f"{form}_half.onnx"
        if not half.exists():
            export_detector(network, whole, input_size=rival.size, form=form)
            write_onnx(whole, half, fp16=True)
    files["INT8, onnxruntime"] = integers = folder / f"int8_{args.calibration_images}.onnx"
    if not integers.exists():
        export_int8(folder, integers, context.data, images=args.calibration_images)
    return files


def main(args: argparse.Namespace) -> None:
    import torch

    from compress.detection.evaluation import average_precision, detect
    from compress.detection.files import detect_exported, open_forms
    from compress.detection.stages import detector_feed
    from compress.export import onnx_session
    from compress.measure import interleaved, summarise, summarise_ratio
    from compress.pipeline.images import make_context
    from compress.pipeline.recipe import load_recipe
    from compress.plan import read_json, write_json

    torch.set_num_threads(1)
    protocol = Protocol.load(PROTOCOL).values
    rival = DetectorRival(protocol, args.data, None, ROOT / "runs" / "baselines", args.seed, 0.0)
    options = [
        f"space.config={ROOT / protocol['space']['config']}",
        f"data.root={rival.drawn}",
        f"data.input_size={list(rival.size[1:])}",
        "data.limit=None",
    ]
    context: Any = make_context(load_recipe(RECIPE, options), Silent())
    files = written(rival, context, args)
    data = context.data.test
    kept = args.work_dir / f"{args.seed}_{args.calibration_images}.json"
    figures = read_json(kept) if kept.exists() else {}
    for name in ("PyTorch", *files):
        if name not in figures:
            network = rival.baseline[0]
            if name == "PyTorch":
                found = detect(network, data)
            else:
                found = detect_exported(open_forms(files[name], threads=1, trust=False), data, context)
            precision = average_precision(found, data.ann_file)
            figures[name] = {each: precision[each] for each in FIGURES}
            write_json(kept, figures)
    feed = detector_feed(rival.baseline[0], data[0], rival.size[1:])
    calls = {name: partial(onnx_session(file).run, None, feed) for name, file in files.items()}
    samples = interleaved(calls, repeats=args.repeats)
    first = next(iter(files))
    rows = [{"file": "PyTorch", **figures["PyTorch"]}]
    for name, file in files.items():
        ratio = summarise_ratio(samples[first], samples[name])
        row = {"mib": file.stat().st_size / 2**20, "ms": summarise(samples[name]), "latency_ratio": ratio}
        rows.append({"file": name, **figures[name], **row})
    shown = [
        {**{key: row[key] for key in ("file", *FIGURES)}, "MiB": row.get("mib", ""), "latency": ratio_of(row)}
        for row in rows
    ]
    print_rows(f"{len(data)} validation images, ONNX Runtime, one thread", shown)
    print(save_results("detector_precision", rows, seed=args.seed, calibration_images=args.calibration_images))


def ratio_of(row: dict[str, Any]) -> Any:
    """Of a row, if it was timed."""
    return row["latency_ratio"]["median"] if "latency_ratio" in row else ""


if __name__ == "__main__":
    main(parse())
