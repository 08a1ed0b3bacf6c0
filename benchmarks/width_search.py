"""Every search method on PreResNet-20 and CIFAR-10, at equal MACs, over seeds, with and without distillation.

Cells (a baseline, a search, a slice, a fine-tuning) are files of --work-dir and are never computed twice, so a stopped
run goes on, and two processes may share the work by --seeds. `--tune` compares settings on held-out training images
instead of test images, at one seed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results

RECIPE = ROOT / "recipes" / "width" / "preresnet20_cifar10_rarts.py"
COMMON = [
    "data.type=npz",
    "data.limit=4000",
    "train.epochs=30",
    "train.amp=bf16",
    "search.epochs=6",
    "search.amp=bf16",
    "search.optimizer.lr=0.05",
    "finetune.epochs=3",
    "finetune.amp=bf16",
]
QUICK = ["data.limit=200", "train.epochs=2", "search.epochs=1", "search.warmup_epochs=0", "finetune.epochs=1"]
RATIOS = (0.4, 0.25, 0.2)
"""0.15 is out of reach: with one channel in every scored group, stem, shortcuts and classifier keep 0.183."""
TUNED_RATIOS = (0.25,)


def gates(method: str, gamma: float, *more: str) -> list[str]:
    """Overrides for a method with l1-penalised scores; its type replaces the recipe's."""
    return [f"search.method={{'_delete_': True, {method}}}", f"search.gamma={gamma}", *more]


# Six epochs are 372 steps over all of D, or 186 over its halves: gamma brings the strength to 3.5 (3.7) in both.
FULL, HALF = 0.0376, 0.0752
FREE = "search.fixed_scale=False"
METHODS: dict[str, list[str]] = {
    "rarts": gates("'type': 'rarts', 'order': 'fused'", HALF),
    "darts1": gates("'type': 'darts1'", HALF),
    "darts2": gates("'type': 'darts2'", HALF, "search.amp=None"),  # a finite difference drowns in bf16
    "milenas1": gates("'type': 'milenas1'", HALF),
    "joint": gates("'type': 'joint'", FULL),
    "netslim": gates("'type': 'netslim'", FULL, FREE),
    "rvsm": gates("'type': 'rvsm', 'penalty': 'l1', 'beta': 1.0", 0.03, FREE),
    # Norms of filters of different layers do not compare.
    "grouplasso": gates("'type': 'grouplasso'", 1e-3, FREE, "select.ranking=layer"),
    "tas": gates(
        "'type': 'tas'",
        0.0,
        FREE,
        "search.alpha_optimizer={'_delete_': True, 'type': 'Adam', 'lr': 0.02, 'betas': (0.5, 0.999)}",
    ),
    "random": gates("'type': 'random'", 0.0, FREE),
    "magnitude": gates("'type': 'magnitude'", 0.0, FREE),
    "taylor": gates("'type': 'taylor'", 0.0, FREE),
}
TRIALS: dict[str, list[str]] = {
    "rarts": METHODS["rarts"],
    "gauss-seidel": gates("'type': 'rarts'", HALF),
    "beta 0.1": gates("'type': 'rarts', 'order': 'fused', 'beta': 0.1", HALF),
    "beta 10": gates("'type': 'rarts', 'order': 'fused', 'beta': 10.0", HALF),
    "lam 0.3": gates("'type': 'rarts', 'order': 'fused', 'lam': 0.3", HALF),
    "lam 3": gates("'type': 'rarts', 'order': 'fused', 'lam': 3.0", HALF),
    "gamma third": gates("'type': 'rarts', 'order': 'fused'", HALF / 3),
    "gamma x 3": gates("'type': 'rarts', 'order': 'fused'", HALF * 3),
    "weights u": gates("'type': 'rarts', 'order': 'fused'", HALF, "search.weights=u"),
    "free scale": gates("'type': 'rarts', 'order': 'fused'", HALF, FREE),
    "alpha rate fifth": gates("'type': 'rarts', 'order': 'fused'", HALF * 5, "search.alpha_optimizer.lr=0.01"),
    "alpha Adam": gates(
        "'type': 'rarts', 'order': 'fused'",
        HALF / 3,
        "search.alpha_optimizer={'_delete_': True, 'type': 'Adam', 'lr': 0.01, 'betas': (0.5, 0.999)}",
    ),
    "netslim": METHODS["netslim"],
    "netslim gamma third": gates("'type': 'netslim'", FULL / 3, FREE),
    "netslim gamma tenth": gates("'type': 'netslim'", FULL / 10, FREE),
    "joint": METHODS["joint"],
    "joint gamma third": gates("'type': 'joint'", FULL / 3),
    "rvsm": METHODS["rvsm"],
    "rvsm gamma tenth": gates("'type': 'rvsm', 'penalty': 'l1', 'beta': 1.0", 0.003, FREE),
    "grouplasso": METHODS["grouplasso"],
    "grouplasso gamma x 3": gates("'type': 'grouplasso'", 3e-3, FREE, "select.ranking=layer"),
    "magnitude": METHODS["magnitude"],
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, metavar="NPZ", help="CIFAR-10 as docs/formats.md describes .npz data")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "width_search", metavar="D")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", metavar="M", help="only these rows")
    parser.add_argument("--tune", action="store_true", help="trials of settings on held-out training images, seed 0")
    parser.add_argument("--gather", action="store_true", help="compute nothing; write and print what is finished")
    parser.add_argument("--quick", action="store_true", help="200 images, an epoch each; results not written")
    return parser.parse_args()


