"""Search methods: one small step function each, in the papers' order and symbols."""

from __future__ import annotations

from dataclasses import dataclass

from .bilevel import Bilevel, Darts1, Darts2, MiLeNas1, darts1_step, darts2_step, milenas1_step
from .joint import GroupLasso, Joint, NetSlim, OneSet, Rvsm, grouplasso_step, joint_step, rvsm_step
from .rarts import Rarts, TwoSets, rarts_step
from .scorers import (
    Magnitude,
    RandomScores,
    Taylor,
    channel_rows,
    channel_savings,
    latency_aware,
    magnitude_scores,
    random_scores,
    taylor_scores,
)
from .tas import MacsLoss, Tas, WidthChoices, tas_step


@dataclass(frozen=True)
class Method:
    """A method's settings, the number of weight sets it trains (0: it only scores), and whether it halves D."""

    settings: type
    networks: int
    halves: bool = False


METHODS = {
    "rarts": Method(Rarts, 2, halves=True),
    "darts1": Method(Darts1, 1, halves=True),
    "darts2": Method(Darts2, 1, halves=True),
    "milenas1": Method(MiLeNas1, 1, halves=True),
    "tas": Method(Tas, 1, halves=True),
    "joint": Method(Joint, 1),
    "netslim": Method(NetSlim, 1),
    "rvsm": Method(Rvsm, 1),
    "grouplasso": Method(GroupLasso, 1),
    "random": Method(RandomScores, 0),
    "magnitude": Method(Magnitude, 0),
    "taylor": Method(Taylor, 0),
}
"""Recipe name -> method."""

__all__ = [
    "METHODS",
    "Bilevel",
    "Darts1",
    "Darts2",
    "GroupLasso",
    "Joint",
    "MacsLoss",
    "Magnitude",
    "Method",
    "MiLeNas1",
    "NetSlim",
    "OneSet",
    "RandomScores",
    "Rarts",
    "Rvsm",
    "Tas",
    "Taylor",
    "TwoSets",
    "WidthChoices",
    "channel_rows",
    "channel_savings",
    "darts1_step",
    "darts2_step",
    "grouplasso_step",
    "joint_step",
    "latency_aware",
    "magnitude_scores",
    "milenas1_step",
    "random_scores",
    "rarts_step",
    "rvsm_step",
    "tas_step",
    "taylor_scores",
]
