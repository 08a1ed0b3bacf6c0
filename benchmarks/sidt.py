"""SiDT on a small Swin: methods at the same pruning ratio, over seeds, and RARTS from 0 to 80 %.

VTP scores the features in front of every linear layer, one feature of the stream at a time, by the same joint training
as `joint`; a ratio of its features is another ratio of MACs, so it gets the MACs that RARTS's plan has.
"""

from __future__ import annotations

import argparse
from typing import Any

from _cells import Cells, add_arguments, error, spread
from _harness import ROOT, print_rows, save_results

RECIPE = ROOT / "recipes" / "sidt" / "swin_2m_tiny_imagenet20.py"
COMMON = ["data.limit=2500", "train.amp=bf16", "search.amp=bf16", "finetune.amp=bf16"]
QUICK = [
    "data.limit=200",
    "train.epochs=3",
    "search.epochs=1",
    "finetune.epochs=2",
]
RATIO = 0.4
RATIOS = (0.2, RATIO, 0.6, 0.8)
"""Of scored dimensions; methods are compared at RATIO, RARTS runs through all."""
METHODS: dict[str, list[str]] = {
    "rarts": [],
    "joint": ["search.method={'_delete_': True, 'type': 'joint'}", "search.gamma=0.0225"],
    "vtp": ["search.method={'_delete_': True, 'type': 'joint'}", "search.gamma=0.0225", "space.scored=vtp"],
    "magnitude": ["search.method={'_delete_': True, 'type': 'magnitude'}", "search.fixed_scale=False"],
    "taylor": ["search.method={'_delete_': True, 'type': 'taylor'}", "search.fixed_scale=False"],
    "random": ["search.method={'_delete_': True, 'type': 'random'}", "search.fixed_scale=False"],
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="train/ and val/ with a folder per class")
    add_arguments(parser, work_dir="sidt")
    return parser.parse_args()


def budget_of(cells: Cells, name: str, ratio: float) -> Any:
    """The pruning ratio; for other methods than RARTS the MACs that it leads to in RARTS's plan."""
    from compress.pruning import Budget

    if name == "rarts":
        return Budget("pruning_ratio", ratio)
    found = cells.cell(f"rarts {ratio} sliced")
    return found and Budget("macs_ratio", round(found["macs_ratio"], 4))


def run(cells: Cells, name: str) -> None:
    """All cells of one row."""
    cells.baseline()
    if name != "rarts":
        run(cells, "rarts")
    cells.search(name, METHODS[name])
    for ratio in RATIOS if name == "rarts" else (RATIO,):
        budget = budget_of(cells, name, ratio)
        cells.prune(name, budget, METHODS[name], searched=name, stages=("distilled",))


def figures(cells: Cells, name: str, ratio: float) -> dict[str, Any]:
    """The finished figures of one row."""
    budget = budget_of(cells, name, ratio)
    label = budget and budget.value
    found = cells.figures(name, label, ("distilled",))
    row = {key.removeprefix(f"{label} "): value for key, value in found.items()}
    return {"method": name, "ratio": ratio, "seed": cells.seed, **row}


def main(args: argparse.Namespace) -> None:
    import torch

    from compress.report.progress import TerminalProgress

    torch.set_num_threads(1)
    options = [*COMMON, f"data.root={args.data}", *(QUICK if args.quick else [])]
    names = args.methods or list(METHODS)
    with TerminalProgress(quiet=True) as progress:
        made = {"progress": progress, "gather": args.gather}
        cells = [Cells(args.work_dir / f"seed{seed}", RECIPE, options, seed=seed, **made) for seed in args.seeds]
        for each in cells:
            for name in names if not args.gather else ():
                run(each, name)
    baseline = [each.cell("baseline") for each in cells]
    rows = [{"method": "unpruned", "ratio": "0", "error, %": error([b and b["top1"] for b in baseline])}]
    rows[0] |= {"sliced, %": "", "MACs": "1", "parameters": "1"}
    raw = []
    for name in names:
        for ratio in RATIOS if name == "rarts" else (RATIO,):
            mine = [figures(each, name, ratio) for each in cells]
            raw += mine
            rows.append(
                {
                    "method": name,
                    "ratio": str(ratio),
                    "error, %": error([row["distilled"] for row in mine]),
                    "sliced, %": error([row["sliced"] for row in mine]),
                    "MACs": spread([row.get("macs_ratio") for row in mine], 3),
                    "parameters": spread([row.get("params_ratio") for row in mine], 3),
                }
            )
    print_rows("Swin of 2.3 M parameters, 20 classes at 64 pixels", rows)
    if not args.quick:
        print(save_results("sidt", rows, baseline=baseline, cells=raw))


if __name__ == "__main__":
    main(parse())
