"""Topology search on NATS-Bench's space: every method at equal settings, judged by true accuracies of all cells.

Grid, seeds and budgets stand in topology_nats_protocol.json, which was committed before the first run. Every run is a
file with its cell after each epoch (results/topology_nats), so a stopped comparison goes on, and processes may share
the work by seeds. The table of true accuracies is read by --gather alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results

PROTOCOL = ROOT / "benchmarks" / "topology_nats_protocol.json"
FORMS = {"all": True, "without none": False}
"""How a cell is read off the scores -> whether `none` is among the operations."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", required=True, metavar="NPZ", help="the data sets' files, in their order")
    parser.add_argument("--table", metavar="CSV", help="true accuracies; needed to gather")
    parser.add_argument("--protocol", type=Path, default=PROTOCOL)
    parser.add_argument("--work-dir", type=Path, default=ROOT / "benchmarks" / "results" / "topology_nats")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these of the protocol's")
    parser.add_argument("--datasets", nargs="+", help="only these of the protocol's")
    parser.add_argument("--regimes", nargs="+", help="only these of the protocol's")
    parser.add_argument(
        "--gather", action="store_true", help="compute nothing; judge, write and print what is finished"
    )
    parser.add_argument("--quick", action="store_true", help="two epochs of few images; results not written")
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.quick:
        args.work_dir = Path(tempfile.mkdtemp())
    protocol = json.loads(args.protocol.read_text())
    files = dict(zip(protocol["datasets"], args.data, strict=False))
    runs = [
        (dataset, regime, seed, name)
        for dataset, regime, seed in itertools.product(files, protocol["regimes"], protocol["seeds"])
        for name in (*protocol["methods"], *protocol["variants"])
        if dataset in (args.datasets or files)
        and seed in (args.seeds or protocol["seeds"])
        and regime in (args.regimes or protocol["regimes"])
    ]
    if not args.gather:
        for dataset, regime, seed, name in runs:
            cell(args, protocol, files[dataset], dataset, regime, seed, name)
    if args.table:
        gather(args, protocol, runs)


def path_of(args: argparse.Namespace, *names: Any) -> Path:
    return args.work_dir / ("-".join(str(name).replace(" ", "_").replace(",", "") for name in names) + ".json")


def cell(args: Any, protocol: Any, file: str, dataset: str, regime: str, seed: int, name: str) -> None:
    """Search once, unless the file of the run is there."""
    from compress.plan import scratch, write_json

    path = path_of(args, dataset, regime, seed, name)
    if path.exists():
        return
    with scratch() as folder:
        found = searched(protocol, file, regime, seed, name, folder=folder, quick=args.quick)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    print(path.stem, f"{found['seconds']:.0f} s", flush=True)


def searched(protocol: Any, file: str, regime: str, seed: int, name: str, *, folder: Path, quick: bool) -> Any:
    """The cells of every epoch, by their forms, and the seconds of processor."""
    import torch

    from compress.engine.data import DataConfig, load_data
    from compress.engine.searching import search
    from compress.engine.tasks import Classification
    from compress.engine.training import Job
    from compress.plan import build_settings
    from compress.report.progress import TerminalProgress
    from compress.topology import NatsSupernetSpace, TopologySearch, discretise, edge_scores

    torch.set_num_threads(1)
    variant = protocol["variants"].get(name, {"method": name})
    method = protocol["methods"][variant["method"]]
    span = protocol["regimes"][regime]
    data = load_data(DataConfig(root=file, limit=300 if quick else span["limit"], **protocol["data"]), seed=seed)
    supernet = {**protocol["supernet"], **variant.get("supernet", {})}
    space = NatsSupernetSpace(num_classes=len(data.classes), **supernet)
    halves = method["type"] not in ("joint", "random")
    config = build_settings(
        TopologySearch,
        {
            "epochs": 2 if quick else span["epochs"],
            "method": {**method, **variant.get("settings", {})},
            "batch_size": 64 if halves else 128,
            "gamma": 0.0,
            "optimizer": protocol["optimizer"],
            "alpha_optimizer": protocol["alpha_optimizer"],
            "weights": "u" if method["type"] == "rarts" else "average",
            # A third of the epochs, as PC-DARTS; no variant but those that say so.
            "hold_epochs": span["epochs"] // 3 if variant.get("hold") else 0,
        },
        "search",
    )
    curve: list[dict[str, str]] = []

    def record(network: Any) -> dict[str, float]:
        with torch.no_grad():
            scores = edge_scores(network.weights(torch.device("cpu")))
        curve.append({form: discretise(scores, space.cells, allow_none=none).text for form, none in FORMS.items()})
        return {}

    torch.manual_seed(seed)
    started = time.process_time()
    with TerminalProgress(quiet=True) as progress:
        job = Job(folder, folder / "metrics.jsonl", "search", seed, progress)
        found = search(space.build(), space, Classification(data), config, job, evaluate=record)
    last = {form: discretise(found.scores, space.cells, allow_none=none).text for form, none in FORMS.items()}
    scores = {key: [round(float(v), 6) for v in value] for key, value in found.scores.items()}
    return {"seconds": time.process_time() - started, "last": last, "curve": curve, "scores": scores}


