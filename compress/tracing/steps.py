"""Ways through torch-pruning's graph, in a bounded number of steps: through some code it goes in circles for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

STEPS, LEAST = 5, 150
"""How often each node of a graph may be visited, on average, and how many visits a small graph has at least.

Well-known networks take less than one a node, a layer of which one channel meets all others some 130 in all.
"""


def coupled(graph: Any, module: nn.Module, n: int) -> Any:
    """torch-pruning's group of the `n` outputs of the layer `module`; RuntimeError where it takes too many steps."""
    nodes = set(graph.module2node.values())
    steps = iter(range(max(STEPS * len(nodes), LEAST)))
    for node in nodes:
        node.dependencies = _Counted(node.dependencies[:], steps)  # without what is left of an earlier layer's steps
    return graph.get_pruning_group(module, graph.get_pruner_of_module(module).prune_out_channels, list(range(n)))


def ends_in(graph: Any, module: nn.Module, kinds: Any) -> bool:
    """Whether what the layer `module` writes comes to a layer of `kinds`."""
    nodes = list(graph.module2node[module].outputs)
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if isinstance(node.module, kinds):
            return True
        more = set(node.outputs) - seen
        seen |= more
        nodes += more
    return False


class _Counted(list[Any]):
    """A list that takes one of `steps` whenever it is gone through."""

    def __init__(self, values: list[Any], steps: Iterator[int]) -> None:
        super().__init__(values)
        self.steps = steps

    def __iter__(self) -> Iterator[Any]:
        if next(self.steps, None) is None:
            raise RuntimeError("its dependency graph goes in circles")
        return super().__iter__()
