"""What the latency penalty adds to a search step: its gradient's time as a share of a fused RARTS iteration.

A step and the penalty take turns, one sample each, one thread. The table is made up: its values do not matter for the
time, its size is that of a table on multiples of 8.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from _harness import print_rows, save_results

NETWORKS = {"preresnet20 32x32": (32, 64), "preresnet164 32x32": (32, 64), "mobilenetv2 64x64": (64, 32)}
"""Network -> (side in pixels, batch)."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="samples per network")
    parser.add_argument("--quick", action="store_true", help="PreResNet-20 only, two samples, results not written")
    return parser.parse_args()


def space_of(network: str) -> Any:
    from compress.spaces import MobileNetV2Space, PreResNetSpace

    return (
        MobileNetV2Space(10) if network.startswith("mobilenetv2") else PreResNetSpace(int(network[9:].split()[0]), 10)
    )


def made_up_penalty(space: Any, input_size: tuple[int, int, int]) -> Any:
    """A latency penalty whose operators cost their MACs at widths that are multiples of 8."""
    import numpy as np

    from compress.costs import LatencyTable, SoftLatency
    from compress.costs.latency import UNTIMED, OperatorCosts
    from compress.measure.designs import allowed_widths
    from compress.measure.fitting import side_grid
    from compress.penalties import LatencyPenalty
    from compress.spaces import named_sides, plain_sides

    widths = allowed_widths(space.groups, 8)
    operators = [op for op in space.operators(input_size) if op.kind not in UNTIMED]
    costs = {}
    for op in operators:
        rows, columns = (side_grid(side, widths).astype(float) for side in plain_sides(op))
        costs[op.name] = OperatorCosts(*named_sides(op), 1e-9 * (op.macs + 1) * np.outer(rows, columns))
    table = LatencyTable({}, 1.0, widths, costs, 0.0)
    return LatencyPenalty(0.1, SoftLatency(table, operators), [group.name for group in space.groups])


def callables(network: str) -> dict[str, Callable[[], object]]:
    """The penalty alone, and a whole step with it."""
    import torch

    from compress.engine.searchers import SearchModel
    from compress.engine.settings import SearchConfig

    side, batch = NETWORKS[network]
    torch.manual_seed(0)
    space = space_of(network)
    input_size = (3, side, side)
    penalty = made_up_penalty(space, input_size)
    sgd = {"type": "SGD", "lr": 0.01, "momentum": 0.9}
    config = SearchConfig(epochs=1, method={"type": "rarts", "order": "fused"}, optimizer=sgd, alpha_optimizer=sgd)
    search = SearchModel(space.build(), space, config, input_size=input_size, penalty=penalty).train()
    optimizers = search.optimizers()
    halves = {half: (torch.randn(batch, 3, side, side), torch.arange(batch) % 10) for half in "pa"}
    alphas = search.source.alpha()
    gradients = [torch.zeros_like(alpha) for alpha in alphas]
    return {
        "penalty": lambda: penalty.add_gradient(alphas, gradients),
        "step": lambda: search.train_step(halves, optimizers),
    }


def main(args: argparse.Namespace) -> None:
    import statistics

    from compress.measure import interleaved, torch_threads

    rows = []
    for network in list(NETWORKS)[:1] if args.quick else NETWORKS:
        with torch_threads(1):
            # One call each: many in a row would find the penalty's data in the cache, where a step never leaves them.
            samples = interleaved(callables(network), repeats=2 if args.quick else args.repeats, inner=1)
        shares = [p / s for p, s in zip(samples["penalty"], samples["step"], strict=True)]
        rows.append(
            {
                "network": network,
                "groups": len(space_of(network).groups),
                "step_ms": round(statistics.median(samples["step"]), 2),
                "penalty_ms": round(statistics.median(samples["penalty"]), 3),
                "share_percent": round(100 * statistics.median(shares), 2),
                "n": len(shares),
            }
        )
    print_rows("The latency penalty in a fused RARTS iteration, one thread", rows)
    if not args.quick:
        print(save_results("penalty_cost", rows))


if __name__ == "__main__":
    main(parse())
