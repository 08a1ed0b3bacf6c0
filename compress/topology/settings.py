"""Settings of a topology search: those of a width search, with methods whose scores live on edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from ..engine.settings import SearchConfig
from ..penalties import PenaltyType
from ..plan import Range, Registry, UserError
from ..search import Method
from .edge_latency import EDGE_PENALTIES
from .methods import EDGE_METHODS


@dataclass(frozen=True)
class TopologySearch(SearchConfig):
    """A search of cells. The scores' optimiser is Adam unless given: logits have no scale of their own.

    The `latency` penalty reads a table of cells (`nncompress profile`, given the same recipe) and is gamma times
    the latency that is expected of the edges, in that of the table's reference network.

    Args:
        weights: of the supernet after the search, which only its curves show: a mean would need its statistics again.
        allow_none: the found cell may have edges that are `none`, where its space keeps all edges.
        hold_epochs: so many first epochs train the weights alone: operations with parameters need them to be compared
            with those that have none, which are as good as they will ever be from the start (PC-DARTS, arXiv
            1907.05737: 15 of 50).
    """

    alpha_optimizer: Mapping[str, Any] = field(
        default_factory=lambda: {"type": "Adam", "lr": 3e-4, "betas": (0.5, 0.999), "weight_decay": 1e-3}
    )
    gamma: Annotated[float, Range(at_least=0, at_most=1e6, remedy="0.1 is a start")] = 0.0
    weights: Literal["u", "w", "average"] = "u"
    allow_none: bool = False
    hold_epochs: Annotated[int, Range(at_least=0)] = 0

    methods: ClassVar[Registry[Method]] = EDGE_METHODS
    penalties: ClassVar[Registry[PenaltyType]] = EDGE_PENALTIES

    @property
    def held(self) -> int:
        """`hold_epochs`."""
        return self.hold_epochs

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hold_epochs >= self.epochs:
            raise UserError(
                f"search.hold_epochs = {self.hold_epochs}: must be from 0 to epochs - 1; search.epochs is {self.epochs}"
            )