class Cells:
    """Results kept as files; the work of one seed."""

    def __init__(self, args: argparse.Namespace, seed: int, progress: Any) -> None:
        self.folder = args.work_dir / ("tune" if args.tune else "test") / f"seed{seed}"
        self.seed, self.progress, self.gather, self.tuning = seed, progress, args.gather, args.tune
        self.data: Any = None
        self.ratios = TUNED_RATIOS if args.tune else RATIOS
        self.options = [*COMMON, f"data.root={args.data}", f"seed={seed}", *(QUICK if args.quick else [])]
        self.options += ["data.holdout=0.2"] if args.tune else []

    def context(self, *more: str) -> Any:
        """The recipe with the overrides `more`, and the data, which are the same for all of a seed's cells."""
        from compress.pipeline.context import Context
        from compress.pipeline.recipe import load_recipe

        c = Context(load_recipe(RECIPE, [*self.options, *more]), self.progress)
        if self.data is None:
            self.data = c.data
        c.__dict__["data"] = self.data
        return c

    def cell(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """The figures of the cell `name`, computed unless its file is there; None for an absent one when gathering."""
        from compress.plan import read_json, write_json

        file = self.folder / "cells" / f"{name}.json"
        if not file.exists():
            if self.gather:
                return None
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, compute())
            print(f"seed {self.seed} {name}: {read_json(file)}", flush=True)
        return read_json(file)

    def job(self, stage: str, name: str) -> Any:
        """Where a training stage keeps its state; it is not resumed in the middle."""
        from compress.engine.training import Job

        folder = self.folder / "work" / f"{name} {stage}"
        return Job(folder, folder / "metrics.jsonl", stage, self.seed, self.progress)

    def baseline(self) -> None:
        """Train the unpruned network; cell `baseline`."""
        import torch

        from compress.engine.training import train
        from compress.spaces import save_model

        def compute() -> dict[str, Any]:
            c = self.context()
            torch.manual_seed(self.seed)
            network = c.full_space.build()
            train(network, c.data.train, c.recipe.train, self.job("train", "baseline"), evaluate=lambda _: {})
            save_model(self.folder / "baseline", network, c.card(c.full_space))
            return c.evaluate(network)

        self.cell("baseline", compute)

    def search(self, name: str, settings: Sequence[str]) -> None:
        """Search from the baseline; cell `NAME search`."""
        from compress.engine.searching import search
        from compress.plan import save_scores
        from compress.spaces import load_model, save_model

        def compute() -> dict[str, Any]:
            c = self.context(*settings)
            network, space, _ = load_model(self.folder / "baseline")
            job = self.job("search", name)
            found = search(network, space, c.data, c.recipe.search, job, evaluate=lambda _: {})
            save_scores(self.folder / f"{name}.safetensors", found.scores)
            save_model(self.folder / f"{name} searched", found.network, c.card(space))
            return {**c.evaluate(found.network), "strength": found.info["strength"]}

        self.cell(f"{name} search", compute)

    def prune(self, name: str, ratio: float, settings: Sequence[str], *, searched: str) -> None:
        """Select and slice at `ratio` of the MACs, fine-tune with and without the baseline as teacher."""
        from compress.engine.training import train
        from compress.plan import load_scores
        from compress.pruning import Budget, select, slice_model
        from compress.spaces import load_model

        def sliced() -> tuple[Any, Any, Any]:
            c = self.context(*settings)
            network, space, card = load_model(self.folder / f"{searched} searched")
            scores = load_scores(self.folder / f"{searched}.safetensors")
            operators = space.operators(card.input_size)
            plan = select(scores, operators, Budget("macs_ratio", ratio), c.recipe.select, space=space.name)
            return c, plan, slice_model(network, space, plan)[0]

        def before() -> dict[str, Any]:
            c, plan, network = sliced()
            macs = plan.record["macs"]
            return {**c.evaluate(network), "macs_ratio": macs["after"] / macs["before"], "widths": plan.widths}

        def after(distill: bool) -> dict[str, Any]:
            c, _, network = sliced()
            c = c if distill else self.context(*settings, "finetune.distill=None")
            teacher = load_model(self.folder / "baseline")[0] if distill else None
            job = self.job("finetune", f"{name} {ratio} {distill}")
            train(network, c.data.train, c.recipe.finetune, job, evaluate=lambda _: {}, teacher=teacher)
            return c.evaluate(network)

        self.cell(f"{name} {ratio} sliced", before)
        self.cell(f"{name} {ratio} finetuned", lambda: after(False))
        if not self.tuning:
            self.cell(f"{name} {ratio} distilled", lambda: after(True))

    def run(self, name: str, settings: Sequence[str]) -> None:
        """All cells of one row of the table."""
        if name == "tas":  # its search aims at the MACs, so there is one for each ratio
            for ratio in self.ratios:
                aimed = [*settings, f"search.method.target={ratio}"]
                self.search(f"tas {ratio:.0%}", aimed)
                self.prune(name, ratio, aimed, searched=f"tas {ratio:.0%}")
            return
        self.search(name, settings)
        for ratio in self.ratios:
            self.prune(name, ratio, settings, searched=name)

    def figures(self, name: str) -> dict[str, Any]:
        """The finished figures of one row: {cell: top-1}, and the search's strength."""
        nothing = lambda: {}  # noqa: E731
        self.gather = True
        out: dict[str, Any] = {}
        for ratio in self.ratios:
            for stage in ("sliced", "finetuned") if self.tuning else ("sliced", "finetuned", "distilled"):
                found = self.cell(f"{name} {ratio} {stage}", nothing)
                out[f"{ratio} {stage}"] = found and found["top1"]
            found = self.cell(f"{name} {ratio} sliced", nothing)
            out[f"{ratio} widths"] = found and list(found["widths"].values())
            out[f"{ratio} macs"] = found and round(found["macs_ratio"], 4)
        found = self.cell(f"{name} {RATIOS[0]:.0%} search" if name == "tas" else f"{name} search", nothing)
        out["strength"] = found and found["strength"]
        return out


