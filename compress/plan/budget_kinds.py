"""The kinds of budgets, one object each: what flags, records, selection and reports know of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cost = Literal["channels", "macs", "params", "latency"]


@dataclass(frozen=True)
class BudgetKind:
    """A way to say what a plan may cost.

    Args:
        name: as plans and recipe.json have it.
        cost: what is limited; None: nothing.
        words: in reports, before the value and its unit.
        unit: after the value.
        ratio: the value is a share of the unpruned network's cost; else an amount.
        removes: it is the share that goes, not the one that stays.
        help: of the command line's flag.
    """

    name: str
    cost: Cost | None
    words: str
    unit: str = ""
    ratio: bool = True
    removes: bool = False
    help: str = ""

    @property
    def flag(self) -> str:
        """The command line's: `--macs-ratio`."""
        return "--" + self.name.replace("_", "-")

    @property
    def metavar(self) -> str:
        """What stands for the value in --help."""
        return "R" if self.ratio else "T"


BUDGETS = {
    kind.name: kind
    for kind in (
        BudgetKind("free", None, "free ratio (scores at exactly zero go)"),
        BudgetKind(
            "pruning_ratio", "channels", "pruning ratio", removes=True, help="share of scored channels to remove"
        ),
        BudgetKind("macs_ratio", "macs", "MACs ratio", help="share of MACs to keep"),
        BudgetKind("params_ratio", "params", "parameter ratio", help="share of parameters to keep"),
        BudgetKind("latency_ratio", "latency", "latency ratio", help="share of the latency to keep"),
        BudgetKind("latency_ms", "latency", "latency", unit="ms", ratio=False, help="milliseconds of one call"),
    )
}
"""Name -> kind. What a cost is, `pruning.limits` says by its name."""

FLAGS = {kind.name: kind.flag for kind in BUDGETS.values() if kind.cost is not None}
"""What the command line calls a budget, for messages of those who do not know what it was given by."""

TOGETHER = tuple(kind for kind in BUDGETS.values() if kind.cost not in (None, "channels"))
"""Several of these can hold at once, one of each cost."""
