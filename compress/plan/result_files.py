"""Shapes of a run's results: latency, parity, complexity, predictions and categories, all .json.

Stages in several rooms write them, and the report, which knows run folders only, reads them (docs/formats.md).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, MaxLen, MinLen
from typing_extensions import TypedDict

from .kinds import (
    Amount,
    Count,
    ImageSize,
    Milliseconds,
    Name,
    Percent,
    Ratio,
    Share,
    Text,
    Versions,
)
from .stored import Rule

FORMAT = 1
"""Of the files that have one."""

MOST_LAYERS = 100_000
"""Of a network."""


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


class LayerRow(TypedDict):
    """A layer, or several that an engine runs as one: shares of the time of all layers of the unpruned network."""

    name: Text
    before: Amount
    after: Amount


class BackendTimes(TypedDict):
    """Both networks in one backend."""

    before: Times
    after: Times
    ratio: Ratios
    gpu: NotRequired[Gpu | None]
    layers: NotRequired[Annotated[list[LayerRow], MinLen(1), MaxLen(MOST_LAYERS)]]


class LatencyFile(TypedDict):
    """latency.json."""

    device: Text
    dtype: Text
    batch: Annotated[int, Ge(1), Le(10**6)]
    threads: Annotated[int, Ge(1), Le(10**6)]
    input_size: ImageSize
    date: NotRequired[Text]
    versions: NotRequired[Versions]
    drifted: NotRequired[bool]
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
