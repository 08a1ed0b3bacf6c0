"""Latency tables in a run: checked before anything is written; selection is repeated until the device agrees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..measure import PlanTimer
from ..plan import UserError, WidthPlan, sha256
from ..pruning import Priced, plan_for
from ..spaces import Space
from .context import Context

TOLERANCE = 0.05
"""A prediction that misses the measured latency by more is corrected,"""
MOST_CORRECTIONS = 3
"""but not more often than this."""


def table_record(path: str | None, force: bool, found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Path and hash of --latency-table, as recipe.json records them; a run that goes on keeps its own.

    The same table is accepted from wherever it lies today.
    """
    old = found.get("latency_table")
    if path is None:
        return old
    if not Path(path).is_file():
        raise UserError(f"--latency-table {path}: no such file; make one with tools/profile_latency.py")
    digest = sha256(path)
    if old and (old["sha256"], old["forced"]) == (digest, force):
        return old
    return {"path": str(path), "sha256": digest, "forced": force}


def select_plan(c: Context, space: Space, scores: Mapping[str, Tensor]) -> WidthPlan:
    """The plan of the run's scores under its budget.

    Under a latency budget the selected network is measured, with random weights, in turn with the unpruned one. Where
    the prediction misses by more than 5 %, it is scaled to what was measured and the selection is repeated, at most
    three times; the plan's record has the path. Not measured: under a forced table, which may be another machine's.
    """
    size, priced = c.card(space).input_size, c.priced(space)

    def plan_with(priced: Priced | None) -> WidthPlan:
        return plan_for(space, scores, c.budget, c.recipe.select, input_size=size, priced=priced)

    if priced is None or c.budget.latency is None or (c.table or {})["forced"]:
        return plan_with(priced)
    plan = plan_with(priced)
    measure = c.recipe.measure
    with PlanTimer.open(space, size, threads=measure.threads, batch=measure.batch) as timer:
        return corrected(plan, plan_with, priced, timer.ratio, c.progress.note)


def corrected(
    plan: WidthPlan,
    plan_with: Callable[[Priced], WidthPlan],
    priced: Priced,
    measure: Callable[[Mapping[str, int]], float],
    note: Callable[[str], None],
) -> WidthPlan:
    """`plan`, which `plan_with(priced)` selected, or the last of its corrections; its record has their path.

    `measure` gives the latency ratio at widths {group: channels}. Raises UserError when a correction puts the budget
    out of reach.
    """
    path: list[dict[str, float]] = []
    while True:
        predicted, measured = plan.record["latency"]["ratio"], measure(plan.widths)
        path.append({"correction": priced.correction, "predicted": predicted, "measured": measured})
        note(f"latency ratio: predicted {predicted:.3f}, measured {measured:.3f}")
        if abs(measured / predicted - 1) <= TOLERANCE or len(path) > MOST_CORRECTIONS:
            return replace(plan, record={**plan.record, "latency": {**plan.record["latency"], "path": path}})
        priced = replace(priced, correction=priced.correction * measured / predicted)
        try:
            plan = plan_with(priced)
        except UserError as error:
            raise UserError(
                f"{error}; the latency table's predictions were multiplied by {priced.correction:.3f}, after "
                "measuring a selected network"
            ) from None
