"""Shape of plan.json: kept channels of every group, and how they were chosen (docs/formats.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, MinLen
from typing_extensions import TypedDict

from .kinds import (
    EXTRA,
    Amount,
    Channels,
    Count,
    Milliseconds,
    Name,
    Ratio,
    Share,
    Text,
    Width,
    ascending,
    of_one_length,
)
from .run_files import BudgetFile
from .stored import Rule

FORMAT = 1


def _group_fault(group: GroupFile) -> str | None:
    kept, size = group["kept"], group["size"]
    if ascending(kept) or (kept and kept[-1] >= size):
        return f"kept must be ascending, distinct and from 0 to {size - 1}"
    return None


class GroupFile(TypedDict):
    """A group's width before, and the indices of the channels that stay."""

    size: Channels
    kept: list[Width]


class Counts(TypedDict):
    """A cost before and after."""

    before: Count
    after: Count


Gain = Literal["sum", "log", "balanced", "measured"]
Finer = bool | Literal["single", "spatial"]
"""Which narrow groups may keep parts of a block: all; those that spatial convolutions read; of these, those of a single
block."""


class Select(TypedDict):
    """How channels were ranked and which widths were allowed."""

    ranking: Literal["global", "kind", "layer"]
    floor: Width
    round_to: Width
    gain: NotRequired[Gain]
    finer: NotRequired[Finer]


class Residual(TypedDict):
    """The error of a latency table on networks that it has not seen."""

    median: Amount
    p90: Amount
    rank_correlation: Annotated[float, Ge(-1.001), Le(1.001)]
    n: Count


class Step(TypedDict):
    """A selection: the table's correction, and its latency ratio predicted and measured."""

    correction: Ratio
    predicted: Ratio
    measured: Ratio


def path_fault(found: Any) -> str | None:
    """The fault of a prediction whose `path` has no step of its `correction`."""
    path = found.get("path")
    if path is not None and not any(step["correction"] == found["correction"] for step in path):
        return f"path must have the selection whose correction is {found['correction']:g}"
    return None


class PlanLatency(TypedDict):
    """What a latency table predicts for a plan; ratio and milliseconds are None outside of its range."""

    ratio: Ratio | None
    ms: Milliseconds | None
    unpruned_ms: Milliseconds
    correction: Ratio
    residual: NotRequired[Residual | None]
    device: NotRequired[Text | None]
    backend: Name
    threads: NotRequired[Count | None]
    batch: NotRequired[Count | None]
    path: NotRequired[Annotated[list[Step], MinLen(1)]]


def _stairs_fault(group: StairsGroup) -> str | None:
    widths, shares = group["widths"], group["shares"]
    if ascending(widths):
        return "widths must be ascending, without repeats"
    return of_one_length(widths=widths, shares=shares)


class StairsGroup(TypedDict):
    """A group's shares of the unpruned network's time at a table's widths, and the plan's own width and share."""

    widths: Annotated[list[Width], MinLen(1)]
    shares: list[Amount]
    width: Width
    share: Amount | None


class Stairs(TypedDict):
    """Where a plan lies on the stairs of a latency table."""

    device: Text | None
    backend: Text | None
    unpruned_ms: Milliseconds
    others: Count
    groups: dict[Name, Annotated[StairsGroup, Rule(_stairs_fault)]]


class PlanFile(TypedDict):
    """plan.json; further keys are kept."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    format: int
    space: Name
    groups: Annotated[dict[Name, Annotated[GroupFile, Rule(_group_fault)]], MinLen(1)]
    select: NotRequired[Select]
    budget: NotRequired[BudgetFile]
    scores_sha256: NotRequired[Text]
    pruned_ratio: NotRequired[Share]
    blocks_removed: NotRequired[list[Name]]
    params: NotRequired[Counts]
    macs: NotRequired[Counts]
    latency: NotRequired[Annotated[PlanLatency, Rule(path_fault)]]
    stairs: NotRequired[Stairs]
    kinds: NotRequired[dict[Name, Literal["attention", "mlp", "stream", "channels"]]]
