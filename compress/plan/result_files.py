"""Shapes of a run's results: latency, parity, complexity, predictions, categories and summary, all .json.

Stages in several rooms write them, and the report, which knows run folders only, reads them (docs/formats.md).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, MaxLen, MinLen
from typing_extensions import TypedDict

from .kinds import (
    EXTRA,
    Amount,
    Count,
    ImageSize,
    Milliseconds,
    Name,
    Number,
    Percent,
    Ratio,
    Seconds,
    Share,
    Text,
    Versions,
)
from .plan_file import Counts, Residual, Step, path_fault
from .run_files import BudgetFile, latency_limit
from .stored import Rule

FORMAT = 1
"""Of the files that have one."""


class Percents(TypedDict):
    """An accuracy or AP before and after."""

    before: Percent
    after: Percent


class Times(TypedDict):
    """Milliseconds per batch of one network; n samples."""

    median: Milliseconds
    p10: Milliseconds
    p90: Milliseconds
    n: Annotated[int, Ge(1), Le(10**9)]


class Ratios(TypedDict):
    """Of the pairs timed next to each other."""

    median: Ratio
    p10: Ratio
    p90: Ratio


class Gpu(TypedDict):
    """The GPU of a backend."""

    name: Text


class BackendTimes(TypedDict):
    """Both networks in one backend."""

    before: Times
    after: Times
    ratio: Ratios
    gpu: NotRequired[Gpu | None]


class LatencyFile(TypedDict):
    """latency.json."""

    device: Text
    dtype: Text
    batch: Annotated[int, Ge(1), Le(10**6)]
    threads: Annotated[int, Ge(1), Le(10**6)]
    input_size: ImageSize
    date: NotRequired[Text]
    versions: NotRequired[Versions]
    backends: Annotated[dict[Name, BackendTimes], MinLen(1)]


class ParityEntry(TypedDict, total=False):
    """One exported network against PyTorch: a classifier's figures, or a detector's."""

    n_images: Annotated[int, Ge(1), Le(10**9)]
    max_abs_diff: Amount
    max_rel_diff: Amount
    top1_agreement: Percent
    n_detections: Count
    n_unmatched: Count
    max_box_diff: Amount
    max_mask_diff: Amount


def _parity_fault(parity: Parity) -> str | None:
    for side in ("baseline", "model"):
        entry: Any = parity[side]
        kind = ("n_detections", "n_unmatched", "max_box_diff", "max_mask_diff")
        needed = kind if "n_detections" in entry else ("max_rel_diff", "top1_agreement")
        if absent := [name for name in ("n_images", "max_abs_diff", *needed) if name not in entry]:
            return f"{side}.{absent[0]} is missing"
    return None


class Parity(TypedDict):
    """The exported networks before and after against PyTorch."""

    baseline: ParityEntry
    model: ParityEntry
    tolerance: NotRequired[Amount]


ParityFile = Annotated[Parity, Rule(_parity_fault)]
"""parity.json."""


class SourceCounts(TypedDict):
    """A cost by formula and counted."""

    formula: Count
    counted: Count


class SidedCounts(TypedDict):
    """A cost before and after, both ways."""

    before: SourceCounts
    after: SourceCounts


class OperatorRow(TypedDict):
    """An operator's costs."""

    name: Name
    kind: Name
    part: Literal["attention_projections", "attention_products", "mlp", "layers", "norms", "classifier", "parameters"]
    params: SidedCounts
    macs: SidedCounts


class ComplexityFile(TypedDict):
    """complexity.json."""

    format: int
    input_size: ImageSize
    params: SidedCounts
    macs: SidedCounts
    operators: list[OperatorRow]


class PredictedSide(TypedDict):
    """What was found in an image by one network; `file` is its picture, relative to the run's folder."""

    file: Annotated[str, MinLen(1), MaxLen(250)]
    detections: Count
    correct: Count


class PredictedImage(TypedDict):
    """One image."""

    image: Text
    training: NotRequired[bool]
    objects: Count
    before: PredictedSide
    after: PredictedSide
    coincide: Count


class PredictionsFile(TypedDict):
    """predictions.json."""

    format: int
    threshold: Share
    iou: Share
    images: list[PredictedImage]


def _pair_fault(pair: ApPair) -> str | None:
    one_sided = (pair["before"] is None) != (pair["after"] is None)
    return "before and after must both be numbers or both be null" if one_sided else None


class ApPair(TypedDict):
    """AP before and after; None without an object."""

    before: Percent | None
    after: Percent | None


class Category(TypedDict):
    """AP of one category."""

    name: Text
    objects: Count
    bbox_mAP: Annotated[ApPair, Rule(_pair_fault)]
    segm_mAP: NotRequired[Annotated[ApPair, Rule(_pair_fault)]]


def _rows_fault(rows: list[Category]) -> str | None:
    some = len({"segm_mAP" in row for row in rows}) > 1
    return "all categories or none must have segm_mAP" if some else None


class CategoriesFile(TypedDict):
    """categories.json."""

    format: int
    images: Count
    categories: Annotated[list[Category], Rule(_rows_fault)]


class TimesPair(TypedDict):
    """Timings before and after."""

    before: Times
    after: Times


class MillisecondsPair(TypedDict):
    """Predicted before and after."""

    before: Milliseconds
    after: Milliseconds


class Between(TypedDict):
    """An accuracy or AP after the search and after slicing."""

    searched: Percent
    sliced: Percent


class AmountPair(TypedDict):
    """Differences before and after."""

    before: Amount
    after: Amount


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
    predicted_latency_ms: NotRequired[MillisecondsPair]
    prediction: NotRequired[Annotated[Prediction, Rule(path_fault)]]
    parity_max_abs_diff: NotRequired[AmountPair | None]
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
