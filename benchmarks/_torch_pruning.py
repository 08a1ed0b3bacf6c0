"""torch-pruning's pruners as rivals: cut until the MACs meet a target, as its users do."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

STEPS = 10
"""Halvings of the interval in which the pruning ratio is sought."""
WITHIN = 0.02
"""How close the measured latency comes to its target."""
MEASUREMENTS = 7
"""Networks that are measured to come so close, at most."""
REPEATS = 240
"""Pairs of calls a measurement."""


def left_alone(network: Any, names: list[str], classes: int) -> list[Any]:
    """The layers that no pruner may cut: those of `names`, and those whose outputs are the classes."""
    from torch import nn

    ends = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    return [*map(network.get_submodule, names), *ends]


def cutter(
    network: Any,
    settings: dict[str, Any],
    *,
    size: tuple[int, int, int],
    classes: int,
    ignored: list[str],
    round_to: int,
) -> Callable[[float], Any]:
    """Share of the channels to remove -> a copy of `network` without them."""
    import torch
    import torch_pruning as tp

    def cut(ratio: float) -> Any:
        small = deepcopy(network).cpu().eval()
        pruner = tp.pruner.BasePruner(
            small,
            torch.zeros(1, *size),
            importance=tp.importance.GroupMagnitudeImportance(p=settings.get("p", 2)),
            global_pruning=settings.get("global", False),
            max_pruning_ratio=settings.get("most", 1.0),
            pruning_ratio=ratio,
            round_to=round_to,
            ignored_layers=left_alone(small, ignored, classes),
        )
        pruner.step()
        return small

    return cut


def at_macs(cut: Callable[[float], Any], target: float, size: tuple[int, int, int]) -> Any:
    """The largest network of `cut` whose MACs are at most `target` of the whole one's."""
    from compress.costs import count_macs

    full = count_macs(cut(0.0), size)
    low, high, best = 0.0, 0.98, None
    for _ in range(STEPS):
        middle = (low + high) / 2
        small = cut(middle)
        if count_macs(small, size) <= target * full:
            high, best = middle, small
        else:
            low = middle
    if best is None:
        raise ValueError(f"no pruning ratio below 0.98 leaves {target} of the MACs")
    return best


def at_latency(
    make: Callable[[float], Any],
    target: float,
    measure: Callable[[Any], float],
    *,
    within: float = WITHIN,
    measurements: int = MEASUREMENTS,
) -> tuple[float, float]:
    """The share of the MACs at which the network of `make` has `target` of the whole one's `measure`d latency, and the
    ratio that was measured of it."""
    low, high, share = 0.0, 1.0, target
    seen: list[tuple[float, float]] = []
    for _ in range(measurements):
        ratio = measure(make(share))
        seen = sorted([*seen, (share, ratio)], key=lambda each: abs(each[1] - target))
        if abs(seen[0][1] - target) <= within * target:
            break
        low, high = (low, share) if ratio > target else (share, high)
        share = _where(target, *[*seen, (0.0, 0.0)][:2])
        if not low < share < high:
            share = (low + high) / 2
    return seen[0]


def _where(wanted: float, one: tuple[float, float], other: tuple[float, float]) -> float:
    """Where the line through two points has the height `wanted`; nowhere that is of use if it falls."""
    rise = (one[1] - other[1]) * (one[0] - other[0])
    return one[0] + (wanted - one[1]) * (one[0] - other[0]) ** 2 / rise if rise > 0 else -1.0


def regularised(
    network: Any,
    settings: dict[str, Any],
    task: Any,
    config: Any,
    job: Any,
    *,
    size: tuple[int, int, int],
    classes: int,
    ignored: list[str],
) -> Any:
    """`network` trained with the group lasso of the group-norm pruner, for as many epochs as a search takes."""
    import torch
    import torch_pruning as tp

    trained = deepcopy(network).train()
    pruner = tp.pruner.GroupNormPruner(
        trained,
        torch.zeros(1, *size),
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        reg=settings["reg"],
        ignored_layers=left_alone(trained, ignored, classes),
    )
    loader = task.loader(2 * config.batch_size, job)  # a search takes two halves a step
    values = {key: value for key, value in config.optimizer.items() if key != "type"}
    optimizer = torch.optim.SGD(trained.parameters(), **values)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)
    for epoch in range(config.epochs):
        loader.set_epoch(epoch)
        pruner.update_regularizer()
        for batch in loader:
            optimizer.zero_grad()
            task.loss(trained, batch).backward()
            pruner.regularize(trained)
            optimizer.step()
        schedule.step()
    return trained.eval()
