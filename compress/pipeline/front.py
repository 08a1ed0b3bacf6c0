"""The front in one run: one search, a whole run under each of several budgets, and what is best at which accuracy."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..engine.hooks import Progress
from ..plan import Shard, UserError, check_figures, read_stored, write_json
from ..plan.front_file import COSTS, FORMAT, FRONT, UNPRUNED
from ..plan.result_files import LatencyFile
from ..plan.summary_file import SummaryFile
from ..pruning import Budget
from .folder import RunFolder
from .images import make_context
from .networks import NetworkContext
from .pareto import Goal, beaten_by, picked
from .points import PointsError, ordered, point_folder, run_points
from .recipe import Recipe
from .run import baseline_of, give_checkpoint, give_table
from .running import alone, start
from .working import first_alone, let_go

JUDGED_BY = ("top1", "bbox_mAP")
"""What an accuracy is: the first of these that the runs have."""
SHARED = ("model", "dataset", "recipe", "seed", "evaluated_on", "versions", "device")
"""What a front says of all its points is what the first one's summary says."""


@alone
def find_front(
    recipe: Recipe,
    work_dir: str | Path,
    *,
    progress: Progress,
    budgets: Sequence[Budget] = (),
    goal: Goal | None = None,
    latency_table: str | None = None,
    force_table: bool = False,
    checkpoint: str | None = None,
    ema: bool | None = None,
    trust: bool = False,
    search_from: str | None = None,
    resume: bool = False,
    launcher: str = "none",
    said: str | None = None,
    shard: Shard | None = None,
) -> RunFolder:
    """Search once and prune under each of `budgets`, in folders of `work_dir`; writes front.json and front.html.

    Every point is a run as `prune` makes them. Several jobs may share the points: the first to come searches, while
    the others wait, and each does its own points. A call without `shard`, with `resume`, then does what is left of
    them and writes the two files. Bad input: UserError, nothing written; PointsError, which says why, where a point
    cannot be made: the others are, and the two files are of those.

    Args:
        recipe: what is run.
        work_dir: the front's folder.
        progress: is told what goes on.
        budgets: of one kind each, and all of the same; none: the folder's own.
        goal: what the picked point must keep; None: the folder's own, or none. A finished front picks anew.
        latency_table: a file of `nncompress profile`, which latency budgets need; None: the search's, or the folder's
            own.
        force_table: take another device's table.
        checkpoint: the trained network; None: the folder's own.
        ema: of a checkpoint with both, take averaged weights (True) or plain ones; None: the folder's own, or averaged.
        trust: unpickle the checkpoint, which may run code.
        search_from: a run whose search is taken; None: the folder's own.
        resume: go on with the front in the folder.
        launcher: what started the processes.
        said: the recipe and its overrides as the command line has them, for the points' commands; None: its name.
        shard: which of several jobs this is, which goes on with what others have begun in the folder; None: the only
            one.

    Example::

        budgets = [Budget("macs_ratio", value) for value in (0.8, 0.5, 0.3)]
        with TerminalProgress() as progress:
            find_front(recipe, "runs/front", checkpoint="runs/base", budgets=budgets, progress=progress)
    """
    resume = resume or shard is not None
    found = RunFolder.recorded_as("front", work_dir) if resume else {}
    if not (budgets or found):
        raise UserError("--ratios: missing; give the budgets of the points, such as --ratios 0.8 0.5 or --macs-ratios")
    points = ordered(budgets or [Budget.from_json(value) for value in found["budgets"]])
    search_from = str(Path(search_from)) if search_from else found.get("search_from")
    context = make_context(
        recipe,
        progress,
        aim="front",
        budget=points[0],
        points=points,
        shard=shard,
        ema=ema,
        trust=trust,
        search_from=search_from,
        resume=resume,
        launcher=launcher,
    )
    record: dict[str, Any] = {"front": recipe.to_json()}
    checkpoint = checkpoint or baseline_of(search_from, found)
    give_checkpoint(context, record, checkpoint, found, loaded="load" in RunFolder(work_dir).stages)
    record["budgets"] = [budget.to_json() for budget in points]
    give_table(context, record, latency_table, found, force=force_table, place=f"--work-dir {work_dir}")
    record["search_from"] = search_from
    own = Goal.from_json(found["goal"]) if found else goal
    record["goal"] = own and own.to_json()
    tell = partial(_tell, context, goal or own, said or shlex.quote(recipe.name))
    try:
        folder = start(context, work_dir, record)
    except PointsError:
        tell()
        raise
    if shard is None:
        first_alone(tell)
    else:
        let_go(work_dir)  # from here on there are folders of points alone, each with a lock of its own
        run_points(context, {})
    return folder


def _tell(c: NetworkContext, goal: Goal | None, said: str) -> None:
    """The summaries of the points that there are -> front.json, front.html."""
    from ..report.front import write_front_report

    if not any(_is_made(c, budget) for budget in c.points):
        return
    front = _front(c, goal, said)
    check_figures(f"--work-dir {c.folder.path}", front, remedy="run the points again")
    write_json(c.folder / FRONT, front)
    write_front_report(c.folder.path)


