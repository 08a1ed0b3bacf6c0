"""The search methods on edges: those of `compress.search` with their scores in edge logits, and random cells."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..plan import Registry
from ..search import METHODS, Gates, Method, Scoring
from ..search.scorers import RANDOM
from .logits import EdgeLogits, edge_scores
from .supernet_space import SupernetSpace

EDGE_METHODS: Registry[Method] = Registry("compress.topology_methods")
"""Recipe name -> method of a topology search: every one whose scores are gates, with edges in their place."""
for _method in METHODS.values():
    if _method.source is Gates:
        EDGE_METHODS.add(replace(_method, source=EdgeLogits))


@dataclass(frozen=True)
class RandomCells:
    """Random cells have no parameters but the run's seed."""


def _random(scoring: Scoring) -> dict[str, Tensor]:
    space = scoring.space
    assert isinstance(space, SupernetSpace)
    generator = torch.Generator().manual_seed(scoring.seed)
    shape = len(space.cells.edges), len(space.cells.operations)
    return edge_scores({cell: torch.rand(shape, generator=generator) for cell in space.cells.cells})


EDGE_METHODS.add(replace(RANDOM, settings=RandomCells, score=_random))
