"""Two networks side by side: parameters, MACs, and time on this machine, measured in turn."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ..costs import count_macs, count_params
from ..measure import interleaved, summarise, summarise_ratio, torch_threads


def compare(model: nn.Module, small: nn.Module, example_input: Tensor, *, repeats: int = 30) -> dict[str, Any]:
    """Print and return parameters, MACs and PyTorch's latency of both networks for `example_input` [B, C, H, W].

    MACs are of one image; milliseconds of one call, on one thread of the processor, the two networks taking turns.

    Args:
        model: before; unchanged.
        small: after; unchanged.
        example_input: what both are called with.
        repeats: samples of each.

    Example::

        compare(net, pruned.model, torch.randn(1, 3, 224, 224))["latency_ratio"]["median"]
    """
    size = (example_input.shape[1], example_input.shape[2], example_input.shape[3])
    pair = {"before": deepcopy(model).cpu().eval(), "after": deepcopy(small).cpu().eval()}
    x = example_input.cpu()
    with torch.inference_mode(), torch_threads(1):
        samples = interleaved({name: lambda net=net: net(x) for name, net in pair.items()}, repeats=repeats)  # type: ignore[misc]
    found: dict[str, Any] = {
        "params": {name: count_params(net) for name, net in pair.items()},
        "macs": {name: count_macs(net, size) for name, net in pair.items()},
        "latency_ms": {name: summarise(samples[name]) for name in pair},
        "latency_ratio": summarise_ratio(samples["before"], samples["after"]),
    }
    for name in ("params", "macs"):
        before, after = found[name]["before"], found[name]["after"]
        print(f"{name:10} {before:>16,} -> {after:>16,}   {before / max(after, 1):.2f} times fewer")
    times = [found["latency_ms"][name]["median"] for name in pair]
    print(f"{'ms':10} {times[0]:>16.3f} -> {times[1]:>16.3f}   ratio {found['latency_ratio']['median']:.3f}")
    return found
