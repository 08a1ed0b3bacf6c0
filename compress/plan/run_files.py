"""Shapes of what a run's folder says of the run itself: recipe.json, stages.json, metrics.jsonl (docs/formats.md).

The report reads them and knows run folders only, so they stand here and not beside the stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from typing_extensions import TypedDict

from .budget_kinds import BUDGETS
from .kinds import EXTRA, Amount, Channels, Count, Name, Percent, Seconds, Share, Text
from .result_files import Ratios
from .stored import Rule


class Limit(TypedDict):
    """One budget; a free one has no value."""

    kind: Annotated[Name, Rule(lambda kind: None if kind in BUDGETS else f"must be one of {', '.join(BUDGETS)}")]
    value: Annotated[float, Gt(0), Le(1e12)] | None


class BudgetFile(Limit):
    """A run's budget; `also`: further costs that are limited at once."""

    also: NotRequired[list[Limit]]


def latency_limit(budget: BudgetFile) -> Limit | None:
    """The latency budget in `budget`, if there is one."""
    limits: list[Limit] = [budget, *budget.get("also", [])]
    return next((limit for limit in limits if BUDGETS[limit["kind"]].cost == "latency"), None)


class Adapted(TypedDict):
    """Layers of the checkpoint's network that are fresh, and the rate of all others over theirs."""

    fresh: Annotated[list[Name], MinLen(1)]
    lr_factor: Share


class Checkpoint(TypedDict):
    """Where the weights were, the SHA-256 of the file, and whether the user asks for averaged weights or plain ones."""

    path: Text
    sha256: Text
    ema: NotRequired[bool]
    adapted: NotRequired[Adapted]


class TableUsed(TypedDict):
    """The latency table of a run; without `readers` only the budget reads it."""

    path: Text
    sha256: Text
    forced: bool
    readers: NotRequired[Annotated[list[Literal["search", "budget"]], MinLen(1)]]


MOST_POINTS = 100
"""Of a front."""


class AskedGoal(TypedDict):
    """The accuracy that a front's point is to keep: percent, or points that it may drop."""

    kind: Literal["target_accuracy", "max_drop"]
    value: Percent


class RecordedRecipe(TypedDict):
    """A recipe as plain values; what is in it, is checked by who reads recipes."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    data: NotRequired[dict[str, Any]]


@dataclass(frozen=True)
class RecordKind:
    """A kind of run as its record tells: what the user calls to do it, and which keys stand beside its recipe."""

    tool: str
    needs: tuple[str, ...] = ()


RECORDS = {
    "recipe": RecordKind("nncompress prune", ("checkpoint", "budget")),
    "train": RecordKind("nncompress train"),
    "finetune": RecordKind("nncompress finetune", ("checkpoint",)),
    "front": RecordKind("nncompress front", ("checkpoint", "budgets")),
    "topology": RecordKind("nncompress search-topology"),
}
"""Key of recipe.json under which the recipe stands -> the kind of run. A leaf room adds its own."""


def recipe_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe in a run's `record`, whatever its kind; {} where there is none."""
    found: dict[str, Any] = next((record[key] for key in RECORDS if key in record), {})
    return found


def _record_fault(record: RunRecord) -> str | None:
    keys = [key for key in RECORDS if key in record]
    if len(keys) != 1:
        *others, last = (f"`{key}`" for key in RECORDS)
        return f"must hold one recipe: under {', '.join(others)} or {last}"
    missing = next((name for name in RECORDS[keys[0]].needs if name not in record), None)
    return f"{missing} is missing" if missing else None


class RunRecord(TypedDict, total=False):
    """recipe.json: what identifies a run, with its recipe under one of RECORDS."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    recipe: RecordedRecipe
    train: RecordedRecipe
    finetune: RecordedRecipe
    front: RecordedRecipe
    topology: RecordedRecipe
    checkpoint: Checkpoint
    teacher: Checkpoint
    budget: BudgetFile
    budgets: Annotated[list[BudgetFile], MinLen(1), MaxLen(MOST_POINTS)]
    goal: AskedGoal | None
    latency_table: TableUsed | None
    search_from: Text | None
    steps: Annotated[int, Ge(2), Le(100)]
    processes: Annotated[int, Ge(2), Le(1_000_000)]
    before: Checkpoint


RecordFile = Annotated[RunRecord, Rule(_record_fault)]


class SearchInfo(TypedDict):
    """The method of a search, its settings, and its strength."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    type: Name
    strength: NotRequired[Amount | None]


class CategoryAp(TypedDict):
    """AP of one category; None without an object."""

    bbox_mAP: NotRequired[Percent | None]
    segm_mAP: NotRequired[Percent | None]


class RoundLeft(TypedDict):
    """Costs and figures of the network that a round before the last left."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    params: Count
    macs: Count
    top1: NotRequired[Percent]
    bbox_mAP: NotRequired[Percent]
    segm_mAP: NotRequired[Percent]
    train_bbox_mAP: NotRequired[Percent]
    train_segm_mAP: NotRequired[Percent]


class Speed(TypedDict):
    """The selected network's latency over the unpruned one's, before fine-tuning, and why it is not faster."""

    backend: Name
    ratio: Ratios
    reason: NotRequired[Text]


class StageFile(TypedDict):
    """A finished stage: its time and its figures."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    seconds: Seconds
    finished: Text
    top1: NotRequired[Percent]
    bbox_mAP: NotRequired[Percent]
    segm_mAP: NotRequired[Percent]
    train_bbox_mAP: NotRequired[Percent]
    train_segm_mAP: NotRequired[Percent]
    info: NotRequired[SearchInfo]
    left_out: NotRequired[Text]
    pruned_ratio: NotRequired[Share]
    round_to: NotRequired[Channels]
    speed: NotRequired[Speed]
    per_category: NotRequired[dict[Name, CategoryAp]]
    rounds: NotRequired[list[RoundLeft]]


METRICS = ("top1", "bbox_mAP", "segm_mAP", "train_bbox_mAP", "train_segm_mAP")
"""Of stages, in percent."""


def _stages_fault(stages: dict[str, StageFile]) -> str | None:
    if "load" in stages and "search" in stages and "info" not in stages["search"]:  # a pruning run's
        return "search.info is missing"
    for name in (name for name in ("search", "slice", "finetune") if "load" in stages and name in stages):
        if odd := [metric for metric in METRICS if metric in stages["load"] and metric not in stages[name]]:
            return f"{name}.{odd[0]} is missing, which load has"
    return None


StagesFile = Annotated[dict[Name, StageFile], Rule(_stages_fault)]
"""stages.json: the finished stages."""


def _row_fault(row: MetricsRow) -> str | None:
    for name, value in row.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e30
        if not (number or value is None or name == "stage"):
            return f"{name} = {value!r:.60}: must be a number of at most 1e30"
    return None


class MetricsRow(TypedDict):
    """An epoch, with its losses, rates and figures."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    stage: Name
    epoch: Annotated[int, Ge(1), Le(10**9)]


MetricsLine = Annotated[MetricsRow, Rule(_row_fault)]
"""A line of metrics.jsonl."""

METRICS_REMEDY = "remove the line, or run the stages again"