def gather(args: Any, protocol: Any, runs: list[Any]) -> None:
    """Judge the finished runs by the table; print and write the rows."""
    from compress.plan import read_json
    from compress.topology import load_bench

    rows, raw = [], []
    for dataset in dict.fromkeys(run[0] for run in runs):
        bench = load_bench(args.table, dataset)
        for regime in dict.fromkeys(run[1] for run in runs):
            for name in dict.fromkeys(run[3] for run in runs):
                mine = [run for run in runs if run[0] == dataset and run[1] == regime and run[3] == name]
                found = [(run[2], read_json(path_of(args, *run))) for run in mine if path_of(args, *run).exists()]
                judged = [judge(bench, seed, each) for seed, each in found]
                if judged:
                    rows.append({"data": dataset, "regime": regime, "method": name, **summary(judged)})
                    raw += [{"data": dataset, "regime": regime, "method": name, **each} for each in judged]
    print_rows("cells found in NATS-Bench's space, by their true accuracy", rows)
    if not args.quick:
        space = {dataset: landmarks(args.table, dataset) for dataset in dict.fromkeys(run[0] for run in runs)}
        print(save_results(args.work_dir.name, rows, runs=raw, space=space, protocol=protocol))
        draw(raw, ROOT / "docs" / "results" / f"{args.work_dir.name}.svg")


def judge(bench: Any, seed: int, run: Any) -> dict[str, Any]:
    from compress.plan.genotype import Genotype

    out: dict[str, Any] = {"seed": seed, "seconds": round(run["seconds"], 1)}
    for form in FORMS:
        genotype = Genotype.parse(run["last"][form])
        shares = {key: genotype.share(name) for key, name in SHARES.items()}
        curve = [round(bench.accuracy(Genotype.parse(each[form])), 3) for each in run["curve"]]
        out[form] = {
            "cell": genotype.text,
            "accuracy": bench.accuracy(genotype),
            "rank": bench.rank(genotype),
            **shares,
            "curve": curve,
        }
    return out


SHARES = {"skip": "skip_connect", "pool": "avg_pool_3x3", "none": "none"}


def summary(judged: list[dict[str, Any]]) -> dict[str, Any]:
    def over(form: str, key: str) -> list[float]:
        return [each[form][key] for each in judged]

    out: dict[str, Any] = {"seeds": len(judged)}
    for form in FORMS:
        values = over(form, "accuracy")
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        out[f"{form}: accuracy"] = f"{statistics.mean(values):.2f} +- {spread:.2f}"
        out[f"{form}: rank"] = round(statistics.mean(over(form, "rank")))
    shares = [f"{statistics.mean(over('all', key)):.2f}" for key in SHARES]
    out["skip, pool, none"] = ", ".join(shares)
    out["seconds"] = round(statistics.mean(each["seconds"] for each in judged))
    return out


def draw(raw: list[dict[str, Any]], path: Path) -> None:
    """Anytime curves: the true accuracy of the present cell, read off without `none`, median over seeds."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = path.stem
    from matplotlib import pyplot as plt

    settings = list(dict.fromkeys((run["data"], run["regime"]) for run in raw))
    methods = [name for name in dict.fromkeys(run["method"] for run in raw) if name != "random"]
    figure, grid = plt.subplots(2, -(-len(settings) // 2), figsize=(9, 6.4), squeeze=False)
    for (data, regime), axes in zip(settings, grid.flat, strict=False):
        for place, method in enumerate(methods):
            curves = [
                run["without none"]["curve"]
                for run in raw
                if (run["data"], run["regime"], run["method"]) == (data, regime, method)
            ]
            style = "--" if method.endswith("sigmoid") else "-"
            axes.plot(
                [statistics.median(each) for each in zip(*curves, strict=True)], style, color=f"C{place}", label=method
            )
        axes.set_title(f"{data}, {regime}", fontsize=10)
        best = max(max(run["without none"]["curve"], default=0.0) for run in raw if run["data"] == data)
        axes.set_ylim(0.8 * best, 1.01 * best)
        axes.set_xlabel("epoch")
        axes.set_ylabel("true accuracy, %")
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="lower center", ncol=5, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def landmarks(table: str, dataset: str) -> dict[str, Any]:
    """Quantiles of the whole space, and cells that anybody would try."""
    from compress.plan.genotype import NATS, Genotype
    from compress.topology import load_bench

    bench = load_bench(table, dataset)
    values = sorted(bench.accuracies.values())
    quantiles = {f"{share} %": values[round(share / 100 * (len(values) - 1))] for share in (5, 25, 50, 75, 95, 100)}
    plain = {}
    for name in ("nor_conv_3x3", "skip_connect"):
        nodes = tuple(tuple((name, source) for source in range(node)) for node in range(1, NATS.nodes + 1))
        genotype = Genotype("nats", {"cell": nodes})
        plain[f"all {name}"] = {"accuracy": bench.accuracy(genotype), "rank": bench.rank(genotype)}
    return {"cells": len(values), "mean": statistics.mean(values), "quantiles": quantiles, **plain}


if __name__ == "__main__":
    main()
