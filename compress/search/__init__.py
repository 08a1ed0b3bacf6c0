"""Search methods: one small step function each, in the papers' order and symbols, and one object in METHODS."""

from __future__ import annotations

from .bilevel import Bilevel, Darts1, Darts2, MiLeNas1, darts1_step, darts2_step, milenas1_step
from .descent import Gradients, Logs, Loss, Optimizer, ProbingLoss, apply_gradients, descend_scores, gradients_of
from .harms import harms_of
from .joint import GroupLasso, Joint, NetSlim, OneSet, Rvsm, Split, grouplasso_step, joint_step, rvsm_step
from .method import DEFAULT, METHODS, Iteration, Method, Scoring
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
from .sources import Filters, Gates, Scales, ScoreSource, Site
from .tas import MacsLoss, Tas, WidthChoices, tas_step
from .wdpruning import Excess, KeepLargest, Thresholds, WdPruning, wdpruning_step

__all__ = [
    "DEFAULT",
    "METHODS",
    "Bilevel",
    "Darts1",
    "Darts2",
    "Excess",
    "Filters",
    "Gates",
    "Gradients",
    "GroupLasso",
    "Iteration",
    "Joint",
    "KeepLargest",
    "Logs",
    "Loss",
    "MacsLoss",
    "Magnitude",
    "Method",
    "MiLeNas1",
    "NetSlim",
    "OneSet",
    "Optimizer",
    "ProbingLoss",
    "RandomScores",
    "Rarts",
    "Rvsm",
    "Scales",
    "ScoreSource",
    "Scoring",
    "Site",
    "Split",
    "Tas",
    "Taylor",
    "Thresholds",
    "TwoSets",
    "WdPruning",
    "WidthChoices",
    "apply_gradients",
    "channel_rows",
    "channel_savings",
    "darts1_step",
    "darts2_step",
    "descend_scores",
    "gradients_of",
    "grouplasso_step",
    "harms_of",
    "joint_step",
    "latency_aware",
    "magnitude_scores",
    "milenas1_step",
    "random_scores",
    "rarts_step",
    "rvsm_step",
    "tas_step",
    "taylor_scores",
    "wdpruning_step",
]