def error(values: Sequence[float | None]) -> str:
    """Mean test error in percent and its standard deviation over seeds, or what is missing."""
    found = [100 - value for value in values if value is not None]
    if len(found) < len(values):
        return f"{len(found)} of {len(values)}"
    return f"{statistics.mean(found):.2f}" + (f" +- {statistics.stdev(found):.2f}" if len(found) > 1 else "")


def main(args: argparse.Namespace) -> None:
    import torch

    from compress.report.progress import TerminalProgress

    torch.set_num_threads(1)
    table = TRIALS if args.tune else METHODS
    names = args.methods or list(table)
    seeds = [0] if args.tune else args.seeds
    with TerminalProgress(quiet=True) as progress:
        cells = {seed: Cells(args, seed, progress) for seed in seeds}
        if not args.gather:
            for seed in seeds:
                cells[seed].baseline()
                for name in names:
                    cells[seed].run(name, table[name])
    raw = [{"method": name, "seed": seed, **cells[seed].figures(name)} for name in names for seed in seeds]
    rows = []
    for name in names:
        mine = [row for row in raw if row["method"] == name]
        shown = [key for key in mine[0] if key.endswith(("sliced", "finetuned", "distilled"))]
        rows.append({"method": name, **{key: error([row[key] for row in mine]) for key in shown}})
    print_rows("test error, % (held-out images)" if args.tune else "test error, %", rows)
    if not args.quick:
        print(save_results("width_search_tuning" if args.tune else "width_search", rows, cells=raw))


if __name__ == "__main__":
    main(parse())
