"""What is left of a network at a latency that was asked for, and does the latency come true?

Rows: networks at latency ratios. `knapsack` is a latency budget, and with `, blocks` one under which residual blocks
may go whole (select.floor = 0). The others are brought to the same measured latency
by bisecting what they limit: `macs` drops the worst channels of all under a MACs budget, as most tools do, at any width
or at multiples of 8 or 16; `greedy` goes down the table's widths step by step where the least score is lost per time
saved, as HALP does. Scores are random: which channels are good does not matter here. `most MACs` is a latency budget
whose scores are the channels' MACs, which asks how much of their promise plans of this table can realise at most (to
first order where both sides of a layer are pruned, as in PreResNet). Where a budget realises less than it should, the
engine's profiler tells which kinds of layers do not shrink.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _harness import ROOT, print_rows, save_results
from _kinds import by_kind, nodes
from latency_prediction import networks, quick_networks

RATIOS = (0.75, 0.5, 0.35)
STEPS = 6
"""Bisections of a rival's limit."""
MULTIPLES = (1, 8, 16)
BLOCKS = ", blocks"
"""Behind the name of a method that may remove residual blocks."""
BY_TABLE = tuple(f"{name}{blocks}" for name in ("knapsack", "most MACs") for blocks in ("", BLOCKS))
METHODS = (*BY_TABLE, *(f"macs, round_to {multiple}" for multiple in MULTIPLES), "greedy")
TARGETS = {"miss": 0.05, "realised": 0.9}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=list(networks()), metavar="N", help="only these")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="M", help="only these")
    parser.add_argument("--backend", default="onnxruntime", help="its name in recipes")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "realised_speedup", metavar="D")
    parser.add_argument("--quick", action="store_true", help="small networks, few samples, results not written")
    return parser.parse_args()


