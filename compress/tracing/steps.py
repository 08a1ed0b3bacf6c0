"""What torch-pruning's graph couples to a layer, in a bounded time: through some code it goes in circles for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

STEPS = 5
"""How often each node of a graph may be visited on average. Networks of known architectures take one visit or less."""


def coupled(graph: Any, module: nn.Module, n: int) -> Any:
    """torch-pruning's group of the `n` outputs of the layer `module`; RuntimeError where it takes too many steps."""
    nodes = set(graph.module2node.values())
    steps = iter(range(STEPS * len(nodes)))
    for node in nodes:
        node.dependencies = _Counted(node.dependencies[:], steps)  # without what is left of an earlier layer's steps
    return graph.get_pruning_group(module, graph.get_pruner_of_module(module).prune_out_channels, list(range(n)))


class _Counted(list[Any]):
    """A list that takes one of `steps` whenever it is gone through."""

    def __init__(self, values: list[Any], steps: Iterator[int]) -> None:
        super().__init__(values)
        self.steps = steps

    def __iter__(self) -> Iterator[Any]:
        if next(self.steps, None) is None:
            raise RuntimeError("its dependency graph goes in circles")
        return super().__iter__()
