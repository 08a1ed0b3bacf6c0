"""Pruning in rounds: all but the last are runs in folders of their own, each on the network that the one before left.

Every round has the same baseline, and its plan, budget and costs are of that network. So the last round is the run
itself, whose files say what became of the unpruned network, as those of a run of one round do.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.tuning import short
from ..plan import UserError, WidthPlan
from ..plan.run_files import METRICS
from ..pruning import STEPS
from ..spaces import load_space
from .folder import RunFolder
from .nested import nested, run_nested
from .recipe import Recipe
from .stage import Figures, Stage
from .stages import BASELINE, MODEL, PLAN, PRUNING
from .tables import KEY

if TYPE_CHECKING:
    from .networks import NetworkContext


def round_folder(work_dir: str | Path, number: int) -> Path | None:
    """The folder of a round before the last; None for round 0: what is pruned first is the run's baseline."""
    return Path(work_dir) / f"step{number}" if number else None


def in_rounds(steps: int) -> tuple[Stage[NetworkContext], ...]:
    """The stages that prune a network in `steps` rounds."""
    load, search, *rest = PRUNING
    if steps == 1:
        return PRUNING
    left = tuple(f"{round_folder('', steps - 1)}/{name}" for name in (MODEL, PLAN))
    rounds = Stage("steps", run_rounds, (BASELINE,), left, parallel=True)
    return (load, rounds, replace(search, reads=left), *rest)


def settled_steps(given: int | None, found: dict[str, Any], recipe: Recipe, work_dir: str | Path) -> int:
    """How many rounds a run has: those `given`, of the run in the folder whose record was `found`, or one.

    Raises UserError for a number out of range or another than that run has, and for a search that reads a latency
    table, which is of one network.
    """
    begun = int(found.get("steps", 1))
    steps = begun if given is None else given
    STEPS.check("--steps", steps, whole=True)
    if found and steps != begun:
        raise UserError(f"--steps {steps}: the run in {work_dir} has {begun}; leave it away, or give a new folder")
    if steps > 1 and (table := recipe.search.latency_table) is not None:
        raise UserError(
            f"--steps {steps}: {KEY} = {table!r} is of the unpruned network, and every round searches a smaller one; "
            "leave one of them away"
        )
    return steps


def run_rounds(c: NetworkContext, figures: Figures) -> None:
    """baseline -> step1, step2, ...: runs without export, measurement and report; what each of them left."""
    left = []
    for number in range(1, c.steps):
        context = _round(c, number)
        limits = ", ".join(f"{each.limits.flag} {each.value:.4g}" for each in context.budget.all if each.value)
        c.progress.note(f"round {number} of {c.steps}: {limits or 'scores at zero go'}")
        left.append(_left(run_nested(context, c.folder / f"step{number}")))
    figures["rounds"] = left


def _round(c: NetworkContext, number: int) -> NetworkContext:
    """The context of round `number`, which is not the last of `c`."""
    return nested(
        c,
        aim="round",
        recipe=replace(c.recipe, finetune=short(c.recipe.finetune)),
        search_from=c.search_from if number == 1 else None,
        before=round_folder(c.folder.path, number - 1),
        budget=c.budget.part(number / c.steps, unpruned_ms=_unpruned_ms(c)),
    )


def _unpruned_ms(c: NetworkContext) -> float | None:
    """What the unpruned network takes by the latency table, where there is one."""
    priced = c.priced(load_space(c.folder / "baseline"))
    return None if priced is None else priced.table.unpruned_ms


def _left(folder: RunFolder) -> Figures:
    """Costs and figures of the network that a round left."""
    costs, tuned = WidthPlan.load(folder / PLAN).record, folder.stages["finetune"]
    return {
        **{name: costs[name]["after"] for name in ("params", "macs")},
        **{name: tuned[name] for name in METRICS if name in tuned},
    }
