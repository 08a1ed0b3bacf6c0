"""Selection under a budget of MACs or parameters: the widths above one threshold, and what `select` takes.

Random scores, or `tied` ones: one value for all channels of a group. Both rivals get the same scores and budgets, one
after the other, in one thread. With `round_to=1` they are the same. A second table has MACs and parameters limited at
once, which no threshold does: seconds alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import pairwise
from typing import Any

from _harness import print_rows, save_results

STEPS = {"preresnet20": 0.005, "preresnet164": 0.1, "mobilenetv2": 0.1, "swin_tiny": 0.1, "swin_base": 0.1}
"""Network -> the step from budget to budget, 0.2 to 0.9."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="PreResNet-20 only, steps of 0.1, results not written")
    return parser.parse_args()


def space_of(network: str) -> tuple[Any, tuple[int, int, int]]:
    from compress.spaces import MobileNetV2Space, PreResNetSpace, SwinSpace

    if network.startswith("preresnet"):
        return PreResNetSpace(int(network[9:]), 10), (3, 32, 32)
    if network == "mobilenetv2":
        return MobileNetV2Space(1000), (3, 224, 224)
    return SwinSpace(1000, f"{network}_patch4_window7_224", input_size=224), (3, 224, 224)


def scores_of(space: Any, spread: str) -> dict[str, Any]:
    import torch

    from compress.spaces import sizes

    generator = torch.Generator().manual_seed(0)
    found = {name: torch.randn(n, generator=generator) for name, n in sizes(space.groups).items()}
    return {name: s[:1].expand(len(s)) for name, s in found.items()} if spread == "tied" else found


def rivals(
    scores: dict[str, Any], operators: list[Any], budget: Any, config: Any
) -> dict[str, tuple[dict[str, int], float]]:
    """Widths of both, and processor seconds; empty where the budget is out of reach."""
    from compress.plan import UserError
    from compress.pruning import select
    from compress.pruning.counted import Counted, reachable_limit
    from compress.pruning.ranking import Ranking
    from compress.pruning.threshold import above_threshold

    start = time.process_time()
    ranking = Ranking(scores, config, {})
    counted = Counted.of(budget.limits.cost, ranking, operators)
    try:
        limit = reachable_limit(budget, ranking, counted)
    except UserError:
        return {}
    above = above_threshold(ranking, counted.total, limit)
    middle = time.process_time()
    widths = select(scores, operators, budget, config, space="").widths
    return {"threshold": (above, middle - start), "select": (widths, time.process_time() - middle)}


def row(network: str, kind: str, round_to: int, spread: str, step: float) -> dict[str, Any]:
    """Both rivals over all budgets in reach."""
    from compress.costs import macs, params
    from compress.pruning import Budget, SelectConfig
    from compress.spaces import sizes

    space, size = space_of(network)
    operators, scores = space.operators(size), scores_of(space, spread)
    full, cost = sizes(space.groups), macs if kind == "macs_ratio" else params
    sums = {
        name: [0.0, *s.double().abs().sort(descending=True).values.cumsum(0).tolist()] for name, s in scores.items()
    }
    whole = sum(found[-1] for found in sums.values())
    kept: dict[str, list[float]] = {"threshold": [], "select": []}
    unused: dict[str, list[float]] = {"threshold": [], "select": []}
    seconds: dict[str, list[float]] = {"threshold": [], "select": []}
    for i in range(round(0.7 / step) + 1):
        value = round(0.2 + i * step, 4)
        found = rivals(scores, operators, Budget(kind, value), SelectConfig(round_to=round_to))
        for name, (widths, took) in found.items():
            kept[name].append(sum(sums[group][width] for group, width in widths.items()) / whole)
            unused[name].append(value - cost(operators, widths) / cost(operators, full))
            seconds[name].append(took)
    most = max((new - old for old, new in zip(kept["threshold"], kept["select"], strict=True)), default=0.0)
    lost = {name: sum(b < a - 1e-9 for a, b in pairwise(found)) for name, found in kept.items()}
    return {
        "network": network,
        "cost": kind.removesuffix("_ratio"),
        "round_to": round_to,
        "scores": spread,
        "budgets": len(kept["select"]),
        **{f"kept, {name}": statistics.mean(found) for name, found in kept.items()},
        "most gained": most,
        **{f"steps down, {name}": found for name, found in lost.items()},
        **{f"most unused, {name}": max(found) for name, found in unused.items()},
        **{f"seconds, {name}": statistics.median(found) for name, found in seconds.items()},
        "longest": max(seconds["select"]),
    }


def together(network: str, round_to: int, spread: str) -> dict[str, Any]:
    """MACs and parameters limited at once, to three shares: processor seconds of every selection in reach."""
    from compress.plan import UserError
    from compress.pruning import Budget, SelectConfig, select

    space, size = space_of(network)
    operators, scores = space.operators(size), scores_of(space, spread)
    seconds = []
    for share in (0.7, 0.5, 0.3):
        budget = Budget("macs_ratio", share, also=(Budget("params_ratio", share),))
        start = time.process_time()
        try:
            select(scores, operators, budget, SelectConfig(round_to=round_to), space="")
        except UserError:
            continue
        seconds.append(time.process_time() - start)
    longest = max(seconds, default=None)
    return {"network": network, "round_to": round_to, "scores": spread, "budgets": len(seconds), "longest": longest}


def main(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    networks = list(STEPS)[:1] if args.quick else list(STEPS)
    rows = [
        row(network, kind, round_to, spread, 0.1 if args.quick or spread == "tied" else STEPS[network])
        for network in networks
        for kind in ("macs_ratio", "params_ratio")
        for round_to in (1, 8, 16)
        for spread in ("random", "tied")
        if (round_to, spread) != (1, "tied")
    ]
    print_rows("selection under one budget", rows)
    both = [
        together(network, round_to, spread)
        for network in networks
        for round_to in (1, 8)
        for spread in ("random", "tied")
    ]
    print_rows("selection under two budgets", both)
    if not args.quick:
        print(save_results("selection", rows, together=both))


if __name__ == "__main__":
    main(parse())
