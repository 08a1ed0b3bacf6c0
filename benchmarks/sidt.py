"""SiDT on a small Swin: every method at 20 to 80 % of the dimensions.

Others than RARTS get the MACs that RARTS's plan has. With --time, which wants a quiet machine, every network that was
found is timed in ONNX Runtime in turn with the unpruned one. VTP scores the features in front of every linear layer,
one feature of the stream at a time, by the same joint training as `joint`; a ratio of its features is another ratio of
MACs.
"""

from __future__ import annotations

import argparse
from typing import Any

from _cells import Cells, add_arguments, cells_of, shown, spread, unpruned
from _harness import ROOT, print_rows, save_results

from compress.commands.parser import Parser

RECIPE = ROOT / "recipes" / "sidt" / "swin_2m_tiny_imagenet20.py"
# Half of the images: gamma brings the strength to the recipe's 4 for halves of D, and half of it over all of D.
COMMON = [
    "data.limit=2500",
    "train.epochs=30",
    "finetune.epochs=5",
    "search.gamma=0.0104",
    *(f"{stage}.amp=bf16" for stage in ("train", "search", "finetune")),
]
WHOLE = "search.gamma=0.0052"
QUICK = [
    "data.limit=200",
    "train.epochs=3",
    "search.epochs=1",
    "finetune.epochs=2",
]
RATIOS = (0.2, 0.4, 0.6, 0.8)
"""Of scored dimensions that RARTS removes."""
METHODS: dict[str, list[str]] = {
    "rarts": [],
    "joint": ["search.method={'_delete_': True, 'type': 'joint'}", WHOLE],
    "vtp": ["search.method={'_delete_': True, 'type': 'joint'}", WHOLE, "space.scored=vtp"],
    "magnitude": ["search.method={'_delete_': True, 'type': 'magnitude'}", "search.fixed_scale=False"],
    "taylor": ["search.method={'_delete_': True, 'type': 'taylor'}", "search.fixed_scale=False"],
    "random": ["search.method={'_delete_': True, 'type': 'random'}", "search.fixed_scale=False"],
}


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="train/ and val/ with a folder per class")
    parser.add_argument("--time", action="store_true", help="time the networks in ONNX Runtime")
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
    for ratio in RATIOS:
        cells.prune(name, budget_of(cells, name, ratio), METHODS[name], searched=name, stages=("distilled",))


def time_networks(found: list[Cells], name: str) -> None:
    """Latency over the unpruned network's of every finished network of one method; cells `NAME RATIO latency`."""
    from compress.measure import PlanTimer

    with PlanTimer.open(found[0].context(*METHODS[name]).full_space, (3, 64, 64)) as timer:
        for cells in found:
            cells.gather = False
            for ratio in RATIOS:
                widths = sliced_cell(cells, name, ratio)["widths"]
                cells.cell(f"{name} {ratio} latency", lambda widths=widths: {"ratio": timer.ratio(widths)})


def sliced_cell(cells: Cells, name: str, ratio: float) -> dict[str, Any]:
    """The cell of the sliced network."""
    budget = budget_of(cells, name, ratio)
    return cells.cell(f"{name} {budget and budget.value} sliced") or {}


def figures(cells: Cells, name: str, ratio: float) -> dict[str, Any]:
    """The finished figures of one network."""
    row = cells.figures(name, budget_of(cells, name, ratio), ("distilled",))
    found = cells.cell(f"{name} {ratio} latency")
    return {"method": name, "ratio": ratio, "seed": cells.seed, **row, "latency": found and found["ratio"]}


def main(args: argparse.Namespace) -> None:
    options = [*COMMON, f"data.root={args.data}", *(QUICK if args.quick else [])]
    names = args.methods or list(METHODS)
    cells = cells_of(args, args.work_dir, RECIPE, options, run, names, args.seeds)
    if args.shard is not None:
        return  # --gather tells what all jobs have found
    for name in names if args.time else ():
        time_networks(cells, name)
    rows, raw = [{"ratio": "0", "method": "unpruned", **unpruned(cells), "latency": "1"}], []
    for ratio in RATIOS:
        for name in names:
            mine = [figures(each, name, ratio) for each in cells]
            raw += mine
            latency = spread([row["latency"] for row in mine], 3)
            rows.append({"ratio": str(ratio), "method": name, **shown(mine, tuned="distilled"), "latency": latency})
    print_rows("Swin of 2.3 M parameters, 20 classes at 64 pixels", rows)
    if not args.quick:
        baseline = [each.cell("baseline") for each in cells]
        print(save_results("sidt", rows, baseline=baseline, cells=raw))


if __name__ == "__main__":
    main(parse())
