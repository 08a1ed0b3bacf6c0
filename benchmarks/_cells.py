"""Comparisons of methods on real data, cell by cell: a baseline, a search, a slice, a fine-tuning are files.

No cell is computed twice, so a stopped comparison goes on, and jobs may share the work (`--shard`): a cell that several
need, such as a baseline, is computed by the first to come, while the others wait for it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _harness import ROOT, alone

from compress.commands.parser import shard_argument


def add_arguments(parser: argparse.ArgumentParser, *, work_dir: str) -> None:
    """The arguments that every comparison has."""
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / work_dir, metavar="D")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", metavar="M", help="only these rows")
    what = parser.add_mutually_exclusive_group()
    shard_argument(what, "rows of all seeds")
    what.add_argument("--gather", action="store_true", help="compute nothing; write and print what is finished")
    parser.add_argument("--quick", action="store_true", help="a few images, an epoch each; results not written")


class Cells:
    """The cells of one seed: `options` are overrides of `recipe` that hold for all of them."""

    def __init__(
        self, folder: Path, recipe: Path, options: Sequence[str], *, seed: int, progress: Any, gather: bool
    ) -> None:
        self.folder, self.recipe, self.seed, self.progress, self.gather = folder, recipe, seed, progress, gather
        # The comparisons were made with exact widths, where their recipes and options have no others.
        self.options = ["select.round_to=1", *options, f"seed={seed}"]
        self.data: Any = None

    def context(self, *more: str) -> Any:
        """The recipe with the overrides `more`, before which others yield; the data are the same for a seed's cells."""
        from compress.pipeline.images import make_context
        from compress.pipeline.recipe import load_recipe

        latest = dict(option.split("=", 1) for option in (*self.options, *more))
        c = make_context(load_recipe(self.recipe, [f"{key}={value}" for key, value in latest.items()]), self.progress)
        if self.data is None:
            self.data = c.data
        c.data = self.data
        return c

    def cell(self, name: str, compute: Callable[[], dict[str, Any]] | None = None) -> dict[str, Any] | None:
        """The figures of the cell `name`, computed unless its file is there; None for an absent one when gathering."""
        from compress.plan import read_json, write_json

        file = self.folder / "cells" / f"{name}.json"
        if not file.exists():
            if self.gather or compute is None:
                return None
            with alone(file) as missing:
                if missing:
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
        """Search from the baseline in the space of `settings`; cell `NAME search`."""
        from compress.engine.searching import search
        from compress.engine.tasks import Classification
        from compress.plan import save_scores
        from compress.spaces import load_model, make_space, save_model

        def compute() -> dict[str, Any]:
            c = self.context(*settings)
            network, space, _ = load_model(self.folder / "baseline")
            space = make_space(space.name, c.full_space.arch)  # what is scored is the method's choice
            job = self.job("search", name)
            found = search(network, space, Classification(c.data), c.recipe.search, job, evaluate=lambda _: {})
            save_scores(self.folder / f"{name}.safetensors", found.scores)
            save_model(self.folder / f"{name} searched", found.network, c.card(space))
            return {**c.evaluate(found.network), "strength": found.info["strength"]}

        self.cell(f"{name} search", compute)

    def prune(
        self,
        name: str,
        budget: Any,
        settings: Sequence[str],
        *,
        searched: str,
        stages: Sequence[str] = ("finetuned", "distilled"),
    ) -> None:
        """Select and slice under `budget`; fine-tune alone (`finetuned`) and with the baseline as teacher."""

        def find(c: Any, space: Any, scores: Any, size: Any) -> Any:
            from compress.pruning import plan_for

            return plan_for(space, scores, budget, c.recipe.select, input_size=size)

        self.tune(f"{name} {label_of(budget)}", find, settings, searched=searched, stages=stages)

    def tune(
        self,
        row: str,
        find: Callable[[Any, Any, Any, Any], Any],
        settings: Sequence[str],
        *,
        searched: str,
        stages: Sequence[str],
    ) -> None:
        """Slice by the plan that `find(context, space, scores, input_size)` gives, and fine-tune; cells `ROW STAGE`."""
        from compress.engine.training import train
        from compress.plan import load_scores
        from compress.pruning import slice_model
        from compress.spaces import load_model

        def sliced(*more: str) -> tuple[Any, Any, Any]:
            c = self.context(*settings, *more)
            network, space, card = load_model(self.folder / f"{searched} searched")
            plan = find(c, space, load_scores(self.folder / f"{searched}.safetensors"), card.input_size)
            return c, plan, slice_model(network, space, plan)[0]

        def before() -> dict[str, Any]:
            c, plan, network = sliced()
            costs = {key: plan.record[key] for key in ("macs", "params")}
            return {
                **c.evaluate(network),
                **{f"{key}_ratio": cost["after"] / cost["before"] for key, cost in costs.items()},
                "pruned_ratio": plan.record["pruned_ratio"],
                "widths": plan.widths,
            }

        def after(distill: bool) -> dict[str, Any]:
            c, _, network = sliced(*([] if distill else ["finetune.distill=None"]))
            teacher = load_model(self.folder / "baseline")[0] if distill else None
            job = self.job("finetune", f"{row} {distill}")
            train(network, c.data.train, c.recipe.finetune, job, evaluate=lambda _: {}, teacher=teacher)
            return c.evaluate(network)

        self.cell(f"{row} sliced", before)
        for stage in stages:
            self.cell(f"{row} {stage}", lambda stage=stage: after(stage == "distilled"))

    def figures(self, name: str, budget: Any, stages: Sequence[str]) -> dict[str, Any]:
        """What is finished of the row `name` under `budget` (None: not known yet): top-1 by stage, and the slice's."""
        return self.figures_of(f"{name} {budget and label_of(budget)}", stages)

    def figures_of(self, row: str, stages: Sequence[str]) -> dict[str, Any]:
        """`figures` of the cells `ROW STAGE`."""
        found = {stage: self.cell(f"{row} {stage}") for stage in ("sliced", *stages)}
        sliced = found["sliced"] or {}
        keys = ("macs_ratio", "params_ratio", "pruned_ratio")
        return {
            **{stage: cell and cell["top1"] for stage, cell in found.items()},
            **{key: round(sliced[key], 4) for key in keys if key in sliced},
            "widths": list(sliced.get("widths", {}).values()) or None,
        }


