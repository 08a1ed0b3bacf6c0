"""Comparisons of methods on real data, cell by cell: a baseline, a search, a slice, a fine-tuning are files.

No cell is computed twice, so a stopped comparison goes on, and processes may share the work by seeds or methods.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _harness import ROOT


def add_arguments(parser: argparse.ArgumentParser, *, work_dir: str) -> None:
    """The arguments that every comparison has."""
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / work_dir, metavar="D")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", metavar="M", help="only these rows")
    parser.add_argument("--gather", action="store_true", help="compute nothing; write and print what is finished")
    parser.add_argument("--quick", action="store_true", help="a few images, an epoch each; results not written")


class Cells:
    """The cells of one seed: `options` are overrides of `recipe` that hold for all of them."""

    def __init__(
        self, folder: Path, recipe: Path, options: Sequence[str], *, seed: int, progress: Any, gather: bool
    ) -> None:
        self.folder, self.recipe, self.seed, self.progress, self.gather = folder, recipe, seed, progress, gather
        self.options = [*options, f"seed={seed}"]
        self.data: Any = None

    def context(self, *more: str) -> Any:
        """The recipe with the overrides `more`, and the data, which are the same for all of a seed's cells."""
        from compress.pipeline.context import Context
        from compress.pipeline.recipe import load_recipe

        c = Context(load_recipe(self.recipe, [*self.options, *more]), self.progress)
        if self.data is None:
            self.data = c.data
        c.__dict__["data"] = self.data
        return c

    def cell(self, name: str, compute: Callable[[], dict[str, Any]] | None = None) -> dict[str, Any] | None:
        """The figures of the cell `name`, computed unless its file is there; None for an absent one when gathering."""
        from compress.plan import read_json, write_json

        file = self.folder / "cells" / f"{name}.json"
        if not file.exists():
            if self.gather or compute is None:
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
        """Search from the baseline in the space of `settings`; cell `NAME search`."""
        from compress.engine.searching import search
        from compress.plan import save_scores
        from compress.spaces import load_model, make_space, save_model

        def compute() -> dict[str, Any]:
            c = self.context(*settings)
            network, space, _ = load_model(self.folder / "baseline")
            space = make_space(space.name, c.full_space.arch)  # what is scored is the method's choice
            job = self.job("search", name)
            found = search(network, space, c.data, c.recipe.search, job, evaluate=lambda _: {})
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
        from compress.engine.training import train
        from compress.plan import load_scores
        from compress.pruning import plan_for, slice_model
        from compress.spaces import load_model

        def sliced(*more: str) -> tuple[Any, Any, Any]:
            c = self.context(*settings, *more)
            network, space, card = load_model(self.folder / f"{searched} searched")
            scores = load_scores(self.folder / f"{searched}.safetensors")
            plan = plan_for(space, scores, budget, c.recipe.select, input_size=card.input_size)
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
            job = self.job("finetune", f"{name} {label} {distill}")
            train(network, c.data.train, c.recipe.finetune, job, evaluate=lambda _: {}, teacher=teacher)
            return c.evaluate(network)

        label = budget.kind if budget.value is None else budget.value
        self.cell(f"{name} {label} sliced", before)
        for stage in stages:
            self.cell(f"{name} {label} {stage}", lambda stage=stage: after(stage == "distilled"))

    def figures(self, name: str, label: Any, stages: Sequence[str]) -> dict[str, Any]:
        """What is finished of the row `name` under the budget `label`: top-1 by stage, and the slice's figures."""
        found = {stage: self.cell(f"{name} {label} {stage}") for stage in ("sliced", *stages)}
        sliced = found["sliced"] or {}
        out = {f"{label} {stage}": cell and cell["top1"] for stage, cell in found.items()}
        keys = ("macs_ratio", "params_ratio", "pruned_ratio")
        out |= {f"{label} {key}": round(sliced[key], 4) for key in keys if key in sliced}
        return {**out, f"{label} widths": list(sliced.get("widths", {}).values()) or None}


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
