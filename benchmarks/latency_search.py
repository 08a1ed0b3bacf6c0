"""Searching for latency: RARTS with the latency penalty, or with l1, at the same measured latency after pruning.

Rows: `penalty` searches with the latency penalty, which pulls as hard as l1 on average over all scores at the search's
start, `weak penalty` with a fifth of that, and both select under a latency budget; `l1` searches with l1 and selects
under the same budget; `l1, macs` selects under the MACs budget whose network has that latency, as tools without latency
tables do. Networks and their settings are those of sidt.py and width_search.py, whose baselines and l1 searches are
used where they are in the work dir. Nothing is tuned. Tables and plans want a quiet machine, so steps can be run one by
one: tables, search, plan, tune.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sidt
import width_search
from _cells import Cells, add_arguments, cells_of, shown, spread, unpruned
from _harness import print_rows, save_results

from compress.commands.parser import Parser

BISECTIONS = 7
STEPS = ("tables", "search", "plan", "tune")
PENALTIES = {"penalty": 1.0, "weak penalty": 0.2}
"""Row -> the latency penalty's mean pull over l1's, on scores of 1."""
ROWS = (*PENALTIES, "l1", "l1, macs")


@dataclass(frozen=True)
class Network:
    """One comparison at the latency `ratio`; the l1 search is `benchmark`'s row `searched`, made with `settings`."""

    benchmark: Any
    folder: str
    searched: str
    settings: list[str]
    gamma: float
    ratio: float
    size: tuple[int, int, int]


TRIAL = "gamma x 2 alpha rate x 10"
NETWORKS = {
    "swin": Network(sidt, "sidt", "rarts", sidt.METHODS["rarts"], 0.0104, 0.5, (3, 64, 64)),
    "preresnet20": Network(
        width_search, "width_search/test", TRIAL, width_search.SETTINGS[TRIAL], width_search.HALF / 5, 0.75, (3, 32, 32)
    ),  # in multiples of 8 it takes 0.62 of its time at least
}


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--swin-data", required=True, metavar="FOLDER", help="as sidt.py's --data")
    parser.add_argument("--preresnet20-data", required=True, metavar="NPZ", help="as width_search.py's --data")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    add_arguments(parser, work_dir="")
    return parser.parse_args()