def label_of(budget: Any) -> Any:
    """A budget in the name of a cell."""
    return budget.kind if budget.value is None else budget.value


def cells_of(
    args: argparse.Namespace,
    folder: Path,
    recipe: Path,
    options: Sequence[str],
    run: Callable[[Cells, str], None],
    names: Sequence[str],
    seeds: Sequence[int],
) -> list[Cells]:
    """The cells of every seed; unless gathering, with all of `run(cells, name)` computed, or a job's share of them."""
    import torch

    from compress.report.progress import TerminalProgress

    torch.set_num_threads(1)
    with TerminalProgress(quiet=True) as progress:
        made = {"progress": progress, "gather": args.gather}
        cells = [Cells(folder / f"seed{seed}", recipe, options, seed=seed, **made) for seed in seeds]
        rows = [(each, name) for each in cells for name in names]
        for each, name in () if args.gather else rows if args.shard is None else args.shard.mine(rows):
            each.baseline()
            run(each, name)
    return cells


def shown(rows: Sequence[dict[str, Any]], *, tuned: str) -> dict[str, str]:
    """One method's columns over seeds: errors after fine-tuning (the stage `tuned`) and slicing, and what is left."""
    return {
        "error, %": error([row[tuned] for row in rows]),
        "sliced, %": error([row["sliced"] for row in rows]),
        "MACs": spread([row.get("macs_ratio") for row in rows], 3),
        "parameters": spread([row.get("params_ratio") for row in rows], 3),
    }


def unpruned(cells: Sequence[Cells]) -> dict[str, str]:
    """The same columns for the baselines."""
    found = [each.cell("baseline") for each in cells]
    return {"error, %": error([b and b["top1"] for b in found]), "sliced, %": "", "MACs": "1", "parameters": "1"}


def spread(values: Sequence[float | None], digits: int = 2) -> str:
    """Mean and standard deviation over seeds, or how many are there when some are missing."""
    found = [value for value in values if value is not None]
    if len(found) < len(values):
        return f"{len(found)} of {len(values)}"
    mean = f"{statistics.mean(found):.{digits}f}"
    return mean + (f" +- {statistics.stdev(found):.{digits}f}" if len(found) > 1 else "")


def error(values: Sequence[float | None]) -> str:
    """`spread` of 100 - top-1."""
    return spread([None if value is None else 100 - value for value in values])
