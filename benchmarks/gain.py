"""`select.gain` decided: sum, log or balanced, on a small MobileNetV2 and a small Swin on 20 classes of Tiny-ImageNet.

One training and one search a seed; then every gain takes the same scores to the same MACs, with the same fine-tuning.
Judged on a fifth of the training images, set aside; the test images are not read. Each gain is a front
(`nncompress front`), so a stopped comparison goes on, and processes may share the work by networks, seeds or gains once
the searches are done (`--gains sum` first).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from _cells import spread
from _harness import ROOT, print_rows, save_results

NETWORKS = {
    "mobilenetv2": ("width/mobilenetv2_tiny_imagenet20_rarts", ("search.penalty=subgradient", "search.gamma=0.01")),
    "swin_2m": ("sidt/swin_2m_tiny_imagenet20", ()),
}
"""Network -> its recipe and overrides; l1 as a subgradient leaves scores that rank, where the recipe's cuts at zero."""
GAINS = ("sum", "log", "balanced")
SHARES = (0.5, 0.25)
COMMON = ("data.holdout=0.2", "measure.backends=['onnxruntime']", "select.round_to=8", "select.floor=8")
QUICK = (
    *("data.limit=400", "train.epochs=1", "search.epochs=1", "search.warmup_epochs=0", "finetune.epochs=1"),
    *("train.warmup_epochs=0", "finetune.warmup_epochs=0", "measure.repeats=3", "measure.warmup_seconds=0.01"),
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="tiny-imagenet-20: train/ and val/")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="N")
    parser.add_argument("--gains", nargs="+", choices=GAINS, default=list(GAINS), metavar="G")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "gain", metavar="D")
    parser.add_argument("--gather", action="store_true", help="compute nothing; write and print what is finished")
    parser.add_argument(
        "--quick", action="store_true", help="one seed, a few images, an epoch each; nothing is written"
    )
    return parser.parse_args()


def front(name: str, gain: str, seed: int, args: argparse.Namespace) -> dict[str, Any] | None:
    """The front of one gain: made or gone on with, unless only what is finished is asked for."""
    from compress.pipeline.front import find_front
    from compress.pipeline.recipe import load_recipe
    from compress.pipeline.run import train_baseline
    from compress.pruning import Budget
    from compress.report.progress import TerminalProgress

    folder = args.work_dir / f"{name} {seed}"
    own = folder / gain
    if not args.gather:
        recipe_name, overrides = NETWORKS[name]
        options = [*COMMON, *overrides, f"data.root={args.data}", f"seed={seed}", *(QUICK if args.quick else ())]
        recipe = load_recipe(recipe_name, [*options, f"select.gain={gain}"])
        with TerminalProgress() as progress:
            first = folder / GAINS[0]
            # The baseline is one for all gains.
            train_baseline(load_recipe(recipe_name, options), folder / "baseline", progress=progress, resume=True)
            find_front(
                recipe,
                own,
                progress=progress,
                budgets=[Budget("macs_ratio", share) for share in SHARES],
                checkpoint=str(folder / "baseline"),
                search_from=None if own == first else str(first),
                resume=True,
            )
    file = own / "front.json"
    return json.loads(file.read_text()) if file.exists() else None


def rows_of(name: str, fronts: dict[tuple[str, int], dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and deviation over seeds at every budget."""
    rows = []
    for i, share in enumerate(SHARES):
        for gain in GAINS:
            found = [front for (own, _), front in sorted(fronts.items()) if own == gain]
            if found:
                points = [front["points"][i] for front in found]
                pairs = [(front["unpruned"], point) for front, point in zip(found, points, strict=True)]
                rows.append(
                    {
                        "network": name,
                        "MACs at most": share,
                        "gain": gain,
                        "seeds": len(found),
                        "top-1": spread([point["accuracy"]["top1"] for point in points]),
                        "unpruned": spread([whole["accuracy"]["top1"] for whole, _ in pairs]),
                        "MACs": spread([point["macs"] / whole["macs"] for whole, point in pairs], 3),
                        "parameters": spread([point["params"] / whole["params"] for whole, point in pairs], 3),
                        "latency": spread([point["latency_ratio"]["onnxruntime"] for point in points], 3),
                    }
                )
    return rows


def main(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    rows, cells = [], []
    for name in args.networks:
        fronts = {}
        for seed in args.seeds[: 1 if args.quick else None]:
            for gain in args.gains:
                if (found := front(name, gain, seed, args)) is not None:
                    fronts[gain, seed] = found
                    cells += [{"network": name, "gain": gain, "seed": seed, **point} for point in found["points"]]
        rows += rows_of(name, fronts)
    print_rows("top-1 on images set aside", rows)
    if not args.quick:
        print(save_results("gain", rows, cells=[{k: v for k, v in cell.items() if k != "command"} for cell in cells]))


if __name__ == "__main__":
    main(parse())