def _is_made(c: NetworkContext, budget: Budget) -> bool:
    return (c.folder / point_folder(budget) / "summary.json").exists()


def _front(c: NetworkContext, goal: Goal | None, said: str) -> dict[str, Any]:
    """What front.json says."""
    folders = {point_folder(budget): budget for budget in c.points if _is_made(c, budget)}
    summaries = {name: read_stored(c.folder / name / "summary.json", SummaryFile) for name in folders}
    first = next(iter(summaries.values()))
    metric = next((name for name in JUDGED_BY if name in first), JUDGED_BY[0])
    for name, summary in summaries.items():
        _check_whole(c.folder / name / "summary.json", summary, (*SHARED, metric), first.get("latency_ms", {}))
    backend = _backend(first)
    before_ms = {
        name: statistics.median(summary["latency_ms"][name]["before"]["median"] for summary in summaries.values())
        for name in first.get("latency_ms", {})
    }
    unpruned = _figures(first, "before", before_ms)
    rows = {name: _figures(summary, "after", before_ms) for name, summary in summaries.items()}
    beaten = {cost: beaten_by(_compared({UNPRUNED: unpruned, **rows}, cost, metric, backend)) for cost in COSTS}
    points = [
        {
            "name": name,
            "budget": budget.to_json(),
            **rows[name],
            "beaten_by": {cost: found[name] for cost, found in beaten.items() if name in found},
            "command": _command(c, name, budget, said),
        }
        for name, budget in folders.items()
    ]
    asked = None
    if goal is not None:
        least = goal.least(unpruned["accuracy"][metric])
        cost = "macs" if backend is None else "latency"
        asked = {**goal.to_json(), "least": least, "picked": picked(_compared(rows, cost, metric, backend), least)}
    return {
        "format": FORMAT,
        **{key: first[key] for key in SHARED},
        "metric": metric,
        "backend": backend,
        "timing": _timing(c.folder / next(iter(folders)) / "latency.json"),
        "unpruned": unpruned,
        "points": points,
        "goal": asked,
    }


def _check_whole(source: Path, summary: Mapping[str, Any], keys: Iterable[str], backends: Iterable[str]) -> None:
    """UserError unless the `summary` of a point, in the file `source`, has the `keys` and latencies of the `backends`.

    Args:
        source: named in the message.
        summary: of the point.
        keys: what a front tells of it.
        backends: those that the first point was timed in.
    """
    lacks = [key for key in keys if summary.get(key) is None]
    for key in ("latency_ms", "latency_ratio"):
        lacks += [f"{key}.{name}" for name in backends if name not in summary.get(key, {})]
    if lacks:
        raise UserError(f"{source}: {lacks[0]} is missing; remove its folder, so that --resume makes the point again")


def _backend(summary: Mapping[str, Any]) -> str | None:
    """Whose latency points are compared by: the latency table's where it was timed, else that of the report."""
    from ..report.rows import main_backend

    priced = summary.get("prediction", {}).get("backend")
    return priced if priced in summary.get("latency_ms", {}) else main_backend(dict(summary))


def _figures(summary: Mapping[str, Any], side: str, before_ms: Mapping[str, float]) -> dict[str, Any]:
    """One network's figures: latency as the ratio that its own run has measured in turn, in the same milliseconds."""
    ratio = {name: 1.0 if side == "before" else summary["latency_ratio"][name] for name in before_ms}
    return {
        "accuracy": {name: summary[name][side] for name in JUDGED_BY if name in summary},
        "params": summary["params"][side],
        "macs": summary["macs"][side],
        "latency_ratio": ratio,
        "latency_ms": {name: before_ms[name] * share for name, share in ratio.items()},
    }


def _compared(
    rows: Mapping[str, dict[str, Any]], cost: str, metric: str, backend: str | None
) -> dict[str, tuple[float, float]]:
    """Name -> (cost, accuracy); empty for the latency where none was measured."""
    if cost == "latency":
        if backend is None:
            return {}
        return {name: (row["latency_ratio"][backend], row["accuracy"][metric]) for name, row in rows.items()}
    return {name: (row[cost], row["accuracy"][metric]) for name, row in rows.items()}


def _timing(file: Path) -> dict[str, Any] | None:
    """How latencies were measured; None where they were not."""
    if not file.exists():
        return None
    found = read_stored(file, LatencyFile)
    return {key: found[key] for key in ("threads", "batch")}


def _command(c: NetworkContext, name: str, budget: Budget, said: str) -> str:
    """The command that makes a point's run."""
    folder = str(c.folder.path)
    parts = ["--checkpoint", str(c.folder / "baseline"), "--search-from", folder]
    if c.table is not None and c.table.priced:
        parts += ["--latency-table", c.table.path, *(["--force-latency-table"] if c.table.forced else [])]
    parts += [budget.limits.flag, repr(budget.value), "--work-dir", str(c.folder / name)]
    return f"nncompress prune {said} {shlex.join(parts)}"
