"""Which of several networks are worth having, and which one a goal picks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..plan import Range

EQUAL = 1e-9
"""Points of accuracy that the digits of a difference may be off by."""


GoalKind = Literal["target_accuracy", "max_drop"]


@dataclass(frozen=True)
class Goal:
    """The accuracy that a pruned network must keep.

    `target_accuracy`: percent; `max_drop`: points below the unpruned network. Raises UserError for values out of range.

    Example::

        Goal("max_drop", 1).least(94.2)  # 93.2
    """

    kind: GoalKind
    value: float

    def __post_init__(self) -> None:
        accuracy = self.kind == "target_accuracy"
        remedy = "it is a percentage, such as 94" if accuracy else "it is points of accuracy, such as 1"
        Range(at_least=0, at_most=100, remedy=remedy).check(self.kind, self.value, whole=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Goal | None:
        """What `to_json` gave; None for None."""
        return None if value is None else cls(value["kind"], value["value"])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": self.kind, "value": self.value}

    def least(self, unpruned: float) -> float:
        """The lowest accuracy that keeps the goal, in percent, for an `unpruned` network of so much."""
        return self.value if self.kind == "target_accuracy" else unpruned - self.value


Figures = Mapping[str, tuple[float, float]]
"""Name -> (cost, accuracy) of a network."""


def beaten_by(networks: Figures) -> dict[str, str | None]:
    """For every network the best other one that costs no more and is no less accurate; None where there is none.

    Of two that are equal in both the first beats the other.

    Example::

        beaten_by({"a": (1.0, 90.0), "b": (2.0, 89.0), "c": (3.0, 91.0)})  # {"a": None, "b": "a", "c": None}
    """
    best_first = sorted(networks, key=lambda name: (networks[name][0], -networks[name][1]))
    found: dict[str, str | None] = {}
    best: str | None = None
    for name in best_first:
        found[name] = best if best is not None and networks[best][1] >= networks[name][1] else None
        best = name if found[name] is None else best
    return {name: found[name] for name in networks}


def picked(networks: Figures, least: float) -> str | None:
    """The cheapest network of at least the accuracy `least`, and of several the most accurate; None without one."""
    keeping = [name for name, (_, accuracy) in networks.items() if accuracy >= least - EQUAL]
    return min(keeping, key=lambda name: (networks[name][0], -networks[name][1]), default=None)
