"""Trained networks, pruned by every method under a protocol, to equal MACs, measured latency or shares of dimensions.

The protocol (benchmarks/_protocol.py) says network, data, methods, their trials, budgets and seeds. `--train` makes the
unpruned networks where the comparison trains its own; `--tune` tries every method's trials on images set aside from the
training images; `--size` finds how large the networks of equal latency are, which wants a quiet machine; `--run`
fine-tunes what the best of each method leaves and reads the test images, once a cell, and refuses unless the protocol
is committed and all methods have all their trials under it; `--gather` prints, and says what the seeds allow. Every
trial and cell is a file in results/NAME of the protocol, and what was searched for lies in runs/searched, so a stopped
comparison goes on, and jobs may share each step's work (`--shard`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from _detector_rival import DetectorRival
from _harness import ROOT, print_rows, save_results
from _protocol import Protocol, figures_of, folder_of, kept
from _rival import Rival
from _seeds import draw, interval, p_value, paired, verdict
from _torch_pruning import WITHIN

from compress.commands.parser import Parser, shard_argument

CALLED = {"top1": "top-1", "bbox_mAP": "box AP", "segm_mAP": "mask AP"}
"""Figures in sentences."""


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("protocol", type=Path)
    parser.add_argument(
        "--checkpoint", metavar="F", help="the trained network, where the protocol has no baseline of its own"
    )
    parser.add_argument("--data", required=True, metavar="ROOT", help="of the images, or where they are drawn to")
    parser.add_argument("--methods", nargs="+", metavar="M", help="only these")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these of the protocol's")
    parser.add_argument("--budgets", nargs="+", metavar="B", help="only these, such as macs-0.5")
    shard_argument(parser, "baselines, trials or cells")
    parser.add_argument("--quick", action="store_true", help="few images, an epoch each, in runs/; nothing is written")
    what = parser.add_mutually_exclusive_group(required=True)
    steps = (
        ("train", "the unpruned networks"),
        ("tune", "every trial"),
        ("size", "how large the networks of equal latency are: on a quiet machine"),
        ("run", "every cell"),
        ("gather", "print what is finished"),
    )
    for name, text in steps:
        what.add_argument(f"--{name}", action="store_true", help=text)
    return parser.parse_args()


def main() -> int:
    import torch

    from compress.plan import UserError

    torch.set_num_threads(1)
    args = parse()
    try:
        protocol = Protocol.load(args.protocol)
        if args.quick:
            shorten(protocol.values)
        folder = folder_of(args.protocol, quick=args.quick)
        names = args.methods or list(protocol.values["methods"])
        if args.gather:
            gather(args, folder, protocol, names)
        elif args.train:
            for seed, holdout in mine(args, seeds_of(args, protocol)):
                rival_of(args, protocol, seed, holdout).train_baseline()
        elif args.tune:
            tune(args, folder, protocol, names)
        elif args.size:
            size(args, folder, protocol, names)
        else:
            run(args, folder, protocol, names)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def shorten(values: dict[str, Any]) -> None:
    """An epoch of few images everywhere."""
    if "drawn" in values["data"]:
        values["data"]["drawn"]["counts"] = {"train2017": 20, "val2017": 6}
    else:
        values["data"]["limit"] = 256
    for section in ("search", "finetune", "baseline"):
        values.get(section, {}).update(epochs=1, warmup_epochs=0)


def rival_of(args: argparse.Namespace, protocol: Protocol, seed: int, holdout: float) -> Rival:
    kind = DetectorRival if "drawn" in protocol.values["data"] else Rival
    return kind(protocol.values, args.data, args.checkpoint, ROOT / "runs" / "baselines", seed, holdout)


def seeds_of(args: argparse.Namespace, protocol: Protocol) -> list[tuple[int, float]]:
    """(seed, share set aside) of every unpruned network: that of the trials, and those of the cells."""
    tuning = protocol.values["tuning"]
    pairs = [(tuning["seed"], tuning["holdout"]), *((seed, 0.0) for seed in protocol.values["seeds"])]
    return [pair for pair in pairs if args.seeds is None or pair[0] in args.seeds]


def tune(args: argparse.Namespace, folder: Path, protocol: Protocol, names: list[str]) -> None:
    """Every trial that is not there yet."""
    made_from = {"settings_sha256": protocol.settings_hash}
    tuning = protocol.values["tuning"]
    protocol.values["finetune"] = {**protocol.values["finetune"], **tuning.get("finetune", {})}
    rival = rival_of(args, protocol, tuning["seed"], tuning["holdout"])
    trials = [each for each in protocol.trials(names) if args.budgets is None or each[-1] in args.budgets]
    for name, number, trial, budget in mine(args, trials):
        file = protocol.trial_file(folder, name, number, budget)
        kept(file, lambda n=name, t=trial, b=budget: rival.cell(n, t, b), **made_from)


def run(args: argparse.Namespace, folder: Path, protocol: Protocol, names: list[str]) -> None:
    """Every cell that is not there yet; of the unpruned networks too."""
    if not args.quick:
        protocol.check_test_images(folder)
    made_from = {"protocol_sha256": protocol.hash}
    seeds, budgets = args.seeds or protocol.values["seeds"], args.budgets or protocol.values["budgets"]
    rivals: dict[int, Rival] = {}
    for seed, name in mine(args, list(itertools.product(seeds, [None, *names]))):  # budgets share a search
        if seed not in rivals:
            rivals = {seed: rival_of(args, protocol, seed, 0.0)}
        if name is None:
            kept(folder / f"unpruned {seed}.json", rivals[seed].unpruned, **made_from)
            continue
        for budget in budgets:
            trial = protocol.values["methods"][name]["trials"][0]
            if not args.quick:
                trial = protocol.chosen(folder, name, budget)[1]
            file = folder / f"{budget} {name} {seed}.json"
            kept(file, lambda r=rivals[seed], n=name, t=trial, b=budget: r.cell(n, t, b), **made_from)


def size(args: argparse.Namespace, folder: Path, protocol: Protocol, names: list[str]) -> None:
    """Find the networks of every cell of equal latency that is not there yet."""
    seeds, budgets = args.seeds or protocol.values["seeds"], args.budgets or protocol.values["budgets"]
    for seed in seeds:
        rival = rival_of(args, protocol, seed, 0.0)
        for name, budget in itertools.product(names, budgets):
            if budget.startswith("latency") and not (folder / f"{budget} {name} {seed}.json").exists():
                print(budget, name, seed, rival.small(name, protocol.chosen(folder, name, budget)[1], budget)[1])


def mine(args: argparse.Namespace, pieces: list[Any]) -> list[Any]:
    """The pieces of work that are this job's: all of them without `--shard`."""
    return pieces if args.shard is None else list(args.shard.mine(pieces))


