"""What 20 and 40 % of the backbone's dimensions are worth in the whole call of Cascade Mask R-CNN on Swin-T.

At 320 x 320 and at table 4.6's 800 x 1344, with few and with all proposals: calls of the unpruned detector and of the
pruned ones in turn, and by ONNX Runtime's profiler which part takes which share of the unpruned one's time. Weights are
random, and all dimensions pruned alike; heads read the same maps in every network, so that as much is found in all of
them (`TimedDetector`). One thread, one image. Files and finished rows lie in the work folder: a stopped run goes on.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results
from detector import RATIOS, detector
from swin_latency import uniform_plan

SETTINGS = (((320, 320), 100), ((320, 320), 1000), ((800, 1344), 100), ((800, 1344), 300), ((800, 1344), 1000))
"""Height and width of the image, and how many boxes the RPN proposes."""
PARTS = ("backbone", "neck", "rpn_head", "roi_head.bbox_head", "roi_head.mask_head")
"""Where the modules of each part begin."""
OTHERS = "others"
"""RoIAlign, boxes, suppression, and what the engine adds."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=6, help="calls of each network, in turn")
    parser.add_argument("--rounds", type=int, default=3, help="calls of each network under the profiler")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "detector_shares", metavar="D")
    parser.add_argument("--files", action="store_true", help="make the files and time nothing, on a busy machine")
    parser.add_argument("--quick", action="store_true", help="the smallest setting, one call, results not written")
    return parser.parse_args()


def part_of(module: str) -> str:
    """The part of the detector that `module` belongs to."""
    return next((part for part in PARTS if module.startswith(part)), OTHERS)


def exported(folder: Path, size: tuple[int, int], proposals: int, ratio: float) -> Path:
    """The file of one network, whose nodes are named after the parts that they belong to; made unless it is there."""
    import onnx

    from compress.export.onnx_file import onnx_graph
    from compress.measure.owners import name_by_owner
    from compress.plan import replacing
    from compress.pruning import slice_model

    file = folder / f"{size[0]}x{size[1]}_{proposals}_{ratio:g}.onnx"
    if not file.exists():
        network, space = detector(proposals)
        if ratio:
            network, space = slice_model(network, space, uniform_plan(space, ratio, 1))
        shape = (3, *size)
        proto, modules = onnx_graph(space.timed(network, shape), input_size=shape, batch=space.timed_batch)
        name_by_owner(proto.graph, [part_of(modules[node.output[0]]) for node in proto.graph.node])
        with replacing(file) as place:
            onnx.save_model(proto, str(place))
    return file


def measured(files: dict[str, Path], size: tuple[int, int], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of the networks in `files`, which take turns: latency and the parts' shares, over the first one's."""
    import torch

    from compress.export import onnx_session
    from compress.export.onnx_file import INPUT_NAME
    from compress.measure import interleaved, summarise, summarise_ratio
    from compress.measure.ort_profiling import ProfiledSession

    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1)).numpy()
    feed = {INPUT_NAME: images}
    calls = {name: partial(onnx_session(file).run, None, feed) for name, file in files.items()}
    samples = interleaved(calls, repeats=args.repeats)
    del calls
    sessions = {name: ProfiledSession(file, images, threads=1) for name, file in files.items()}
    for _ in range(1 + args.rounds):
        for session in sessions.values():
            session.call()
    shares = {name: session.finish(args.rounds) for name, session in sessions.items()}
    first = next(iter(files))
    whole = sum(shares[first].values())
    return [
        {
            "pruned": name,
            "ms": summarise(samples[name]),
            "latency_ratio": summarise_ratio(samples[first], samples[name]),
            "parts": parts_of(shares[name], whole),
        }
        for name in files
    ]


def parts_of(times: dict[str, float], whole: float) -> dict[str, float]:
    """The parts' shares of `whole`, and those of all else."""
    found = {part: times.get(part, 0.0) / whole for part in PARTS}
    return {**found, OTHERS: sum(times.values()) / whole - sum(found.values())}


def macs_shares(size: tuple[int, int]) -> dict[str, float]:
    """What is left at each ratio of the backbone's MACs on images of `size`."""
    from compress.costs import macs
    from compress.spaces import sizes

    _, space = detector()
    operators, full = space.operators((3, *size)), sizes(space.groups)
    plans = {f"{ratio:.0%}": uniform_plan(space, ratio, 1) for ratio in RATIOS}
    return {name: macs(operators, plan.widths) / macs(operators, full) for name, plan in plans.items()}


def main(args: argparse.Namespace) -> None:
    import torch

    from compress.plan import read_json, write_json

    torch.set_num_threads(1)
    settings = SETTINGS[: 1 if args.quick else None]
    if args.quick:
        args.repeats, args.rounds, args.work_dir = 1, 1, args.work_dir / "quick"
    args.work_dir.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for size, proposals in settings:
        kept = args.work_dir / f"{size[0]}x{size[1]}_{proposals}.json"
        if not kept.exists():
            files = {f"{ratio:.0%}": exported(args.work_dir, size, proposals, ratio) for ratio in RATIOS}
            if args.files:
                continue
            write_json(kept, measured(files, size, args))
        left = macs_shares(size)
        own = {"image": f"{size[0]} x {size[1]}", "proposals": proposals}
        rows += [{**own, **row, "backbone_macs": left[row["pruned"]]} for row in read_json(kept)]
    if args.files:
        return
    print_rows("Cascade Mask R-CNN, Swin-T, ONNX Runtime, one thread", [shown(row) for row in rows])
    if rows and not args.quick:
        print(save_results("detector_shares", rows))


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """What a person reads of `row`."""
    return {
        **{key: row[key] for key in ("image", "proposals", "pruned")},
        "s": row["ms"]["median"] / 1e3,
        "latency": row["latency_ratio"]["median"],
        "backbone's MACs": row["backbone_macs"],
        **{part.removeprefix("roi_head."): round(share, 3) for part, share in row["parts"].items()},
    }


if __name__ == "__main__":
    main(parse())
