"""Selection under a latency budget: repeated until the device agrees with what the table predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from ..costs import LatencyTable
from ..costs.stairs import chosen_stairs
from ..measure import PlanTimer
from ..plan import UserError, WidthPlan, speaking
from ..plan.budget_kinds import FLAGS
from ..pruning import Priced, plan_for
from ..spaces import Space
from .latency_kit import limit_of, select_by_kit
from .rounding import select_config, tell_finer

if TYPE_CHECKING:
    from .networks import NetworkContext

TOLERANCE = 0.03
"""A prediction that misses the measured latency by more is corrected: two sessions of a network differ by up to 2 %,"""
MOST_CORRECTIONS = 3
"""but not more often than this."""


def select_plan(
    c: NetworkContext,
    space: Space,
    scores: Mapping[str, Tensor],
    present: Mapping[str, Sequence[int]] | None = None,
    harms: Mapping[str, Sequence[float]] | None = None,
) -> WidthPlan:
    """The plan of the run's scores under its budget; `present` and `harms` are what `plan_for` takes.

    Under a latency budget the selected network is measured, with random weights, in turn with the unpruned one. Where
    the prediction misses by more than 3 %, it is scaled to what was measured and the selection is repeated, at most
    three times; the plan's record has the path. Not measured: under a forced table, which may be another machine's,
    unless with --latency-kit, where that machine measures. Where the budget or the search used a latency table,
    the record also says where the plan lies on its stairs.
    """
    priced = c.priced(space)
    choose = partial(
        plan_for, space, scores, c.budget, input_size=c.card(space).input_size, present=present, harms=harms
    )
    plan = _selected(c, space, choose, priced)
    table = priced.table if priced else _searched_with(c, space)
    if table is None:
        return plan
    return replace(plan, record={**plan.record, "stairs": chosen_stairs(table, plan.widths)})


def _selected(c: NetworkContext, space: Space, choose: Callable[..., WidthPlan], priced: Priced | None) -> WidthPlan:
    config = select_config(c, space, c.budget, priced)
    tell_finer(c, space, config)

    def plan_with(priced: Priced | None) -> WidthPlan:
        with speaking(FLAGS):
            return choose(config, priced=priced)

    plan = plan_with(priced)
    if priced is None or c.budget.latency is None:
        return plan
    if c.latency_kit is not None:
        return select_by_kit(c, space, plan_with, priced)
    if c.table is not None and c.table.forced:
        return plan
    size, measure = c.card(space).input_size, c.recipe.measure
    backend = priced.table.key["backend"]
    with PlanTimer.open(space, size, threads=measure.threads, batch=measure.batch, backend=backend) as timer:
        return corrected(plan, plan_with, priced, timer.ratio, c.progress.note)


def _searched_with(c: NetworkContext, space: Space) -> LatencyTable | None:
    """The latency table that the search alone used; None without one, and, with a note, where it is gone since."""
    if c.table is None:
        return None
    try:
        return c.table.load(space, c.card(space).input_size)
    except UserError as error:
        c.progress.note(f"the report will not show the latency table's stairs: {error}")
        return None


def corrected(
    plan: WidthPlan,
    plan_with: Callable[[Priced], WidthPlan],
    priced: Priced,
    measure: Callable[[Mapping[str, int]], float],
    note: Callable[[str], None],
) -> WidthPlan:
    """`plan`, which `plan_with(priced)` selected, or one of its corrections; its record has the path of them all.

    The first plan whose prediction holds is taken. Where none does, or a correction puts the budget out of reach, it is
    the one whose measured latency meets the budget most closely from below, or, where none meets it after the last
    correction, the closest one. `measure` gives the latency ratio at widths {group: channels}. Raises UserError when a
    correction puts the budget out of reach and no plan before it was measured within the budget.
    """
    limit = limit_of(plan)
    tried: list[tuple[WidthPlan, dict[str, float]]] = []
    while True:
        predicted, measured = plan.record["latency"]["ratio"], measure(plan.widths)
        tried.append((plan, {"correction": priced.correction, "predicted": predicted, "measured": measured}))
        note(f"latency ratio: predicted {predicted:.3f}, measured {measured:.3f}")
        if abs(measured / predicted - 1) <= TOLERANCE:
            kept = tried[-1]
            break
        kept = min(tried, key=lambda one: (one[1]["measured"] > limit, abs(one[1]["measured"] - limit)))
        if len(tried) > MOST_CORRECTIONS:
            break
        priced = replace(priced, correction=priced.correction * measured / predicted)
        try:
            plan = plan_with(priced)
        except UserError as error:
            if kept[1]["measured"] <= limit:
                break
            raise UserError(
                f"{error}; the latency table's predictions were multiplied by {priced.correction:.3f}, after "
                "measuring a selected network"
            ) from None
    if kept is not tried[-1]:
        note(f"kept: the selection that measured {kept[1]['measured']:.3f}, closest to the budget of {limit:.3f}")
    plan, path = kept[0], [step for _, step in tried]
    return replace(plan, record={**plan.record, "latency": {**plan.record["latency"], "path": path}})
