"""Two networks side by side: parameters, MACs, and time on this machine, measured in turn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..costs import count_macs, count_params
from ..measure import interleaved, summarise, summarise_ratio, torch_threads
from ..plan import Count, UserError
from ..plan.errors import FAULTS, reason
from ..plan.settings import convert
from ..spaces import check_given, check_returned, copied, kind_of, own_surroundings, shapes_through
from .arguments import image_of


@own_surroundings()
def compare(model: nn.Module, small: nn.Module, example_input: Tensor, *, repeats: int = 30) -> dict[str, Any]:
    """Print and return parameters, MACs and PyTorch's latency of both networks for `example_input` [B, C, H, W].

    MACs are of one image; milliseconds of one call, on one thread of the processor, the two networks taking turns.

    Args:
        model: before; unchanged.
        small: after; unchanged.
        example_input: what both are called with.
        repeats: samples of each.

    Raises UserError for what is no network, or does not take `example_input`.

    Example::

        compare(net, pruned.model, torch.randn(1, 3, 224, 224))["latency_ratio"]["median"]
    """
    x = image_of(example_input).detach().cpu()
    size = (x.shape[1], x.shape[2], x.shape[3])
    pair = {"before": _runs(model, "model", x), "after": _runs(small, "small", x)}
    repeats = convert(repeats, Count, "repeats")
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


def _runs(network: nn.Module, argument: str, x: Tensor) -> nn.Module:
    """A copy of `network` on the CPU, in evaluation mode, that has taken `x`, and `x` without values."""
    check_given(network, argument=argument)
    check_returned(network, source=f"{argument} = {kind_of(network)}")
    copy = copied(network, argument=argument).cpu().eval()
    try:
        with torch.inference_mode():
            copy(x)
        shapes_through(copy, [x])
    except FAULTS as error:
        raise UserError(
            f"{argument} = {kind_of(network)}: does not take example_input {list(x.shape)}, or asks for values in its "
            f"forward pass ({reason(error)}); give what it is called with"
        ) from error
    return copy
