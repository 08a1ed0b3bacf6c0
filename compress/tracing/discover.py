"""From a network, or its space, to its groups: what may be asked, and what is refused."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..plan import Seed, UserError, brief
from ..plan.settings import convert
from ..spaces import TracedSpace, check_given, evaluating, kind_of, own_surroundings
from .finding import Groups, find
from .passes import checked_example

Ignored = Collection[str | type[nn.Module] | nn.Module]


@own_surroundings()
def groups_of(
    network: nn.Module,
    example_input: Tensor | tuple[Any, ...],
    *,
    ignored_layers: Ignored = (),
    streams: bool = True,
    seed: int = 0,
) -> Groups:
    """The groups of `network` (unchanged) that can be pruned exactly: traced, then tried on the network itself.

    Args:
        network: in any mode; it is tried in evaluation mode, on the CPU.
        example_input: [B, C, H, W], or a tuple of arguments of its forward pass; only shapes matter.
        ignored_layers: modules, their names or their types that keep all their channels.
        streams: residual streams, which several layers add to, are groups too.
        seed: of the random weights and scores that it is tried with.

    Raises UserError for a network that cannot be traced, does not run, or whose forward pass depends on values; for
    parameters that are not finite float32 numbers; and for names of modules that it lacks.

    Example::

        found = groups_of(model, torch.randn(1, 3, 224, 224))
        [group.name for group in found.groups], found.left
    """
    check_given(network)
    example = checked_example(example_input)
    kept = _ignored(network, ignored_layers)
    convert(streams, bool, "streams")
    seed = convert(seed, Seed, "seed")
    return find(network, example, kept, streams=streams, seed=seed)


def traced(space: TracedSpace, input_size: tuple[int, int, int], *, network: nn.Module | None = None) -> TracedSpace:
    """`space` with the groups of its unpruned network, or of `network`, for images of (C, H, W).

    Raises UserError as `groups_of`, for ignored names of modules that it lacks, and where nothing of it can be pruned.

    Example::

        space = traced(TracedSpace(num_classes=10, model="resnet50"), (3, 224, 224))
    """
    if network is None:
        with torch.random.fork_rng(devices=[]):
            network = replace(space, found={}, widths={}).build()
    source = f"space.model = {space.model!r}"
    _ignored(network, space.ignored, argument="space.ignored")
    try:
        found = groups_of(network, torch.zeros(1, *input_size))
    except UserError as error:
        if error.argument == "example_input":
            size = " x ".join(map(str, input_size))
            raise UserError(f"{source}: takes no images of {size} ({error.rule}); set data.input_size") from None
        raise error.at(source) from None
    if not found.groups:
        raise UserError(f"{source}: {found.reasons}; use another network")
    _check_classifier(network, space, input_size)
    return replace(space, found=found.to_json())


def _check_classifier(network: nn.Module, space: TracedSpace, input_size: tuple[int, int, int]) -> None:
    """UserError where `network` gives anything but one logit for each class of `space`, or nothing of it learns."""
    if not any(value.requires_grad for value in network.parameters()):
        raise UserError(f"space.model = {space.model!r}: no parameter requires a gradient; make it with some that do")
    with evaluating(network), torch.no_grad():
        outputs = network(torch.zeros(1, *input_size, device=next(network.parameters()).device))
    if not isinstance(outputs, Tensor) or outputs.shape != (1, space.num_classes):
        given = list(outputs.shape) if isinstance(outputs, Tensor) else f"a {kind_of(outputs)}"
        raise UserError(
            f"space.model = {space.model!r}: gives {given} for one image; must be the logits of all classes, [1, "
            f"{space.num_classes}]; take num_classes as an argument, and give the logits alone"
        )


def _ignored(network: nn.Module, ignored: Ignored, *, argument: str = "ignored_layers") -> set[str]:
    """Names of the modules that `ignored` means, with all inside; UserError for what means none of them."""
    modules = dict(network.named_modules())
    if isinstance(ignored, str) or not isinstance(ignored, Collection):
        raise UserError(f"{argument} = {brief(ignored)}: must be a list of modules, their names or their types")
    roots = set()
    for each in ignored:
        found = {
            name
            for name, module in modules.items()
            if module is each or name == each or (isinstance(each, type) and isinstance(module, each))
        }
        if not found and not (isinstance(each, type) and issubclass(each, nn.Module)):
            what = repr(each) if isinstance(each, str) else brief(each, longest=40)
            raise UserError(f"{argument}: {what} is no module of {type(network).__name__}; see named_modules")
        roots |= found
    return {name for name in modules for root in roots if name == root or name.startswith(f"{root}.") or not root}
