"""What a plan may cost, as the user says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..plan import UserError

BudgetKind = Literal["free", "pruning_ratio", "macs_ratio", "params_ratio", "latency_ratio", "latency_ms"]
COSTS = ("macs_ratio", "params_ratio", "latency_ratio", "latency_ms")
"""Kinds that limit what the network costs; several of them can hold at once."""
LATENCIES = ("latency_ratio", "latency_ms")


@dataclass(frozen=True)
class Budget:
    """One limit, or several costs at once.

    `pruning_ratio`: share of scored channels to remove. `macs_ratio`, `params_ratio`, `latency_ratio`: share of the
    whole network's cost to keep; `latency_ms`: milliseconds at the speed of the latency table. `free`: remove exactly
    the channels whose score is zero, but for those that the floor and the rounding keep (value None). `also`: further
    costs. Raises UserError for values out of range and for kinds that do not go together.

    Example::

        Budget("latency_ratio", 0.5, also=(Budget("params_ratio", 0.6),))
    """

    kind: BudgetKind = "free"
    value: float | None = None
    also: tuple[Budget, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(BudgetKind):
            raise UserError(f"budget: kind = {self.kind!r} is unknown; choose one of {', '.join(get_args(BudgetKind))}")
        number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if not (number or self.value is None):
            raise UserError(f"{self.argument} {self.value!r}: must be a number; give one, for example 0.4")
        if (self.kind == "free") != (self.value is None):
            raise UserError(f"budget {self.kind} = {self.value}: only 'free' goes without a value")
        if self.value is not None and self.kind == "latency_ms" and not 0 < self.value < float("inf"):
            raise UserError(f"{self.argument} {self.value:g}: must be finite and above 0, for example 5")
        if self.value is not None and self.kind != "latency_ms" and not 0 < self.value < 1:
            raise UserError(f"{self.argument} {self.value:g}: must lie between 0 and 1, for example 0.4")
        kinds = [budget.kind for budget in self.all]
        for i, kind in enumerate(kinds):
            if len(kinds) > 1 and kind not in COSTS:
                other = self.all[1 if i == 0 else 0]
                raise UserError(
                    f"{self.all[i].argument} and {other.argument}: only costs go together "
                    f"({', '.join('--' + name.replace('_', '-') for name in COSTS)}); drop one"
                )
            if kind in kinds[:i] or (kind in LATENCIES and set(kinds[:i]) & set(LATENCIES)):
                raise UserError(f"{self.all[i].argument}: given beside another limit of the same cost; drop one")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Budget:
        """What `to_json` gave."""
        return cls(value["kind"], value["value"], tuple(cls.from_json(other) for other in value.get("also", ())))

    @classmethod
    def of(cls, *budgets: Budget) -> Budget:
        """All of `budgets` at once; free when there is none."""
        first, *others = [limit for budget in budgets for limit in budget.all] or [cls()]
        return cls(first.kind, first.value, tuple(others))

    def to_json(self) -> dict[str, Any]:
        """Plain values: {"kind", "value"}, and "also" where there are several."""
        own, *others = ({"kind": limit.kind, "value": limit.value} for limit in self.all)
        return {**own, "also": others} if others else own

    @property
    def all(self) -> tuple[Budget, ...]:
        """The limits, one by one."""
        own = Budget(self.kind, self.value) if self.also else self
        return (own, *(limit for other in self.also for limit in other.all))

    @property
    def latency(self) -> Budget | None:
        """The limit on the latency, if there is one."""
        return next((budget for budget in self.all if budget.kind in LATENCIES), None)

    @property
    def argument(self) -> str:
        """The command-line argument that sets this budget (the first one's)."""
        return "--" + self.kind.replace("_", "-")