class Comparison:
    """What all seeds of one network share: its table and the penalty's settings."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        self.network, self.args, self.data = NETWORKS[name], args, getattr(args, f"{name}_data")
        self.folder = args.work_dir / self.network.folder
        self.table_file = args.work_dir / f"latency_search_{name}.json"

    def options(self) -> list[str]:
        """Overrides of the recipe that all cells have."""
        quick = self.network.benchmark.QUICK if self.args.quick else []
        return [*self.network.benchmark.COMMON, f"data.root={self.data}", *quick]

    def table(self, cells: Cells) -> Any:
        """The latency table, built unless its file is there."""
        from compress.costs import LatencyTable
        from compress.measure import TableConfig, build_table

        if not self.table_file.exists():
            config = TableConfig(designs=8, rounds=8) if self.args.quick else TableConfig()
            space = cells.context(*self.network.settings).full_space
            build_table(space, self.table_file, input_size=self.network.size, config=config, resume=True)
        return LatencyTable.load(self.table_file)

    def penalty(self, cells: Cells, pull: float) -> list[str]:
        """Settings of the search with the latency penalty, whose mean pull on scores of 1 is `pull` times l1's."""
        import torch

        from compress.costs import SoftLatency
        from compress.penalties import LatencyPenalty

        space = cells.context(*self.network.settings).full_space
        latency = SoftLatency(self.table(cells), space.operators(self.network.size))
        ones = [torch.ones(group.size) for group in space.groups]
        pulls = [torch.zeros_like(each) for each in ones]
        LatencyPenalty(1.0, latency, [group.name for group in space.groups]).add_gradient(ones, pulls)
        gamma = pull * self.network.gamma / float(torch.cat(pulls).mean())
        more = ["search.penalty=latency", f"search.latency_table={self.table_file}", f"search.gamma={gamma:.4g}"]
        return [*self.network.settings, *more]

    def run(self, cells: Cells, row: str) -> None:
        """The cells of one row, as far as the steps ask for them."""
        settings, searched = self.network.settings, self.network.searched
        if row in PENALTIES:
            settings, searched = self.penalty(cells, PENALTIES[row]), f"latency {row}"
        label = f"latency {row} {self.network.ratio}"
        if "search" in self.args.steps:
            cells.search(searched, settings)
        if "plan" in self.args.steps:
            cells.cell(f"{label} plan", lambda: self.plan(cells, row, searched, settings))
        if "tune" in self.args.steps:
            found = cells.cell(f"{label} plan") or {}
            find = self.finder(cells, row, found)
            cells.tune(label, find, self.network.settings, searched=searched, stages=("distilled",))

    def finder(self, cells: Cells, row: str, found: Mapping[str, Any]) -> Any:
        """From a search to the plan that the cell `found` describes."""
        from compress.pruning import Budget, Priced, plan_for

        def find(c: Any, space: Any, scores: Any, size: Any) -> Any:
            if row == "l1, macs":
                return plan_for(space, scores, Budget("macs_ratio", found["limit"]), c.recipe.select, input_size=size)
            priced = Priced(self.table(cells), found["correction"])
            budget = Budget("latency_ratio", self.network.ratio)
            return plan_for(space, scores, budget, c.recipe.select, input_size=size, priced=priced)

        return find

    def plan(self, cells: Cells, row: str, searched: str, settings: list[str]) -> dict[str, Any]:
        """What brings the row's network to the measured latency ratio: the table's correction, or a MACs limit."""
        from compress.measure import PlanTimer
        from compress.pipeline.latency_budget import corrected
        from compress.plan import load_scores
        from compress.pruning import Priced
        from compress.spaces import load_model

        c = cells.context(*settings)
        _, space, card = load_model(cells.folder / f"{searched} searched")
        scores = load_scores(cells.folder / f"{searched}.safetensors")

        def at(**found: float) -> Any:
            return self.finder(cells, row, found)(c, space, scores, card.input_size)

        with PlanTimer.open(space, card.input_size) as timer:
            if row != "l1, macs":
                priced = Priced(self.table(cells))
                plan = corrected(at(correction=1.0), lambda p: at(correction=p.correction), priced, timer.ratio, print)
                found = {key: plan.record["latency"][key] for key in ("correction", "path")}
                return {**found, "measured": timer.ratio(plan.widths)}
            low, high, best = 0.05, 1.0, (float("inf"), 1.0)
            for _ in range(BISECTIONS):
                limit = (low + high) / 2
                measured = timer.ratio(at(limit=limit).widths, repeats=24)
                best = min(best, (abs(measured - self.network.ratio), limit))
                low, high = (limit, high) if measured < self.network.ratio else (low, limit)
            return {"limit": best[1], "measured": timer.ratio(at(limit=best[1]).widths)}


def main(args: argparse.Namespace) -> None:
    rows, raw = [], []
    for name in args.networks:
        comparison = Comparison(name, args)
        benchmark = comparison.network.benchmark
        cells = cells_of(
            args,
            comparison.folder,
            benchmark.RECIPE,
            comparison.options(),
            comparison.run,
            args.methods or ROWS,
            args.seeds,
        )
        if args.shard is not None:
            continue  # --gather tells what all jobs have found
        rows.append({"network": name, "row": "unpruned", "latency": "1", **unpruned(cells)})
        for row in args.methods or ROWS:
            label = f"latency {row} {comparison.network.ratio}"
            mine = [{**each.figures_of(label, ("distilled",)), "plan": each.cell(f"{label} plan")} for each in cells]
            raw += [{"network": name, "row": row, "seed": each.seed, **m} for each, m in zip(cells, mine, strict=True)]
            latency = spread([m["plan"] and m["plan"]["measured"] for m in mine], 3)
            rows.append({"network": name, "row": row, "latency": latency, **shown(mine, tuned="distilled")})
    if args.shard is not None:
        return
    print_rows("At equal measured latency (ONNX Runtime, one thread)", rows)
    if not args.quick and args.networks == list(NETWORKS):
        print(save_results("latency_search", rows, cells=raw))


if __name__ == "__main__":
    main(parse())
