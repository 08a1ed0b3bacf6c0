"""The penalties that a recipe can name: one object each, listed in PENALTIES."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..costs import SoftLatency
from ..plan import Registry
from ..spaces import Group
from .base import Penalty
from .l1 import L1
from .latency import TAU, LatencyPenalty
from .zero_one import ZeroOne


@dataclass(frozen=True)
class Terms:
    """What a run's penalty is made of: its weight `gamma`, the groups whose scores it acts on, in their order, and for
    penalties that read it the latency that the run's table predicts, with the size `tau` of half a channel's score."""

    gamma: float
    groups: tuple[Group, ...]
    latency: SoftLatency | None = None
    tau: float | None = None


@dataclass(frozen=True)
class PenaltyType:
    """A penalty as recipes name it.

    Example::

        half = PenaltyType("half", lambda terms: L1(terms.gamma / 2, "proximal"), zeros=True)  # PENALTIES.add lists it
        half.make(Terms(0.2, space.groups))  # L1(gamma=0.1, mode="proximal")
    """

    name: str
    make: Callable[[Terms], Penalty]
    zeros: bool = False
    """Its proximal step makes scores exactly zero."""
    places: tuple[str, ...] | None = None
    """The places of scores that it can act on (`ScoreSource.place`); None: all."""
    table: bool = False
    """It reads the run's latency table."""
    common: bool = False
    """Recipes name it as a matter of course: a method that applies none leaves it aside instead of refusing it."""


def _latency(terms: Terms) -> LatencyPenalty:
    assert terms.latency is not None
    return LatencyPenalty(terms.gamma, terms.latency, [group.name for group in terms.groups], tau=terms.tau or TAU)


PENALTIES: Registry[PenaltyType] = Registry("compress.penalties")
"""Recipe name -> penalty."""
PENALTIES.add(PenaltyType("subgradient", lambda terms: L1(terms.gamma, "subgradient"), common=True))
PENALTIES.add(PenaltyType("proximal", lambda terms: L1(terms.gamma, "proximal"), zeros=True, common=True))
PENALTIES.add(PenaltyType("latency", _latency, places=("gates",), table=True))
PENALTIES.add(PenaltyType("zero_one", lambda terms: ZeroOne(terms.gamma), places=("edges",)))
