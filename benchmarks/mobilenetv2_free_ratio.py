"""The shape of the thesis's table 4.2: MobileNetV2 on 20 classes, the ratio left free to the proximal l1.

Every search keeps the channels whose scores are not exactly zero; random scores get the ratio that RARTS found with the
same seed.
"""

from __future__ import annotations

import argparse
from typing import Any

from _cells import Cells, add_arguments, cells_of, shown, spread, unpruned
from _harness import ROOT, print_rows, save_results

from compress.commands.parser import Parser

RECIPE = ROOT / "recipes" / "width" / "mobilenetv2_tiny_imagenet20_rarts.py"
# The twin's epochs, shortened; gamma keeps the recipe's product of gamma and steps.
COMMON = [
    "data.limit=3000",
    "train.epochs=24",
    "train.amp=bf16",
    "search.epochs=5",
    "search.amp=bf16",
    "search.gamma=0.4",
    "finetune.epochs=5",
    "finetune.amp=bf16",
    "finetune.distill=None",
]
QUICK = ["data.limit=200", "train.epochs=2", "search.epochs=1", "finetune.epochs=1", "search.gamma=20.0"]
METHODS: dict[str, list[str]] = {
    "random": ["search.method={'_delete_': True, 'type': 'random'}"],
    "darts1": ["search.method={'_delete_': True, 'type': 'darts1'}"],
    "darts2": ["search.method={'_delete_': True, 'type': 'darts2'}", "search.amp=None"],
    "rarts": [],
}


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="train/ and val/ with a folder per class")
    add_arguments(parser, work_dir="mobilenetv2_free_ratio")
    return parser.parse_args()


def budget_of(cells: Cells, name: str) -> Any:
    """Free; for random scores the ratio that RARTS found, None before it has."""
    from compress.pruning import Budget

    if name != "random":
        return Budget("free")
    found = cells.cell("rarts free sliced")
    return found and Budget("pruning_ratio", round(found["pruned_ratio"], 4))


def run(cells: Cells, name: str) -> None:
    """Search, slice and fine-tuning of one row."""
    if name == "random":
        run(cells, "rarts")
    cells.search(name, METHODS[name])
    cells.prune(name, budget_of(cells, name), METHODS[name], searched=name, stages=("finetuned",))


def figures(cells: Cells, name: str) -> dict[str, Any]:
    """The finished figures of one row: accuracies and the share of pruned channels."""
    search = cells.cell(f"{name} search")
    row = cells.figures(name, budget_of(cells, name), ("finetuned",))
    return {"method": name, "seed": cells.seed, **row, "strength": search and search["strength"]}


def main(args: argparse.Namespace) -> None:
    options = [*COMMON, f"data.root={args.data}", *(QUICK if args.quick else [])]
    names = args.methods or list(METHODS)
    cells = cells_of(args, args.work_dir, RECIPE, options, run, names, args.seeds)
    if args.shard is not None:
        return  # --gather tells what all jobs have found
    raw = [figures(each, name) for name in names for each in cells]
    rows = [{"method": "baseline", **unpruned(cells), "PRC, %": "0"}]
    for name in names:
        mine = [row for row in raw if row["method"] == name]
        prc = [None if row.get("pruned_ratio") is None else 100 * row["pruned_ratio"] for row in mine]
        rows.append({"method": name, **shown(mine, tuned="finetuned"), "PRC, %": spread(prc, 1)})
    print_rows("MobileNetV2 x 0.5, 20 classes at 64 pixels, free ratio", rows)
    if not args.quick:
        baseline = [each.cell("baseline") for each in cells]
        print(save_results("mobilenetv2_free_ratio", rows, baseline=baseline, cells=raw))


if __name__ == "__main__":
    main(parse())
