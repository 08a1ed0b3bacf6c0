"""What computing all edges of a state at once gains over the explicit sum, and what a step of each method costs.

Both supernets of a space have the same operations; samples take turns, one thread. A sample of `speed-up` is one
forward and backward pass; one of `steps` is one step of the method, over a batch of each half (methods that see all of
D: one batch of twice the size). Memory is how far a fresh process's peak grows over that before the network is built.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from _harness import peak_mib, print_rows, save_results

METHODS: dict[str, dict[str, Any]] = {
    "darts1": {"type": "darts1"},
    "darts2": {"type": "darts2"},
    "milenas1": {"type": "milenas1"},
    "joint": {"type": "joint"},
    "rarts gauss-seidel": {"type": "rarts", "order": "gauss-seidel"},
    "rarts fused": {"type": "rarts", "order": "fused"},
}
SUPERNETS = {
    "nats, 4 channels": ("nats", 4, 1),
    "nats, 16 channels": ("nats", 16, 1),
    "darts, 4 channels": ("darts", 4, 3),
}
SIDE, BATCH = 16, 32


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="samples of each")
    parser.add_argument("--quick", action="store_true", help="two samples, results not written")
    parser.add_argument("--memory-of", nargs=2, metavar=("SUPERNET", "METHOD"), help=argparse.SUPPRESS)
    return parser.parse_args()


def space_of(supernet: str) -> Any:
    from compress.topology import DartsSupernetSpace, NatsSupernetSpace

    kind, channels, layers = SUPERNETS[supernet]
    return {"nats": NatsSupernetSpace, "darts": DartsSupernetSpace}[kind](channels, layers)


def explicit(space: Any) -> Any:
    """A supernet whose edges add up their operations one by one."""
    from torch import nn

    from compress.topology import OPERATIONS

    class Explicit(nn.Module):
        def __init__(self, own: Any) -> None:
            super().__init__()
            stride = 2 if own.reduces else 1

            def made(name: str) -> nn.Module:
                operation = OPERATIONS[name](own.through, stride, False)
                normed = name in own.pool_norms
                return nn.Sequential(operation, nn.BatchNorm2d(own.through, affine=False)) if normed else operation

            self.edges = nn.ModuleList(nn.ModuleList(made(name) for name in own.operations) for _ in range(own.edges))

        def forward(self, x: Any, weights_EO: Any) -> list[Any]:
            return [
                sum(weight * operation(x) for weight, operation in zip(row, edge, strict=True))
                for row, edge in zip(weights_EO, self.edges, strict=True)
            ]

    network = space.build()
    for name, module in list(network.named_modules()):
        if name.rpartition(".")[0].endswith("outgoing"):
            parent, _, last = name.rpartition(".")
            network.get_submodule(parent)[int(last)] = Explicit(module)
    return network


def passes(space: Any, network: Any) -> Callable[[], None]:
    """One forward and backward pass of `network`, for its weights and the logits."""
    import torch
    from torch.nn import functional as F

    network = network.to(memory_format=torch.channels_last).train()
    cells = space.cells
    logits = {c: torch.zeros(len(cells.edges), len(cells.operations), requires_grad=True) for c in cells.cells}
    network.logits = lambda: {cell: {"operations": alpha} for cell, alpha in logits.items()}
    images = torch.randn(BATCH, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 10
    tensors = [*network.parameters(), *logits.values()]
    return lambda: torch.autograd.grad(F.cross_entropy(network(images), labels), tensors) and None


def steps(space: Any, method: dict[str, Any]) -> Callable[[], None]:
    """One step of a search by `method`."""
    import torch

    from compress.engine.searchers import SearchModel
    from compress.topology import TopologySearch

    config = TopologySearch(1, method, optimizer={"type": "SGD", "lr": 0.025, "momentum": 0.9})
    model = SearchModel(space.build(), space, config, input_size=(3, SIDE, SIDE)).train()
    optimizers = model.optimizers()
    a, p = ((torch.randn(BATCH, 3, SIDE, SIDE), torch.arange(BATCH) % 10) for _ in "ap")
    batch: Any = {"a": a, "p": p}
    if not model.method.halves:
        batch = tuple(torch.cat(parts) for parts in zip(a, p, strict=True))
    return lambda: model.train_step(batch, optimizers) and None


def ratio(times: dict[str, list[float]], name: str, other: str) -> float:
    """Median of the ratios of neighbouring samples."""
    return statistics.median(a / b for a, b in zip(times[name], times[other], strict=True))


def memory_mib(supernet: str, method: str) -> float:
    command = [sys.executable, __file__, "--memory-of", supernet, method]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_memory(supernet: str, method: str) -> None:
    import torch

    torch.set_num_threads(1)
    space = space_of(supernet)
    before = peak_mib()
    step = steps(space, METHODS[method])
    for _ in range(3):
        step()
    print(round(peak_mib() - before, 1))


def main() -> None:
    args = parse()
    if args.memory_of:
        print_memory(*args.memory_of)
        return
    import torch

    from compress.measure import interleaved

    torch.set_num_threads(1)
    repeats = 2 if args.quick else args.repeats
    gains, costs = [], []
    for supernet in SUPERNETS:
        space = space_of(supernet)
        torch.manual_seed(0)
        times = interleaved(
            {"at once": passes(space, space.build()), "explicit": passes(space, explicit(space))},
            repeats=repeats,
            inner=1,
        )
        gains.append(
            {
                "supernet": supernet,
                "explicit, ms": statistics.median(times["explicit"]),
                "at once, ms": statistics.median(times["at once"]),
                "speed-up": ratio(times, "explicit", "at once"),
            }
        )
        times = interleaved({name: steps(space, method) for name, method in METHODS.items()}, repeats=repeats, inner=1)
        costs += [
            {
                "supernet": supernet,
                "method": name,
                "step, ms": statistics.median(times[name]),
                "of darts2's": ratio(times, name, "darts2"),
                "of darts1's": ratio(times, name, "darts1"),
                "peak memory, MiB": 0.0 if args.quick else memory_mib(supernet, name),
            }
            for name in METHODS
        ]
    print_rows("mixed operations: all edges of a state at once", gains)
    print_rows("steps of topology search", costs)
    if not args.quick:
        print(save_results("mixed_operations", gains, steps=costs))


if __name__ == "__main__":
    main()
