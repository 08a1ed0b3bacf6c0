"""One trained network, pruned by every method at equal MACs and at equal measured latency, with the same fine-tuning.

The protocol, a JSON file that is committed before its first run, says network, data, methods, their trials, budgets and
seeds. `--tune` tries every method's trials on images set aside from the training images; `--run` prunes with the best
of each, and reads the test images once a cell; `--gather` prints. Every trial and cell is a file in results/NAME of the
protocol, so a stopped comparison goes on, and processes may share the work by methods or seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from _cells import spread
from _harness import ROOT, print_rows, save_results
from _torch_pruning import at_latency, at_macs, cutter, regularised


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", type=Path)
    parser.add_argument("--checkpoint", required=True, metavar="F", help="the trained network")
    parser.add_argument("--data", required=True, metavar="ROOT", help="of the images")
    parser.add_argument("--methods", nargs="+", metavar="M", help="only these")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these of the protocol's")
    parser.add_argument("--budgets", nargs="+", metavar="B", help="only these, such as macs-0.5")
    parser.add_argument("--quick", action="store_true", help="few images, an epoch each, in runs/; nothing is written")
    what = parser.add_mutually_exclusive_group(required=True)
    for name, text in (("tune", "every trial"), ("run", "every cell"), ("gather", "print what is finished")):
        what.add_argument(f"--{name}", action="store_true", help=text)
    return parser.parse_args()


def main() -> None:
    import torch

    torch.set_num_threads(1)
    args = parse()
    protocol = json.loads(args.protocol.read_text())
    if args.quick:
        protocol["data"]["limit"] = 256
        for section in ("search", "finetune"):
            protocol[section]["epochs"] = 1
    if args.tune:
        protocol["finetune"].update(protocol["tuning"]["finetune"])
    base = ROOT / "runs" if args.quick else ROOT / "benchmarks" / "results"
    folder = base / args.protocol.stem
    names = args.methods or list(protocol["methods"])
    if args.tune:
        rival = Rival(args, protocol, protocol["tuning"]["seed"], holdout=protocol["tuning"]["holdout"])
        for name in names:
            for number, trial in enumerate(protocol["methods"][name]["trials"]):
                kept(
                    folder / f"trial {name} {number}.json",
                    lambda n=name, t=trial: rival.cell(n, t, protocol["tuning"]["budget"]),
                )
    elif args.run:
        for seed in args.seeds or protocol["seeds"]:
            rival = Rival(args, protocol, seed, holdout=0.0)
            for name in names:
                trial = chosen(folder, name, protocol)[1]
                for budget in args.budgets or protocol["budgets"]:
                    kept(
                        folder / f"{budget} {name} {seed}.json",
                        lambda r=rival, n=name, t=trial, b=budget: r.cell(n, t, b),
                    )
    else:
        gather(args, folder, protocol, names)


def kept(path: Path, compute: Callable[[], dict[str, Any]]) -> None:
    """Compute what `path` holds, unless it is there."""
    from compress.plan import write_json

    if not path.exists():
        started = time.process_time()
        row = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**row, "seconds": round(time.process_time() - started)})
        print(path.stem, json.dumps(row), flush=True)


def chosen(folder: Path, name: str, protocol: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Number and settings of the trial with the best accuracy on the images set aside; the first of equal ones."""
    trials = protocol["methods"][name]["trials"]
    found = [json.loads((folder / f"trial {name} {number}.json").read_text())["top1"] for number in range(len(trials))]
    best = found.index(max(found))
    return best, trials[best]


