"""The latency penalty of topology search: from a measured table of cells over a sweep of gamma to cells that are timed.

First the table is measured, then cells are searched by fused RARTS under every gamma and seed, then each found cell is
timed in turn with the reference network (ONNX Runtime, one thread). All is kept in the work folder, cell by cell, and
goes on where it was stopped. Only --gather reads the table of true accuracies.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from _harness import ROOT, print_rows, save_results

PROTOCOL = ROOT / "benchmarks" / "topology_nats_protocol.json"
METHOD, REGIME = "rarts fused", "short"
GAMMAS = (0.0, 0.1, 0.3, 0.5, 1.0)
SEEDS = (201, 202)
TARGET = {"channels": 16, "layers": 1}
DESIGNS = 28
SHARES = {"skip": "skip_connect", "pool": "avg_pool_3x3", "1x1": "nor_conv_1x1", "3x3": "nor_conv_3x3"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, metavar="NPZ", help="CIFAR-10")
    parser.add_argument("--true", metavar="CSV", help="true accuracies of all cells, for --gather")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "topology_latency")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--gammas", type=float, nargs="+", default=GAMMAS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--repeats", type=int, default=5, help="how often every cell is timed")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="only these")
    parser.add_argument("--quick", action="store_true", help="one epoch, two gammas, eight designs; nothing is written")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.gammas, args.seeds, args.repeats = 1, (0.0, 1.0), SEEDS[:1], 1
        args.work_dir = args.work_dir / "quick"
    return args


def main() -> None:
    args = parse()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    for step in args.steps:
        STEPS[step](args)


def profile(args: argparse.Namespace) -> None:
    """The table of what every operation costs on every edge."""
    from compress.plan.genotype import NATS
    from compress.report.progress import TerminalProgress
    from compress.topology.profile import CellTableConfig, build_cell_table

    config = CellTableConfig(designs=8 if args.quick else DESIGNS)
    with TerminalProgress() as progress:
        table = build_cell_table(
            target, NATS, table_of(args), input_size=size(), config=config, resume=True, progress=progress
        )
    print("unseen networks:", table.record["residual"])


def search_all(args: argparse.Namespace) -> None:
    """A cell for every gamma and seed, seed by seed."""
    from compress.plan import write_json

    for seed in args.seeds:
        for gamma in args.gammas:
            path = run_of(args, gamma, seed)
            if not path.exists():
                write_json(path, searched(args, gamma, seed))
                print(path.stem, json.loads(path.read_text())["cell"], flush=True)


def searched(args: argparse.Namespace, gamma: float, seed: int) -> dict[str, Any]:
    """The cell of one search, `none` left out of what an edge can be, and with it."""
    import torch

    from compress.engine.data import DataConfig, load_data
    from compress.engine.searching import search
    from compress.engine.tasks import Classification
    from compress.engine.training import Job
    from compress.plan import build_settings
    from compress.report.progress import TerminalProgress
    from compress.topology import NatsSupernetSpace, TopologySearch, discretise

    torch.set_num_threads(1)
    protocol = json.loads(PROTOCOL.read_text())
    limit = 300 if args.quick else protocol["regimes"][REGIME]["limit"]
    data = load_data(DataConfig(root=args.data, limit=limit, **protocol["data"]), seed=seed)
    space = NatsSupernetSpace(num_classes=len(data.classes), **protocol["supernet"])
    settings = {
        "epochs": args.epochs,
        "method": protocol["methods"][METHOD],
        "batch_size": 64,
        "gamma": gamma,
        "penalty": "latency",
        "latency_table": str(table_of(args)),
        "optimizer": protocol["optimizer"],
        "alpha_optimizer": protocol["alpha_optimizer"],
    }
    torch.manual_seed(seed)
    started, folder = time.process_time(), run_of(args, gamma, seed).with_suffix("")
    with TerminalProgress(quiet=True) as progress:
        job = Job(folder, folder / "metrics.jsonl", "search", seed, progress)
        config = build_settings(TopologySearch, settings, "search")
        found = search(space.build(), space, Classification(data), config, job, evaluate=lambda network: {})
    cells = {key: discretise(found.scores, space.cells, allow_none=none).text for key, none in FORMS.items()}
    scores = {key: [round(float(v), 5) for v in value] for key, value in found.scores.items()}
    return {"gamma": gamma, "seed": seed, **cells, "scores": scores, "seconds": time.process_time() - started}


FORMS = {"cell": False, "with_none": True}


def measure(args: argparse.Namespace) -> None:
    """Every found cell in turn with the reference network, exported once and opened anew for every repeat."""
    import torch

    from compress.plan import Genotype, scratch, write_json
    from compress.plan.backends import BACKENDS
    from compress.topology.latency import CellTable
    from compress.topology.profile import CellNetworks, CellTableConfig, PlanTimer, compared

    backend, table = BACKENDS.need("backend", "onnxruntime"), CellTable.load(table_of(args))
    path = args.work_dir / "measured.json"
    found: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    images = torch.randn(1, *size(), generator=torch.Generator().manual_seed(0))
    with scratch("latency") as folder:
        networks = CellNetworks(target, table.reference, folder, backend=backend, images=images)
        for text in sorted({each["cell"] for each in runs(args)} - found.keys()):
            genotype = Genotype.parse(text)
            file = networks.at(genotype)
            same = SimpleNamespace(unpruned=networks.unpruned, images=images, at=lambda genotype, file=file: file)
            timer = PlanTimer(same, backend, threads=1)
            found[text] = [compared(timer, genotype, rounds=CellTableConfig.rounds)[0] for _ in range(args.repeats)]
            write_json(path, found)
            shown = ", ".join(f"{ratio:.3f}" for ratio in found[text])
            print(f"{shown} of the reference, predicted {table.predict(genotype).ratio:.3f}", flush=True)


def gather(args: argparse.Namespace) -> None:
    """The figures of every gamma: means over seeds."""
    from compress.plan import Genotype
    from compress.topology import load_bench
    from compress.topology.latency import CellTable

    table = CellTable.load(table_of(args))
    measured: dict[str, list[float]] = json.loads((args.work_dir / "measured.json").read_text())
    bench = load_bench(args.true, "cifar10") if args.true else None
    rows, raw = [], []
    for gamma in args.gammas:
        mine = [each for each in runs(args) if each["gamma"] == gamma]
        for each in mine:
            genotype = Genotype.parse(each["cell"])
            each["predicted"] = table.predict(genotype).ratio
            each["measured"] = statistics.median(measured[each["cell"]])
            each |= {name: genotype.share(operation) for name, operation in SHARES.items()}
            each["edges that would be none"] = Genotype.parse(each["with_none"]).share("none")
            if bench is not None:
                each["true accuracy"] = bench.accuracy(genotype)
        raw += mine
        told = [key for key in (mine or [{}])[0] if key not in ("gamma", "seed", "cell", "with_none", "scores")]
        if mine:
            means = {key: statistics.mean(each[key] for each in mine) for key in told}
            rows.append({"gamma": gamma, "seeds": len(mine), **means})
    print_rows("Cells found under the latency penalty, in shares of the reference network's latency", rows)
    if not args.quick:
        draw(raw, ROOT / "docs" / "results" / "topology_latency.svg")
        more = {"target": TARGET, "input_size": size(), "network_ms": table.network_ms, "rest": table.rest}
        costs = {cell: values.tolist() for cell, values in table.costs.items()}
        residual = table.record["residual"]
        reference = table.reference.text
        print(
            save_results(
                "topology_latency", rows, runs=raw, **more, reference=reference, residual=residual, costs=costs,
                timed=measured,
            )
        )  # fmt: skip


def draw(raw: list[dict[str, Any]], path: Path) -> None:
    """Predicted and measured latency over gamma, a line for each seed."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "topology_latency"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    for seed, colour in zip(dict.fromkeys(each["seed"] for each in raw), ("C0", "C1", "C2", "C3"), strict=False):
        mine = sorted((each for each in raw if each["seed"] == seed), key=lambda each: each["gamma"])
        for key, style in (("predicted", "--"), ("measured", "-o")):
            x, y = zip(*((each["gamma"], each[key]) for each in mine), strict=True)
            axes.plot(x, y, style, color=colour, label=f"seed {seed}, {key}")
    axes.set(xlabel="gamma", ylabel="latency / reference network's", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


STEPS = {"profile": profile, "search": search_all, "measure": measure, "gather": gather}


def target(genotype: Any) -> Any:
    """The space of the network that the cells are for."""
    from compress.topology.space import NatsCellsSpace

    return NatsCellsSpace(num_classes=10, genotype=genotype.text, **TARGET)


def size() -> tuple[int, int, int]:
    side = json.loads(PROTOCOL.read_text())["data"]["input_size"]
    return 3, side, side


def table_of(args: argparse.Namespace) -> Path:
    return args.work_dir / "table.json"


def run_of(args: argparse.Namespace, gamma: float, seed: int) -> Path:
    return args.work_dir / f"gamma{gamma:g}-{seed}.json"


def runs(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What is finished of the searches that are asked for."""
    paths: Sequence[Path] = [run_of(args, gamma, seed) for gamma in args.gammas for seed in args.seeds]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


if __name__ == "__main__":
    main()