def gather(args: argparse.Namespace, folder: Path, protocol: Protocol, names: list[str]) -> None:
    """Trials, then cells by budget and method: means and 95 % intervals over seeds, and verdicts by paired ones."""
    values = protocol.values
    figures = figures_of(values)
    trials = [
        {"method": name, "budget": budget, "trial": json.dumps(trial)}
        | {f"{figure}, images set aside": read(file)[figure] for figure in figures}
        for name, number, trial, budget in protocol.trials(names)
        if (file := protocol.trial_file(folder, name, number, budget)).exists()
    ]
    whole = cells_in(folder, protocol, "unpruned {}")
    rows = [row("all of it", "unpruned", list(whole.values()), figures)] if whole else []
    raw: list[dict[str, Any]] = [
        {"budget": "all of it", "method": "unpruned", "seed": s, **c} for s, c in whole.items()
    ]
    said = []
    for budget in values["budgets"]:
        cells = {name: cells_in(folder, protocol, f"{budget} {name} {{}}") for name in names}
        found = {name: mine for name, mine in cells.items() if mine}
        raw += [{"budget": budget, "method": n, "seed": s, **c} for n, mine in found.items() for s, c in mine.items()]
        rows += [row(budget, name, list(mine.values()), figures) for name, mine in found.items()]
        said += [each for figure in figures for each in verdicts(values, budget, found, figure)]
    for title, table in (("trials", trials), ("test images", rows), ("paired by seed", said)):
        if table:
            print_rows(title, table)
    if rows and not args.quick:
        print(save_results(folder.name, rows, trials=trials, cells=raw, verdicts=said, protocol=values))
        for budget in [each for each in values["budgets"] if any(each == cell["budget"] for cell in raw)]:
            shown = {n: [c[figures[0]] for c in raw if (c["budget"], c["method"]) == (budget, n)] for n in names}
            picture = ROOT / "docs" / "results" / f"{folder.name}_{budget}.svg"
            draw({n: mine for n, mine in shown.items() if mine}, picture, label=f"{CALLED[figures[0]]} at {budget}, %")


def cells_in(folder: Path, protocol: Protocol, name: str) -> dict[int, dict[str, Any]]:
    """{seed: cell} of those in files of this `name`, with the seed for {}, that are there."""
    files = {seed: folder / f"{name.format(seed)}.json" for seed in protocol.values["seeds"]}
    found = {seed: read(file) for seed, file in files.items() if file.exists()}
    protocol.check_cells([(files[seed], cell) for seed, cell in found.items()])
    return found


def read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


def row(budget: str, name: str, cells: list[dict[str, Any]], figures: list[str]) -> dict[str, Any]:
    """One method under one budget."""
    columns = ("pruned", "macs_ratio", "params_ratio", "latency_ratio", "sliced", *figures, "seconds")
    shown = {key: interval([c[key] for c in cells]).shown(3) if key in cells[0] else "" for key in columns}
    return {"budget": budget, "method": name, "seeds": len(cells), **shown}


def verdicts(
    values: dict[str, Any], budget: str, found: dict[str, dict[int, Any]], figure: str = "top1"
) -> list[dict[str, Any]]:
    """Of the primary figure's method against every other, by the seeds that both have, where latencies are equal."""
    primary = values["primary"]
    ours = primary["method"]
    out = []
    for other in [name for name in found if name != ours and ours in found]:
        far = apart(values, budget, [*found[ours].values(), *found[other].values()])
        pair = [{seed: cell[figure] for seed, cell in found[name].items()} for name in (ours, other)]
        difference = paired(*pair) if pair[0].keys() & pair[1].keys() else None
        if difference is None:
            continue
        sentence = f"{ours} and {other} are not at equal latency: {far}."
        if not far:
            sentence = verdict(ours, other, difference, unit=f"points of {CALLED[figure]}")
        chance = p_value(difference)
        main = (figure, budget) == (primary["figure"], primary["budget"]) and other in primary["against"]
        out.append(
            {
                "budget": budget,
                "figure": "primary" if main else "descriptive",
                "verdict": sentence,
                "p": "" if chance is None else f"{chance:.3g}",
            }
        )
    return out


def apart(values: dict[str, Any], budget: str, cells: list[dict[str, Any]]) -> str:
    """Where measured latencies are further from the budget than allowed: how far; else nothing."""
    kind, _, target = budget.partition("-")
    if kind != "latency":
        return ""
    within = values.get("latency", {}).get("within", WITHIN)
    worst = max(abs(cell["latency_ratio"] / float(target) - 1) for cell in cells)
    return f"up to {100 * worst:.1f} % from the budget, {100 * within:g} % are allowed" if worst > within else ""


if __name__ == "__main__":
    raise SystemExit(main())