@dataclass
class Rival:
    """Everything that is pruned with one seed: data, the baseline, what has been searched already."""

    args: Any
    protocol: dict[str, Any]
    seed: int
    holdout: float

    def __post_init__(self) -> None:
        self.searched: dict[str, Any] = {}

    @cached_property
    def data(self) -> Any:
        """Training images, and what is judged on: test images, or those set aside."""
        from compress.engine.data import DataConfig, load_data

        config = DataConfig(root=self.args.data, holdout=self.holdout, **self.protocol["data"])
        return load_data(config, seed=self.seed)

    @cached_property
    def size(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        side = self.protocol["data"]["input_size"]
        return (3, side, side)

    @cached_property
    def baseline(self) -> tuple[Any, Any]:
        """The trained network and its space, groups verified on it."""
        from compress.spaces import TracedSpace, load_network, load_state
        from compress.spaces.constructors import is_code, name_code
        from compress.spaces.states import read_state
        from compress.tracing import traced

        model = self.protocol["model"]
        if is_code(model):
            model = str(ROOT / model)
            name_code(model)
        bare = TracedSpace(num_classes=len(self.data.classes), model=model)
        if Path(self.args.checkpoint).is_dir():
            network = load_network(self.args.checkpoint, bare)
        else:
            network = bare.build()
            load_state(network, read_state(self.args.checkpoint), source=self.args.checkpoint)
        network.eval()
        return network, traced(bare, self.size, network=network)

    def cell(self, name: str, trial: dict[str, Any], budget: str) -> dict[str, Any]:
        """Prune by one method with the settings `trial` under `budget`, fine-tune, and judge."""
        from compress.costs import count_macs, count_params

        kind, _, value = budget.partition("-")
        make = self.maker(name, trial)
        small, more = (make(float(value)), {}) if kind == "macs" else self.at_latency(make, float(value))
        network = self.baseline[0]
        ratios = {
            f"{key}_ratio": round(count(small) / count(network), 4)
            for key, count in (("macs", lambda n: count_macs(n, self.size)), ("params", count_params))
        }
        before = self.evaluate(small)
        self.finetune(small, name)
        return {"trial": trial, **ratios, **more, "sliced": before, "top1": self.evaluate(small)}

    def maker(self, name: str, trial: dict[str, Any]) -> Callable[[float], Any]:
        """Share of the MACs that may stay -> the network that the method leaves."""
        settings = {**self.protocol["methods"][name], **trial}
        if settings["by"] == "torch-pruning":
            network = self.once(name, trial, lambda: self.prepared(name, settings))
            cut = cutter(network, settings, **self.limits, round_to=self.protocol["select"]["round_to"])
            return lambda share: at_macs(cut, share, self.size)
        found = self.once(name, trial, lambda: self.search(name, settings))
        return lambda share: self.sliced(found, settings.get("select", {}), share)

    def once(self, name: str, trial: dict[str, Any], compute: Callable[[], Any]) -> Any:
        """What `compute` gives, once for all trials and budgets that differ in the selection alone."""
        key = json.dumps([name, {k: v for k, v in trial.items() if k in ("search", "reg")}])
        if key not in self.searched:
            self.searched[key] = compute()
        return self.searched[key]

    def search(self, name: str, settings: dict[str, Any]) -> Any:
        """Scores, and the network with the scores folded in."""
        from compress.engine.searching import search
        from compress.engine.tasks import Classification

        network, space = self.baseline
        with self.job("search", name) as job:
            task = Classification(self.data)
            return search(deepcopy(network), space, task, self.config(settings), job, evaluate=lambda _: {})

    def prepared(self, name: str, settings: dict[str, Any]) -> Any:
        """The network that torch-pruning cuts: the trained one, or with a group lasso trained on."""
        from compress.engine.tasks import Classification

        if "reg" not in settings:
            return self.baseline[0]
        config, task = self.config(settings), Classification(self.data)
        with self.job("search", name) as job:
            return regularised(self.baseline[0], settings, task, config, job, **self.limits)

    @property
    def limits(self) -> dict[str, Any]:
        """What torch-pruning is told of the network."""
        return {"size": self.size, "classes": len(self.data.classes), "ignored": self.protocol["ignored_layers"]}

    def config(self, settings: dict[str, Any]) -> Any:
        """Of a search."""
        from compress.engine.settings import SearchConfig
        from compress.plan import build_settings

        own = {key: settings[key] for key in ("method",) if key in settings}
        return build_settings(SearchConfig, {**self.protocol["search"], **own, **settings.get("search", {})}, "search")

    def sliced(self, found: Any, select: dict[str, Any], share: float) -> Any:
        """What is left when `share` of the MACs may stay."""
        from compress.pruning import Budget, SelectConfig, plan_for, slice_model

        config = SelectConfig(**{**self.protocol["select"], **select})
        plan = plan_for(self.baseline[1], found.scores, Budget("macs_ratio", share), config, input_size=self.size)
        return slice_model(found.network.eval(), self.baseline[1], plan)[0]

    def at_latency(self, make: Callable[[float], Any], target: float) -> tuple[Any, dict[str, float]]:
        """The network of `make` whose measured latency is `target` of the baseline's, and its ratio."""
        small, ratio = at_latency(make, target, self.latency_ratio)
        return small, {"latency_ratio": round(ratio, 4)}

    def latency_ratio(self, small: Any) -> float:
        """Median of paired ratios in ONNX Runtime, one image, one thread."""
        import numpy as np

        from compress.export import INPUT_NAME
        from compress.measure import interleaved, summarise_ratio

        x = np.zeros((1, *self.size), np.float32)
        sessions = {"before": self.whole, "after": self.session(small)}
        calls = {name: lambda s=s: s.run(None, {INPUT_NAME: x}) for name, s in sessions.items()}
        samples = interleaved(calls, repeats=60)
        return float(summarise_ratio(samples["before"], samples["after"])["median"])

    @cached_property
    def whole(self) -> Any:
        """The baseline in ONNX Runtime."""
        return self.session(self.baseline[0])

    def session(self, network: Any) -> Any:
        """`network` in ONNX Runtime, on one thread."""
        from compress.export import export_onnx, onnx_session
        from compress.plan import scratch

        with scratch() as folder:
            export_onnx(deepcopy(network), folder / "network.onnx", input_size=self.size)
            return onnx_session(folder / "network.onnx", threads=1)

    def finetune(self, network: Any, name: str) -> None:
        """In place, for every method alike."""
        from compress.engine.settings import FinetuneConfig
        from compress.engine.training import train
        from compress.plan import build_settings

        config = build_settings(FinetuneConfig, self.protocol["finetune"], "finetune")
        teacher = self.baseline[0] if config.distill is not None else None
        with self.job("finetune", name) as job:
            train(network, self.data.train, config, job, evaluate=lambda _: {}, teacher=teacher)

    def evaluate(self, network: Any) -> float:
        """Top-1 in percent."""
        from compress.engine.loaders import eval_loader
        from compress.engine.training import evaluate_top1

        return round(evaluate_top1(network, eval_loader(self.data.test, batch_size=250))["top1"], 4)

    @contextmanager
    def job(self, stage: str, name: str) -> Iterator[Any]:
        """A stage of training, of which nothing is kept."""
        from compress.engine.training import Job
        from compress.plan import scratch
        from compress.report.progress import TerminalProgress

        with scratch() as folder, TerminalProgress(quiet=True) as progress:
            yield Job(folder, folder / "metrics.jsonl", stage, self.seed, progress)


def gather(args: argparse.Namespace, folder: Path, protocol: dict[str, Any], names: list[str]) -> None:
    """Trials, then cells by budget and method: mean and deviation over seeds."""
    trials = [
        {"method": name, "trial": json.dumps(trial), "top1, images set aside": json.loads(file.read_text())["top1"]}
        for name in names
        for number, trial in enumerate(protocol["methods"][name]["trials"])
        if (file := folder / f"trial {name} {number}.json").exists()
    ]
    rows, raw = [], []
    for budget in protocol["budgets"]:
        for name in names:
            files = [(seed, folder / f"{budget} {name} {seed}.json") for seed in protocol["seeds"]]
            found = [{"seed": seed, **json.loads(file.read_text())} for seed, file in files if file.exists()]
            if found:
                columns = ("macs_ratio", "params_ratio", "latency_ratio", "sliced", "top1", "seconds")
                shown = {key: spread([cell[key] for cell in found], 3) if key in found[0] else "" for key in columns}
                rows.append({"budget": budget, "method": name, "seeds": len(found), **shown})
                raw += [{"budget": budget, "method": name, **cell} for cell in found]
    for title, table in (("trials", trials), ("test images", rows)):
        if table:
            print_rows(title, table)
    if rows and not args.quick:
        print(save_results(folder.name, rows, trials=trials, cells=raw, protocol=protocol))


if __name__ == "__main__":
    main()
