"""Seconds from a plan to a sliced network: ours, and torch-pruning's graph and pruning where it is installed.

torch-pruning is no dependency: `pip install torch-pruning==1.6.1` beside it. What it cannot prune is said so.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from _harness import check_rivals, print_rows, save_results

FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="one sample of the smallest network, nothing written")
    return parser.parse_args()


def spaces() -> dict[str, tuple[Any, int]]:
    """Network -> its space and the side of its images."""
    from compress.spaces import MobileNetV2Space, PreResNetSpace, SwinSpace, VitSpace

    return {
        "preresnet164": (PreResNetSpace(164, 10), 32),
        "mobilenetv2": (MobileNetV2Space(1000), 224),
        "swin_tiny": (SwinSpace(1000, "swin_tiny_patch4_window7_224"), 224),
        "deit_small": (VitSpace(1000, "deit_small_patch16_224"), 224),
    }


def ours(space: Any, network: Any) -> Callable[[], Any]:
    """Slicing by a plan that keeps 60 % of every group."""
    from compress.plan import WidthPlan
    from compress.pruning import slice_model
    from compress.spaces import sizes

    full = sizes(space.groups)
    plan = WidthPlan(space.name, full, {name: tuple(range(max(1, int(0.6 * n)))) for name, n in full.items()})
    return lambda: slice_model(network, space, plan)


def theirs(network: Any, size: int) -> Callable[[], Any] | None:
    """torch-pruning's magnitude pruner at 40 %, from a copy of the network; None when it is not installed."""
    from copy import deepcopy

    import torch

    try:
        import torch_pruning
    except ImportError:
        return None

    def call() -> Any:
        model = deepcopy(network)
        importance = torch_pruning.importance.MagnitudeImportance(p=1)
        head = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1:]
        images = torch.zeros(1, 3, size, size)
        pruner = torch_pruning.pruner.MagnitudePruner(
            model, images, importance=importance, pruning_ratio=0.4, ignored_layers=head
        )
        pruner.step()
        return model(images)

    return call


def seconds(call: Callable[[], Any]) -> float | str:
    """Time of one call, or the error that it ends with."""
    start = time.perf_counter()
    try:
        call()
    except FAILURES as error:  # a rival's failure is a result here
        return f"fails: {type(error).__name__}"
    return time.perf_counter() - start


def main(args: argparse.Namespace) -> None:
    if not args.quick:
        check_rivals("slice_time", "torch_pruning")
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    found = spaces()
    for name in list(found)[:1] if args.quick else found:
        space, size = found[name]
        network = space.build().eval()
        calls = {"ours": ours(space, network), "torch-pruning": theirs(network, size)}
        ours(space, network)()  # groups and imports are found once per process
        samples: dict[str, list[float]] = {key: [] for key in calls}
        failed: dict[str, str] = {}
        for _ in range(1 if args.quick else args.repeats):
            for key, call in calls.items():
                if call is None:
                    failed[key] = "not installed"
                elif key not in failed:
                    value = seconds(call)
                    failed |= {key: value} if isinstance(value, str) else {}
                    samples[key] += [value] if isinstance(value, float) else []
        row = {key: failed.get(key) or round(statistics.median(values), 3) for key, values in samples.items()}
        rows.append({"network": name, **row})
    print_rows("seconds to slice", rows)
    if not args.quick:
        print(save_results("slice_time", rows))


if __name__ == "__main__":
    main(parse())
