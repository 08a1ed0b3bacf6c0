"""SiDT on a small Swin: methods at the same pruning ratio, over seeds, and RARTS from 0 to 80 %.

VTP scores the features in front of every linear layer, one feature of the stream at a time, by the same joint training
as `joint`; a ratio of its features is another ratio of MACs, so it gets the MACs that RARTS's plan has.
"""

from __future__ import annotations

import argparse
from typing import Any

from _cells import Cells, add_arguments, cells_of, shown, unpruned
from _harness import ROOT, print_rows, save_results

RECIPE = ROOT / "recipes" / "sidt" / "swin_2m_tiny_imagenet20.py"
# Half of the images: gamma brings the strength to the recipe's 4 for halves of D, and half of it over all of D.
COMMON = ["data.limit=2500", "search.gamma=0.0104", "train.amp=bf16", "search.amp=bf16", "finetune.amp=bf16"]
WHOLE = "search.gamma=0.0052"
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
    "joint": ["search.method={'_delete_': True, 'type': 'joint'}", WHOLE],
    "vtp": ["search.method={'_delete_': True, 'type': 'joint'}", WHOLE, "space.scored=vtp"],
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
    if name != "rarts":
        run(cells, "rarts")
    cells.search(name, METHODS[name])
    for ratio in RATIOS if name == "rarts" else (RATIO,):
        budget = budget_of(cells, name, ratio)
        cells.prune(name, budget, METHODS[name], searched=name, stages=("distilled",))


def figures(cells: Cells, name: str, ratio: float) -> dict[str, Any]:
    """The finished figures of one row."""
    row = cells.figures(name, budget_of(cells, name, ratio), ("distilled",))
    return {"method": name, "ratio": ratio, "seed": cells.seed, **row}


def main(args: argparse.Namespace) -> None:
    options = [*COMMON, f"data.root={args.data}", *(QUICK if args.quick else [])]
    names = args.methods or list(METHODS)
    cells = cells_of(args, args.work_dir, RECIPE, options, run, names, args.seeds)
    rows, raw = [{"method": "unpruned", "ratio": "0", **unpruned(cells)}], []
    for name in names:
        for ratio in RATIOS if name == "rarts" else (RATIO,):
            mine = [figures(each, name, ratio) for each in cells]
            raw += mine
            rows.append({"method": name, "ratio": str(ratio), **shown(mine, tuned="distilled")})
    print_rows("Swin of 2.3 M parameters, 20 classes at 64 pixels", rows)
    if not args.quick:
        baseline = [each.cell("baseline") for each in cells]
        print(save_results("sidt", rows, baseline=baseline, cells=raw))


if __name__ == "__main__":
    main(parse())
