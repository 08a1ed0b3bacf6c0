"""What a front comes to, in words, for its page and the terminal."""

from __future__ import annotations

from typing import Any

from ..plan.front_file import UNPRUNED, Cost
from . import rows, wording


def main_cost(front: dict[str, Any]) -> Cost:
    """What points are compared by: the latency, or MACs where it was not measured."""
    return "macs" if front["backend"] is None else "latency"


def asked(point: dict[str, Any]) -> str:
    """What a point was asked for: 'latency ratio 0.65'."""
    return wording.budget(point["budget"])


def named(front: dict[str, Any], name: str) -> str:
    """The network `name` of the front in words."""
    return name if name == UNPRUNED else next(asked(point) for point in front["points"] if point["name"] == name)


def accuracy(front: dict[str, Any], row: dict[str, Any]) -> float:
    """What `row` is judged by, in percent."""
    return float(row["accuracy"][front["metric"]])


def drop(front: dict[str, Any], row: dict[str, Any]) -> str:
    """The change of accuracy against the unpruned network."""
    return wording.points(accuracy(front, row) - accuracy(front, front["unpruned"]))


def gain(front: dict[str, Any], row: dict[str, Any]) -> str:
    """'1.54 times faster in ONNX Runtime', or 'fewer MACs' where no latency was measured."""
    backend = front["backend"]
    if backend is None:
        told = wording.times(row["macs"] / max(front["unpruned"]["macs"], 1), less="fewer MACs", more="more MACs")
        return "MACs unchanged" if told == "unchanged" else told
    told = wording.times(row["latency_ratio"][backend], less="faster", more="slower")
    return f"{'latency unchanged' if told == 'unchanged' else told} in {wording.backend(backend)}"


def picked(front: dict[str, Any]) -> dict[str, Any] | None:
    """The point that the goal picks; None without a goal, or where no point keeps it."""
    name = (front["goal"] or {}).get("picked")
    return next((point for point in front["points"] if point["name"] == name), None)


def verdict(front: dict[str, Any]) -> str:
    """In a sentence or two what the goal picks, that nothing keeps it, or, without a goal, how far the points reach."""
    goal, metric = front["goal"], rows.SHORT[front["metric"]]
    if goal is None:
        levels = [accuracy(front, point) for point in front["points"]]
        low, high = (wording.percent(level) for level in (min(levels), max(levels)))
        reach = f"{metric} {low}" if low == high else f"{metric} {low} to {high}"
        count = len(front["points"])
        whole = wording.percent(accuracy(front, front["unpruned"]))
        return f"{count} point{'' if count == 1 else 's'} of one search: {reach}, unpruned {whole}."
    least = wording.percent(goal["least"])
    wish = f"at least {least} {metric}"
    if goal["kind"] == "max_drop":
        wish += f" (at most {goal['value']:g} point{'' if goal['value'] == 1 else 's'} below the unpruned network)"
    point = picked(front)
    if point is not None:
        fastest = "The point of fewest MACs" if front["backend"] is None else "The fastest point"
        level = wording.percent(accuracy(front, point))
        return f"{fastest} with {wish}: {asked(point)}, {gain(front, point)}, at {level}."
    best = max(front["points"], key=lambda each: accuracy(front, each))
    told = f"No point keeps {wish}: the best, {asked(best)}, has {wording.percent(accuracy(front, best))}."
    unpruned = accuracy(front, front["unpruned"])
    if unpruned < goal["least"]:
        return f"{told} Nor does the unpruned network, which has {wording.percent(unpruned)}."
    return f"{told} Give a larger budget, longer fine-tuning, or another goal."


def flattered(front: dict[str, Any]) -> str | None:
    """That the images which pick the point also judge it; None where others do, or none was picked."""
    if picked(front) is None or set_aside(front):
        return None
    return (
        f"The point was picked by the same {front['evaluated_on']} images that its accuracy is told of, which "
        "flatters it. With data.holdout=0.1 training images that are set aside pick, and the test images can judge."
    )


def set_aside(front: dict[str, Any]) -> bool:
    """Whether training images that were set aside judge the points."""
    return bool(front["evaluated_on"] == "holdout")


def judged(front: dict[str, Any]) -> str:
    """By which images accuracies are, in a sentence."""
    metric = rows.ACCURACIES[front["metric"]]
    if not set_aside(front):
        return f"{metric} on the {front['evaluated_on']} images of {front['dataset']}."
    text = f"{metric} on training images of {front['dataset']} that were set aside."
    point = picked(front)
    if point is None:
        return text
    return (
        f"{text} Judge the picked point by the test images, once: "
        f"nncompress evaluate {point['name']} --cfg-options data.holdout=0 in this folder."
    )


def standing(front: dict[str, Any], point: dict[str, Any]) -> str:
    """Whether a point is on the front, and by whom it is beaten."""
    other = point["beaten_by"].get(main_cost(front))
    if other is None:
        return "on the front"
    return f"beaten by {named(front, other)}"
