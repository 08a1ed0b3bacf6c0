"""The points of a front: runs under several budgets, each in a folder of its own, which take one run's search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from mmengine.dist import get_world_size

from ..plan import Shard, UserError
from ..plan.run_files import MOST_POINTS
from ..pruning import Budget
from .harms import HARMS, keep_harms
from .nested import nested, run_nested
from .stage import Figures, Stage
from .stages import BASELINE, PRUNING, SCORES, SEARCHED_NETWORK

if TYPE_CHECKING:
    from .networks import NetworkContext

POINTS = "points"
OF_A_POINT = ("select", "slice", "finetune", "export", "measure", "report")
"""Stages of each point's run beside those whose results it takes."""


class PointsError(UserError):
    """Some points could not be made; all others have been."""


def point_folder(budget: Budget) -> str:
    """The name of the run under `budget` in the front's folder: macs_ratio_0.5."""
    return f"{budget.kind}_{budget.value!r}"


def in_points(
    budgets: Sequence[Budget], shard: Shard | None, *, measured: bool = False
) -> tuple[Stage[NetworkContext], ...]:
    """The stages of a front: those of one search, with its harms where they are `measured`, and a run for each of
    `budgets`.

    One job of several has those of the search alone: the points are done when all jobs have done theirs.
    """
    load, search, *_ = PRUNING
    searched = (BASELINE, SCORES, SEARCHED_NETWORK)
    shared = (load, search, *([Stage("harms", keep_harms, searched, (HARMS,))] if measured else []))
    if shard is not None:
        return shared
    left = tuple(f"{point_folder(budget)}/summary.json" for budget in budgets)
    return (*shared, Stage(POINTS, run_points, searched, left, parallel=True))


def ordered(budgets: Sequence[Budget]) -> tuple[Budget, ...]:
    """`budgets`, of one kind each, from the one that keeps most to the one that keeps least.

    Raises UserError where two are the same, and for too many.
    """
    if len(budgets) > MOST_POINTS:
        raise UserError(f"{budgets[0].kind}: {len(budgets)} values; a front has at most {MOST_POINTS}; give fewer")
    found = sorted(budgets, key=lambda budget: budget.value or 0.0, reverse=not budgets[0].limits.removes)
    for one, other in pairwise(found):
        if one == other:
            raise UserError("given twice", argument=one.kind, value=one.value, remedy="give every value once")
    return tuple(found)


def run_points(c: NetworkContext, figures: Figures) -> None:
    """baseline, scores and searched -> a folder for each budget, with a whole run; of a job's own budgets.

    A point that cannot be made keeps no other from being made (of several processes one alone may have failed: then all
    stop). Raises PointsError in the end.
    """
    mine = c.points if c.shard is None else c.shard.mine(c.points)
    failed: list[str] = []
    for budget in mine:
        name = point_folder(budget)
        c.progress.note(f"point {c.points.index(budget) + 1} of {len(c.points)}: {name}")
        own = nested(c, aim="prune", budget=budget, points=(), search_from=str(c.folder.path))
        try:
            run_nested(own, c.folder / name)
        except UserError as error:
            if get_world_size() > 1:
                raise
            failed.append(f"{name}: {error}")
            c.progress.note(f"left out: {failed[-1]}")
    if failed:
        others = f"; made: {len(mine) - len(failed)} of {len(mine)} points"
        raise PointsError("; ".join(failed) + others)
    figures[POINTS] = [point_folder(budget) for budget in mine]
