"""What a plan may cost, as the user says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..plan import Range, UserError, brief
from ..plan.budget_kinds import BUDGETS, TOGETHER, BudgetKind

STEPS = Range(at_least=1, at_most=100, remedy="2 to 5 are usual")
"""In how many rounds a network can be pruned."""


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

    kind: str = "free"
    value: float | None = None
    also: tuple[Budget, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in BUDGETS:
            raise UserError(f"budget: kind = {brief(self.kind)} is unknown; choose one of {', '.join(BUDGETS)}")
        self._check_value()
        self._check_together()

    def _check_value(self) -> None:
        number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if not (number or self.value is None):
            raise self._refused("must be a number", "give one, for example 0.4")
        if (self.limits.cost is None) != (self.value is None):
            raise self._refused("only 'free' goes without a value", "give one, for example 0.4")
        if self.value is not None and not 0 < self.value < (1 if self.limits.ratio else float("inf")):
            ratio = self.limits.ratio
            rule = "must lie between 0 and 1" if ratio else "must be finite and above 0"
            raise self._refused(rule, f"give one, for example {0.4 if ratio else 5}")

    def _refused(self, rule: str, remedy: str) -> UserError:
        return UserError(rule, argument=self.kind, value=self.value, remedy=remedy)

    def _check_together(self) -> None:
        limits = [budget.limits for budget in self.all]
        for i, limit in enumerate(limits):
            if len(limits) > 1 and limit not in TOGETHER:
                other = limits[1 if i == 0 else 0]
                raise UserError(
                    f"{limit.name} and {other.name}: only costs go together "
                    f"({', '.join(kind.name for kind in TOGETHER)}); drop one"
                )
            if limit.cost in [before.cost for before in limits[:i]]:
                raise UserError(f"{limit.name}: given beside another limit of the same cost; drop one")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Budget:
        """What `to_json` gave."""
        return cls(value["kind"], value["value"], tuple(cls.from_json(other) for other in value.get("also", ())))

    @classmethod
    def of(cls, *budgets: Budget) -> Budget:
        """All of `budgets` at once; free when there is none."""
        first, *others = [limit for budget in budgets for limit in budget.all] or [cls()]
        return cls(first.kind, first.value, tuple(others))

    def part(self, share: float, *, unpruned_ms: float | None = None) -> Budget:
        """The limits at a `share` of the way from the whole network to these: where r of a cost is kept, r ** share.

        Args:
            share: above 0 and at most 1; 1 gives these limits.
            unpruned_ms: what the whole network takes, for limits in milliseconds.

        Example::

            Budget("macs_ratio", 0.25).part(0.5)  # Budget("macs_ratio", 0.5)
        """
        if share == 1:
            return self
        return Budget.of(*(Budget(each.kind, each._part(share, unpruned_ms)) for each in self.all))

    def _part(self, share: float, unpruned_ms: float | None) -> float | None:
        if self.value is None:
            return None
        if not self.limits.ratio:
            assert unpruned_ms is not None, "who limits milliseconds, has a latency table"
            return float(unpruned_ms * (self.value / unpruned_ms) ** share)
        return float(1 - (1 - self.value) ** share if self.limits.removes else self.value**share)

    def to_json(self) -> dict[str, Any]:
        """Plain values: {"kind", "value"}, and "also" where there are several."""
        own, *others = ({"kind": limit.kind, "value": limit.value} for limit in self.all)
        return {**own, "also": others} if others else own

    @property
    def limits(self) -> BudgetKind:
        """What the first limit is of."""
        return BUDGETS[self.kind]

    @property
    def all(self) -> tuple[Budget, ...]:
        """The limits, one by one."""
        own = Budget(self.kind, self.value) if self.also else self
        return (own, *(limit for other in self.also for limit in other.all))

    @property
    def latency(self) -> Budget | None:
        """The limit on the latency, if there is one."""
        return next((budget for budget in self.all if budget.limits.cost == "latency"), None)

    @property
    def said(self) -> str:
        """The first limit, for messages: its name and value."""
        return f"{self.kind} = {self.value:g}"
