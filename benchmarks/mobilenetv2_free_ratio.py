"""The shape of the thesis's table 4.2: MobileNetV2 on 20 classes, the ratio left free to the proximal l1.

Every search keeps the channels whose scores are not exactly zero; random scores get the ratio that RARTS found with the
same seed.
"""

from __future__ import annotations

import argparse
from typing import Any

from _cells import Cells, add_arguments, error, spread
from _harness import ROOT, print_rows, save_results

RECIPE = ROOT / "recipes" / "width" / "mobilenetv2_tiny_imagenet20_rarts.py"
# The twin's epochs, shortened; gamma keeps the recipe's product of gamma and steps.
COMMON = [
    "data.limit=2000",
    "train.epochs=16",
    "train.amp=bf16",
    "search.epochs=5",
    "search.amp=bf16",
    "search.gamma=0.6",
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="train/ and val/ with a folder per class")
    add_arguments(parser, work_dir="mobilenetv2_free_ratio")
    return parser.parse_args()


def run(cells: Cells, name: str) -> None:
    """Search, slice and fine-tuning of one row."""
    from compress.pruning import Budget

    cells.baseline()
    if name != "random":
        cells.search(name, METHODS[name])
        cells.prune(name, Budget("free"), METHODS[name], searched=name, stages=("finetuned",))
        return
    run(cells, "rarts")
    found = cells.cell("rarts free sliced")
    assert found is not None
    cells.search(name, METHODS[name])
    budget = Budget("pruning_ratio", round(found["pruned_ratio"], 4))
    cells.prune(name, budget, METHODS[name], searched=name, stages=("finetuned",))


def figures(cells: Cells, name: str) -> dict[str, Any]:
    """The finished figures of one row: error after fine-tuning and the share of pruned channels."""
    label: Any = "free"
    if name == "random":
        found = cells.cell("rarts free sliced")
        label = found and round(found["pruned_ratio"], 4)
    row = {key.removeprefix(f"{label} "): value for key, value in cells.figures(name, label, ("finetuned",)).items()}
    search = cells.cell(f"{name} search")
    return {"method": name, "seed": cells.seed, **row, "strength": search and search["strength"]}


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
    rows = [
        {"method": "baseline", "error, %": error([b and b["top1"] for b in baseline]), "sliced, %": "", "PRC, %": "0"}
    ]
    rows[0] |= {"MACs": "1", "parameters": "1"}
    raw = [figures(each, name) for name in names for each in cells]
    for name in names:
        mine = [row for row in raw if row["method"] == name]
        prc = [None if row.get("pruned_ratio") is None else 100 * row["pruned_ratio"] for row in mine]
        rows.append(
            {
                "method": name,
                "error, %": error([row["finetuned"] for row in mine]),
                "sliced, %": error([row["sliced"] for row in mine]),
                "PRC, %": spread(prc, 1),
                "MACs": spread([row.get("macs_ratio") for row in mine], 3),
                "parameters": spread([row.get("params_ratio") for row in mine], 3),
            }
        )
    print_rows("MobileNetV2 x 0.5, 20 classes at 64 pixels, free ratio", rows)
    if not args.quick:
        print(save_results("mobilenetv2_free_ratio", rows, baseline=baseline, cells=raw))


if __name__ == "__main__":
    main(parse())
