"""How well latency tables predict: random plans that no table has seen, predicted and measured.

Every plan is measured end to end, without a profiler, in turn with the unpruned network, and predicted by a table of
every way. The ratio of MACs is judged as a predictor beside them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results

PLANS_SEED = 1_000_003
"""Not a table's seed: the plans differ from the networks that were profiled."""

WAYS = ("profiles", "totals")

TARGETS = {"median error": 0.02, "p90 error": 0.05, "rank correlation": 0.98}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=list(networks()), metavar="N", help="only these")
    parser.add_argument("--plans", type=int, default=30, help="random plans per network")
    parser.add_argument("--designs", type=int, default=20, help="measured networks per table")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="ways in which tables are made")
    parser.add_argument("--backend", default="onnxruntime", help="its name in recipes")
    parser.add_argument("--multiple", type=int, default=8, help="widths are its multiples")
    parser.add_argument(
        "--repeats", type=int, default=45, help="samples per plan, and of the unpruned network beside it"
    )
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "latency_prediction", metavar="D")
    parser.add_argument("--quick", action="store_true", help="small networks, few samples, results not written")
    return parser.parse_args()


def networks() -> dict[str, tuple[str, dict[str, Any], int]]:
    """Name -> the space, its settings, and the side of the images."""
    swin = "swin_tiny_patch4_window7_224"
    return {
        "mobilenetv2": ("mobilenetv2", {"num_classes": 1000}, 224),
        "preresnet164": ("preresnet", {"depth": 164, "num_classes": 10}, 32),
        "swin_t": ("swin", {"num_classes": 1000, "model": swin}, 224),
    }


def quick_networks() -> dict[str, tuple[str, dict[str, Any], int]]:
    """The same kinds, small."""
    return {
        "mobilenetv2 x0.5": ("mobilenetv2", {"num_classes": 10, "multiplier": 0.5}, 96),
        "preresnet20": ("preresnet", {"depth": 20, "num_classes": 10}, 32),
    }


class Cells:
    """What is finished of one network's comparison, in a file; a stopped one goes on."""

    def __init__(self, path: Path) -> None:
        from compress.plan import read_json

        self.path = path
        self.found: dict[str, Any] = read_json(path) if path.exists() else {"plans": []}

    def save(self) -> None:
        """Write what is finished."""
        from compress.plan import write_json

        write_json(self.path, self.found)


def compare(name: str, setting: tuple[str, dict[str, Any], int], folder: Path, args: argparse.Namespace) -> Cells:
    """Build the tables and measure the plans of one network, as far as that is not done."""
    from compress.costs import macs
    from compress.measure.designs import allowed_widths, sample_designs
    from compress.spaces import make_space, sizes

    kind, arch, side = setting
    space, size = make_space(kind, arch), (3, side, side)
    stem = "_".join([name, *([args.backend] if args.backend != "onnxruntime" else []), str(args.multiple)])
    cells = Cells(folder / f"{stem}_{args.plans}_plans.json")
    tables = {way: table_of(way, space, size, folder / f"{stem}_{way}.json", cells, args) for way in args.ways}
    plans = sample_designs(allowed_widths(space.groups, args.multiple), args.plans, seed=PLANS_SEED)
    operators = space.operators(size)
    full = macs(operators, sizes(space.groups))
    for plan, measured in measurements(space, size, plans[len(cells.found["plans"]) :], args):
        cells.found["plans"].append({"measured": measured, "macs_ratio": macs(operators, plan) / full})
        cells.save()
        print(f"{name}: measured {measured:.3f}", flush=True)
    for plan, widths in zip(cells.found["plans"], plans, strict=True):
        plan |= {way: table.predict(operators, widths).ratio for way, table in tables.items()}
    return cells


def table_of(
    way: str, space: Any, size: tuple[int, int, int], file: Path, cells: Cells, args: argparse.Namespace
) -> Any:
    """The network's table of one way; how long it took is noted."""
    from compress.costs import LatencyTable
    from compress.measure import TableConfig, build_table, table_key
    from compress.report.progress import TerminalProgress

    config = TableConfig(
        args.backend,
        designs=args.designs,
        multiple=args.multiple,
        rounds=args.rounds,
        way=way,  # type: ignore[arg-type]
    )
    if not file.exists():
        start = time.perf_counter()
        with TerminalProgress() as progress:
            progress.announce(f"{file.stem}: latency table")
            build_table(space, file, input_size=size, config=config, resume=True, progress=progress)
        cells.found.setdefault("seconds", {})[way] = round(time.perf_counter() - start, 1)
        cells.save()
    table = LatencyTable.load(file)
    table.check_key(table_key(space, size, config))
    return table


def measurements(space: Any, size: tuple[int, int, int], plans: list[dict[str, int]], args: argparse.Namespace) -> Any:
    """Every plan and its measured latency ratio."""
    from compress.measure import PlanTimer

    if plans:
        with PlanTimer.open(space, size, backend=args.backend) as timer:
            for plan in plans:
                yield plan, timer.ratio(plan, repeats=args.repeats)


def row_of(name: str, way: str, cells: Cells) -> dict[str, Any]:
    """The comparison of one network and way in a row."""
    from compress.measure import prediction_error

    plans = cells.found["plans"]
    measured = [plan["measured"] for plan in plans]
    table, macs_ratio = (prediction_error([plan[key] for plan in plans], measured) for key in (way, "macs_ratio"))
    return {
        "network": name,
        "way": way,
        "plans": len(plans),
        "measured": f"{min(measured):.2f} to {max(measured):.2f}",
        "median error": table["median"],
        "p90 error": table["p90"],
        "rank correlation": table["rank_correlation"],
        "MACs: median error": macs_ratio["median"],
        "MACs: rank correlation": macs_ratio["rank_correlation"],
        "table, seconds": cells.found.get("seconds", {}).get(way, 0.0),
    }


def main(args: argparse.Namespace) -> None:
    import tempfile

    import torch

    torch.set_num_threads(1)
    settings = quick_networks() if args.quick else networks()
    args.rounds = 8 if args.quick else 20
    if args.quick:
        args.plans, args.designs, args.repeats = 2, 8, 15
    with tempfile.TemporaryDirectory() as nowhere:
        folder = Path(nowhere) if args.quick else args.work_dir
        names = args.networks if args.networks and not args.quick else list(settings)
        found = {name: compare(name, settings[name], folder, args) for name in names}
    rows = [row_of(name, way, cells) for name, cells in found.items() for way in args.ways]
    print_rows(
        f"Latency tables against end-to-end latency, multiples of {args.multiple}, {args.backend}, one thread", rows
    )
    print(f"targets: {', '.join(f'{name} {value:g}' for name, value in TARGETS.items())}")
    if not args.quick:
        plans = {name: cells.found["plans"] for name, cells in found.items()}
        results = "_".join(["latency_prediction", *([args.backend] if args.backend != "onnxruntime" else [])])
        print(save_results(results, rows, multiple=args.multiple, designs=args.designs, targets=TARGETS, plans=plans))


if __name__ == "__main__":
    main(parse())
