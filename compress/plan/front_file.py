"""Shapes of front.json, the points of a front, and of rivals.json, points of others beside them (docs/formats.md)."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NotRequired

from annotated_types import Ge, Le, MaxLen, MinLen
from typing_extensions import TypedDict

from .kinds import Count, Line, Milliseconds, Name, Percent, Ratio, Text, Versions
from .run_files import MOST_POINTS, AskedGoal, BudgetFile
from .stored import Rule

FRONT, RIVALS = "front.json", "rivals.json"
FORMAT = 1
UNPRUNED = "unpruned"

Cost = Literal["latency", "macs", "params"]
COSTS: tuple[Cost, ...] = ("latency", "macs", "params")
"""What points are compared by, beside their accuracy."""

_FOLDER = re.compile(r"[a-z_]+_[0-9.e+-]+")

Folder = Annotated[Name, Rule(lambda name: None if _FOLDER.fullmatch(name) else "must be a budget and its value")]
"""Of a point's run, in the front's folder: `macs_ratio_0.5`."""
Command = Annotated[str, MaxLen(1 << 20), Line]


class Figures(TypedDict):
    """One network in numbers; latencies by backend, ratios over the unpruned network's."""

    accuracy: Annotated[dict[Name, Percent], MinLen(1)]
    params: Count
    macs: Count
    latency_ratio: dict[Name, Ratio]
    latency_ms: dict[Name, Milliseconds]


class Point(Figures):
    """A pruned network; `beaten_by`: for each cost the first network that is no worse in it and in accuracy."""

    name: Folder
    budget: BudgetFile
    command: Command
    beaten_by: dict[Cost, Name | None]


class GoalFound(AskedGoal):
    """What was asked, the `least` accuracy that keeps it, and the point that does; None: none does."""

    least: Annotated[float, Ge(-100), Le(100)]
    picked: Folder | None


class Timing(TypedDict):
    """How latencies were measured."""

    threads: Annotated[int, Ge(1), Le(10**6)]
    batch: Annotated[int, Ge(1), Le(10**6)]


def _front_fault(front: Front) -> str | None:
    names = [point["name"] for point in front["points"]]
    if len({*names}) < len(names):
        return "points: two have one name"
    if (goal := front["goal"]) and goal["picked"] not in (None, *names):
        return f"goal.picked = {goal['picked']!r:.80}: is no point"
    beating = {name for point in front["points"] for name in point["beaten_by"].values()}
    if strangers := sorted(str(name) for name in beating if name not in (None, UNPRUNED, *names)):
        return f"beaten_by = {strangers[0]!r:.80}: is no network of the front"
    if odd := next((point["name"] for point in front["points"] if point["budget"]["value"] is None), None):
        return f"budget of {odd!r}: must have a value"
    for row in (front["unpruned"], *front["points"]):
        if front["metric"] not in row["accuracy"]:
            return f"accuracy.{front['metric']} is missing, by which points are compared"
        if (backend := front["backend"]) and not (backend in row["latency_ratio"] and backend in row["latency_ms"]):
            return f"latency of {backend!r:.80} is missing, by which points are compared"
    return None


class Front(TypedDict):
    """front.json: `metric` and `backend` are what points are compared by; no backend: by MACs."""

    format: int
    model: Name
    dataset: Name
    recipe: Text
    seed: int
    evaluated_on: Text
    metric: Literal["top1", "bbox_mAP"]
    backend: Name | None
    timing: Timing | None
    unpruned: Figures
    points: Annotated[list[Point], MinLen(1), MaxLen(MOST_POINTS)]
    goal: GoalFound | None
    versions: Versions
    device: Text


FrontFile = Annotated[Front, Rule(_front_fault)]


class Rival(Figures):
    """A network that another tool made of the same unpruned one, at the budget that a point was asked for."""

    rival: Name
    name: Folder
    note: NotRequired[Text]


class RivalsFile(TypedDict):
    """rivals.json; all latencies are shares of the same unpruned network's."""

    format: int
    points: list[Rival]
