"""One budget of channels, MACs or parameters: by a threshold, or by a knapsack where widths are rounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..costs import params, params_of
from ..plan import UserError
from ..plan.budget_kinds import Cost
from ..spaces import Operator, never_gone
from .budget import Budget
from .knapsack import Limit, Prices, best_widths
from .limits import COUNTED
from .ranking import Ranking, Widths
from .threshold import above_threshold


def under_one(budget: Budget, ranking: Ranking, operators: Sequence[Operator]) -> Widths:
    """The widths that keep the most within one budget of channels, MACs or parameters.

    Without rounding those above a threshold: for channels they hold the most that can be held, and for MACs and
    parameters every channel competes with every other one, whatever it costs. With `round_to` above 1 or another
    `gain`, or where blocks may go whole, the widths of the knapsack, unless those above the threshold hold as much: the
    level at which whole steps of `round_to` channels go says little about their worth, so that a larger budget could
    hold less.

    Raises UserError, with the reachable range, for a budget below the cost of the smallest allowed widths.
    """
    counted = Counted.of(budget.limits.cost, ranking, operators)
    limit = reachable_limit(budget, ranking, counted)
    staying, config = ranking.keeping_blocks(), ranking.config
    above = above_threshold(staying, counted.total, limit) if counted.total(staying.smallest) <= limit else None
    if above is not None and config.round_to == 1 and config.gain == "sum" and not ranking.blocks:
        return above
    # Costs are whole numbers: the half keeps rounding away from the limit.
    most = Limit(budget.said, counted.prices, math.floor(limit) + 0.5)
    gains = ranking.gains(counted.each(ranking))
    return best_widths(gains, counted.operators, [most], ranking.allowed, known=above, blocks=ranking.blocks)


@dataclass(frozen=True)
class Counted:
    """A cost that is a whole number: of a network by its widths, and of each operator.

    `without(group, widths)`: of the network without the group's channels, all else in their block still there.
    """

    operators: Sequence[Operator]
    total: Callable[[Widths], int]
    prices: Prices
    without: Callable[[str, Widths], int]

    @classmethod
    def of(cls, kind: Cost | None, ranking: Ranking, operators: Sequence[Operator]) -> Counted:
        """The cost of this kind, of the groups of `ranking`; a KeyError for one that is not counted."""
        if kind == "channels":
            operators = [Operator(name, "channels", 1, name, macs=0, weights=1) for name in ranking.sizes]
            cost, cost_of = params, params_of
        else:
            cost, cost_of = COUNTED[kind]
        return cls(
            operators,
            lambda widths: cost(operators, widths),
            lambda op, n_in, n_out: cost_of(op, np.array(n_in, dtype=float)[:, None], np.array(n_out, dtype=float)),
            lambda name, widths: cost([never_gone(op) for op in operators], {**widths, name: 0}),
        )

    def each(self, ranking: Ranking) -> dict[str, float]:
        """{group: what one of its channels costs}, on average, while the other groups have all theirs.

        What goes with a whole block alone is no channel's.
        """
        full = self.total(ranking.sizes)
        return {name: (full - self.without(name, ranking.sizes)) / n for name, n in ranking.sizes.items()}


def reachable_limit(budget: Budget, ranking: Ranking, counted: Counted) -> float:
    """The largest cost that `budget` allows."""
    assert budget.value is not None, "a free budget has no limit"
    full, smallest = counted.total(ranking.sizes), counted.total(ranking.smallest)
    share = 1 - budget.value if budget.limits.removes else budget.value
    limit = share * full + 1e-9 * full
    if smallest <= limit:
        return limit
    # Rounded into the range, so that the ends themselves can be chosen.
    least, most = math.ceil(1e4 * smallest / full) / 1e4, 1.0
    if budget.limits.removes:
        least, most = 0.0, math.floor(1e4 * (1 - smallest / full)) / 1e4
    raise UserError(
        f"out of reach; with this floor and rounding the reachable range is {least:.4f} to {most:.4f}",
        argument=budget.kind,
        value=budget.value,
        remedy=f"choose a value inside it, or lower {'select.floor or ' * (not ranking.blocks)}select.round_to",
    )
