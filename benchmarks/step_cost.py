"""What a search iteration costs: time over the same images, and peak memory, beside plain SGD without gates.

All methods take turns in one loop, one thread. A sample covers two batches of D: two steps of a method that sees all of
D, one step of a method that takes a batch from each half. Memory is how far a fresh process's peak grows over that
before the network is built (Linux).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from _harness import ROOT, peak_mib, print_rows, save_results

METHODS: dict[str, dict[str, Any] | None] = {
    "plain sgd": None,
    "joint": {"type": "joint"},
    "netslim": {"type": "netslim"},
    "darts1": {"type": "darts1"},
    "darts2": {"type": "darts2"},
    "milenas1": {"type": "milenas1"},
    "rarts gauss-seidel": {"type": "rarts", "order": "gauss-seidel"},
    "rarts fused": {"type": "rarts", "order": "fused"},
}
NETWORKS = {"preresnet20 32x32": (32, 64), "mobilenetv2 x0.5 64x64": (64, 32)}
"""Network -> (side in pixels, batch)."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="samples per method")
    parser.add_argument("--quick", action="store_true", help="two samples, results not written")
    parser.add_argument("--memory-of", nargs=2, metavar=("NETWORK", "METHOD"), help=argparse.SUPPRESS)
    return parser.parse_args()


def space_of(network: str) -> Any:
    from compress.spaces import MobileNetV2Space, PreResNetSpace

    return PreResNetSpace(20, 10) if network.startswith("preresnet") else MobileNetV2Space(10, multiplier=0.5)


def sampler(network: str, method: str) -> Callable[[], None]:
    """A function that takes one sample: `method` over two batches."""
    import torch
    from torch.nn import functional as F

    from compress.engine.memory import keep_freed_memory
    from compress.engine.searchers import SearchModel
    from compress.engine.settings import SearchConfig

    keep_freed_memory()  # as trainings do
    size, batch = NETWORKS[network]
    torch.manual_seed(0)
    batches = [(torch.randn(batch, 3, size, size), torch.arange(batch) % 10) for _ in range(2)]
    space = space_of(network)
    model = space.build()
    if METHODS[method] is None:
        model = model.to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

        def plain() -> None:
            for images, labels in batches:
                optimizer.zero_grad()
                F.cross_entropy(model(images.contiguous(memory_format=torch.channels_last)), labels).backward()
                optimizer.step()

        return plain
    sgd = {"type": "SGD", "lr": 0.01, "momentum": 0.9}
    config = SearchConfig(epochs=1, method=METHODS[method], optimizer=sgd, alpha_optimizer=sgd)
    search = SearchModel(model, space, config, input_size=(3, size, size)).train()
    optimizers = search.optimizers()
    if not search.method.halves:

        def whole() -> None:
            for data in batches:
                search.train_step(data, optimizers)

        return whole
    return lambda: search.train_step({"p": batches[0], "a": batches[1]}, optimizers) and None


def print_memory(network: str, method: str) -> None:
    import torch
    from mmengine.optim import OPTIMIZERS  # so that its import does not count

    assert OPTIMIZERS.get("SGD") is not None
    torch.set_num_threads(1)
    before = peak_mib()
    sample = sampler(network, method)
    for _ in range(3):
        sample()
    print(peak_mib() - before)


def memory_mib(network: str, method: str) -> float:
    command = [sys.executable, __file__, "--memory-of", network, method]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def main(args: argparse.Namespace) -> None:
    if args.memory_of:
        return print_memory(*args.memory_of)
    import statistics

    from compress.measure import interleaved, torch_threads

    rows = []
    for network, (_, batch) in NETWORKS.items():
        with torch_threads(1):
            samples = interleaved(
                {method: sampler(network, method) for method in METHODS},
                repeats=2 if args.quick else args.repeats,
                inner=1,
            )
        memory = {method: memory_mib(network, method) for method in METHODS}
        for method, times in samples.items():
            ratios = [t / p for t, p in zip(times, samples["plain sgd"], strict=True)]
            joint = [t / p for t, p in zip(times, samples["joint"], strict=True)]
            rows.append(
                {
                    "network": network,
                    "method": method,
                    "ms_per_1000_images": round(statistics.median(times) / (2 * batch) * 1000, 1),
                    "time_over_plain": round(statistics.median(ratios), 3),
                    "time_over_joint": round(statistics.median(joint), 3),
                    "peak_memory_mib": round(memory[method], 1),
                    "memory_over_plain": round(memory[method] / memory["plain sgd"], 2),
                    "n": len(times),
                }
            )
    print_rows("Cost of a search iteration over the same images, one thread", rows)
    if not args.quick:
        print(save_results("step_cost", rows))


if __name__ == "__main__":
    main(parse())
