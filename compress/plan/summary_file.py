"""Shape of summary.json: a pruning run in numbers (docs/formats.md)."""

from __future__ import annotations

from typing import Annotated, NotRequired

from annotated_types import Len, MinLen
from typing_extensions import TypedDict

from .kinds import (
    EXTRA,
    Amount,
    Count,
    Milliseconds,
    Name,
    Number,
    Percent,
    Ratio,
    Seconds,
    Share,
    Side,
    Text,
    Versions,
)
from .plan_file import Counts, Residual, Step, path_fault
from .result_files import Times
from .run_files import BudgetFile, RoundLeft, latency_limit
from .stored import Rule


class Percents(TypedDict):
    """An accuracy or AP before and after."""

    before: Percent
    after: Percent


class TimesPair(TypedDict):
    """Timings before and after."""

    before: Times
    after: Times


class MillisecondsPair(TypedDict):
    """Predicted before and after."""

    before: Milliseconds
    after: Milliseconds


class Spread(TypedDict):
    """10th and 90th percentile of a latency ratio."""

    p10: Ratio
    p90: Ratio


class Between(TypedDict):
    """An accuracy or AP after the search and after slicing."""

    searched: Percent
    sliced: Percent


class AmountPair(TypedDict):
    """Differences before and after."""

    before: Amount
    after: Amount


class CountPair(TypedDict):
    """Numbers of things before and after."""

    before: Count
    after: Count


class Prediction(TypedDict):
    """What the plan's latency table predicted, and its corrections."""

    backend: Name
    device: NotRequired[Text | None]
    ratio: Ratio
    correction: Ratio
    residual: NotRequired[Residual | None]
    path: NotRequired[Annotated[list[Step], MinLen(1)]]


class SearchSummary(TypedDict):
    """A search's method and settings."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    method: NotRequired[Text]
    strength: NotRequired[Amount | None]


def _summary_fault(summary: Summary) -> str | None:
    limit = latency_limit(summary["budget"]) if summary.get("budget") else None
    if limit and limit["value"] is None:
        return "budget: a latency needs a value"
    if limit and summary.get("prediction") and "predicted_latency_ms" not in summary:
        return "predicted_latency_ms is missing, which its prediction needs"
    return None


class Summary(TypedDict):
    """summary.json."""

    format: int
    model: Name
    dataset: Name
    params: Counts
    macs: Counts
    recipe: NotRequired[Text | None]
    steps: NotRequired[Annotated[list[RoundLeft], MinLen(1)]]
    top1: NotRequired[Percents]
    top1_stages: NotRequired[Between]
    bbox_mAP: NotRequired[Percents]
    bbox_mAP_stages: NotRequired[Between]
    segm_mAP: NotRequired[Percents]
    segm_mAP_stages: NotRequired[Between]
    train_bbox_mAP: NotRequired[Percents]
    train_bbox_mAP_stages: NotRequired[Between]
    train_segm_mAP: NotRequired[Percents]
    train_segm_mAP_stages: NotRequired[Between]
    latency_ms: NotRequired[dict[Name, TimesPair]]
    latency_ratio: NotRequired[dict[Name, Ratio]]
    latency_spread: NotRequired[dict[Name, Spread]]
    drifted: NotRequired[bool]
    not_faster: NotRequired[Text]
    predicted_latency_ms: NotRequired[MillisecondsPair]
    prediction: NotRequired[Annotated[Prediction, Rule(path_fault)]]
    parity_max_abs_diff: NotRequired[AmountPair | None]
    parity_detections: NotRequired[CountPair]
    files: NotRequired[dict[Name, Annotated[list[Side], Len(2, 2)]]]
    seconds: NotRequired[dict[Name, Seconds]]
    seed: NotRequired[int | None]
    search: NotRequired[SearchSummary]
    distill: NotRequired[dict[Name, Number] | None]
    budget: NotRequired[BudgetFile]
    pruned_ratio: NotRequired[Share | None]
    evaluated_on: NotRequired[Text | None]
    versions: NotRequired[Versions]
    device: NotRequired[Text | None]


SummaryFile = Annotated[Summary, Rule(_summary_fault)]