def scores_of(space: Any) -> dict[str, Any]:
    """Random scores, whose scale differs from group to group as that of learned ones does."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return {
        group.name: torch.randn(group.size, generator=generator).abs()
        * math.exp(0.5 * float(torch.randn((), generator=generator)))
        for group in space.groups
    }


def macs_of_channels(operators: Any, groups: Any) -> dict[str, Any]:
    """The share of all MACs that goes with a channel while all others are there: what a plan of most MACs sums up."""
    import torch

    from compress.costs import macs
    from compress.spaces import sizes

    full = sizes(groups)
    whole = macs(operators, full)
    saved = {name: whole - macs(operators, {**full, name: n - 1}) for name, n in full.items()}
    return {name: torch.full((n,), saved[name] / whole) for name, n in full.items()}


def greedy(table: Any, operators: Any, scores: dict[str, Any], limit: float) -> dict[str, int]:
    """Widths at which `table` predicts at most `limit`: every step down is the one that loses least score per gain."""
    from compress.costs.latency import UNTIMED

    held = {name: [0.0, *score.sort(descending=True).values.cumsum(0).tolist()] for name, score in scores.items()}
    grids = {name: [w for w in table.widths[name] if w > 0] for name in scores}
    touching: dict[str, list[Any]] = {name: [] for name in scores}
    for op in operators:
        for name in op.groups if op.kind not in UNTIMED else ():
            touching[name].append(op)
    widths = {name: grid[-1] for name, grid in grids.items()}

    def cost(name: str, width: int) -> float:
        """What the operators around a group cost at `width`."""
        sides = {**widths, name: width}
        return sum(table.price_at(op, sides) for op in touching[name])

    now = table.predict(operators, widths).ratio
    while now > limit:
        steps = []
        for name, grid in grids.items():
            position = grid.index(widths[name])
            if position > 0:
                gain = cost(name, grid[position]) - cost(name, grid[position - 1])
                lost = held[name][grid[position]] - held[name][grid[position - 1]]
                steps.append((lost / gain if gain > 0 else math.inf, lost, name, grid[position - 1], gain))
        if not steps:
            break
        _, _, name, width, gain = min(steps)
        widths[name] = width
        now -= gain
    return widths


def named(stem: str, backend: str) -> str:
    """`stem`, of files of measurements in `backend`."""
    return stem if backend == "onnxruntime" else f"{stem}_{backend}"


def compare(
    name: str,
    setting: tuple[str, dict[str, Any], int],
    folder: Path,
    config: Any,
    methods: Sequence[str],
    ratios: Sequence[float] = RATIOS,
) -> list[dict[str, Any]]:
    """The rows of one network; finished ones are read from their file, and those of other methods kept."""
    from compress.costs import LatencyTable, macs
    from compress.measure import PlanTimer, build_table, table_key
    from compress.measure.profiling import Profiler
    from compress.pipeline.latency_budget import corrected
    from compress.plan import UserError, read_json, write_json
    from compress.plan.table_file import PROFILES
    from compress.pruning import Budget, Priced, SelectConfig, plan_for
    from compress.spaces import blocks_of, make_space, members_of, sizes

    kind, arch, side = setting
    space, size = make_space(kind, arch), (3, side, side)
    stem = named(name, config.backend)
    file, cells = folder / f"{stem}_table.json", folder / f"{stem}.json"
    if not file.exists():
        build_table(space, file, input_size=size, config=config, resume=True)
    table = LatencyTable.load(file)
    table.check_key(table_key(space, size, config))
    operators, scores = space.operators(size), scores_of(space)
    by_macs = macs_of_channels(operators, space.groups)
    blocks = members_of(blocks_of(space.groups))
    everything = float(sum(score.sum() for score in scores.values()))
    rows: list[dict[str, Any]] = read_json(cells) if cells.exists() else []
    done = {(row["ratio"], row["method"]) for row in rows}

    with PlanTimer.open(space, size, backend=config.backend) as timer:

        def row(widths: dict[str, int], ratio: float, method: str, measured: float, **more: Any) -> None:
            kept = sum(float(score.sort(descending=True).values[: widths[g]].sum()) for g, score in scores.items())
            share = macs(operators, widths) / macs(operators, sizes(space.groups))
            rows.append(
                {
                    "network": name,
                    "ratio": ratio,
                    "method": method,
                    "measured": round(measured, 4),
                    "miss": round(measured / ratio - 1, 4),
                    "macs_ratio": round(share, 4),
                    "kept_score": round(kept / everything, 4),
                    "realised": round(share / measured, 3),
                    "blocks_removed": sum(not widths[names[0]] for names in blocks),
                    **more,
                }
            )
            write_json(cells, rows)
            print(rows[-1], flush=True)
            if method.startswith("knapsack") and share / measured < TARGETS["realised"] and config.way == PROFILES:
                rows[-1] |= profiled(widths)
                write_json(cells, rows)

        def plan(budget: Budget, round_to: int) -> Any:
            return plan_for(space, scores, budget, SelectConfig(round_to=round_to), input_size=size)

        def knapsack(ratio: float, method: str) -> None:
            """As a run does it: at most three corrections."""

            def with_table(priced: Priced) -> Any:
                budget, select = Budget("latency_ratio", ratio), SelectConfig(floor=0 if method.endswith(BLOCKS) else 1)
                values = scores if method.startswith("knapsack") else by_macs
                return plan_for(space, values, budget, select, input_size=size, priced=priced)

            started = time.perf_counter()
            first = with_table(Priced(table))
            seconds = round(time.perf_counter() - started, 2)
            found = corrected(first, with_table, Priced(table), timer.ratio, print)
            path = found.record["latency"]["path"]
            row(found.widths, ratio, method, timer.ratio(found.widths), path=path, select_seconds=seconds)

        def profiled(widths: dict[str, int]) -> dict[str, Any]:
            """Where the time goes at `widths`."""
            names = [op.name for op in operators]
            profiler = Profiler(timer.backend, timer.networks, names, threads=timer.threads, rounds=config.rounds)
            try:
                profile = profiler.profile(widths)
            except UserError as error:  # more operators in one layer than tables know
                return {"not_profiled": str(error)}
            return {"nodes": nodes(profile), "kinds": by_kind(profile, operators)}

        def bisect(ratio: float, method: str, at: Callable[[float], dict[str, int]]) -> None:
            """The limit, between 0 and 1, at which the measured latency comes closest to `ratio`."""
            low, high, best = 0.02, 1.0, None
            for _ in range(STEPS):
                limit = (low + high) / 2
                try:
                    widths = at(limit)
                except UserError:  # no widths cost so little
                    low = limit
                    continue
                measured = timer.ratio(widths, repeats=24)
                if best is None or abs(measured - ratio) < abs(best[1] - ratio):
                    best = (widths, measured, limit)
                low, high = (limit, high) if measured < ratio else (low, limit)
            if best is not None:
                row(best[0], ratio, method, timer.ratio(best[0]), limit=round(best[2], 4))

        for ratio in ratios:
            wanted = [method for method in methods if (ratio, method) not in done]
            refused = set()
            for method in (method for method in BY_TABLE if method in wanted):
                try:
                    knapsack(ratio, method)
                except UserError as error:
                    print(f"{name} at {ratio}, {method}: {error}", flush=True)
                    refused.add(method)
            if not refused.isdisjoint(("knapsack", "most MACs")):  # no widths are as fast as that
                continue
            for round_to in MULTIPLES:
                if (method := f"macs, round_to {round_to}") in wanted:
                    bisect(ratio, method, lambda limit, r=round_to: plan(Budget("macs_ratio", limit), r).widths)
            if "greedy" in wanted:
                bisect(ratio, "greedy", lambda limit: greedy(table, operators, scores, limit))
    return rows


def main(args: argparse.Namespace) -> None:
    import tempfile

    import torch

    from compress.measure import TableConfig

    torch.set_num_threads(1)
    settings = quick_networks() if args.quick else networks()
    config = TableConfig(backend=args.backend, **({"designs": 8, "rounds": 8} if args.quick else {}))
    with tempfile.TemporaryDirectory() as nowhere:
        folder = Path(nowhere) if args.quick else args.work_dir
        folder.mkdir(parents=True, exist_ok=True)
        names = args.networks if args.networks and not args.quick else list(settings)
        rows = [row for name in names for row in compare(name, settings[name], folder, config, args.methods)]
    keys = ("network", "ratio", "method", "measured", "miss", "macs_ratio", "kept_score", "realised")
    shown = [{**{k: r[k] for k in keys}, "blocks": r.get("blocks_removed", 0)} for r in rows]
    print_rows(f"At a measured latency: what is kept ({args.backend}, one thread)", shown)
    for r in rows:
        if "kinds" in r:
            print_rows(f"{r['network']} at {r['ratio']:g}, {r['method']}: shares of all time and MACs", r["kinds"])
    print(f"targets for knapsack: |miss| {TARGETS['miss']:g}, realised {TARGETS['realised']:g}")
    if not args.quick:
        print(save_results(named("realised_speedup", args.backend), rows, targets=TARGETS))


if __name__ == "__main__":
    main(parse())
