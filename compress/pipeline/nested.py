"""Runs inside another run's folder, on its baseline: rounds of one run, and the points of a front."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import checkpoint_record
from .folder import RunFolder
from .running import start
from .tables import record_table
from .working import sole_worker

if TYPE_CHECKING:
    from .networks import NetworkContext


def nested(c: NetworkContext, **changes: Any) -> NetworkContext:
    """The context of a run of one round within `c`, from its baseline, with `changes`. What `c` has read is shared."""
    context = copy(c)
    vars(context).pop("baseline", None)  # another file holds it
    block = c.folder.stages.get("load", {}).get("round_to", c.block)
    alone = {
        "steps": 1,
        "trust": False,
        "ema": None,
        "averaged": None,
        "shard": None,
        "checkpoint": str(c.folder / "baseline"),
        "block": block,
    }
    for name, value in {**alone, **changes}.items():
        setattr(context, name, value)
    return context


def run_nested(context: NetworkContext, folder: Path) -> RunFolder:
    """Start or go on with the run of `context` in `folder`."""
    with sole_worker(folder):
        return start(context, folder, _record(context, RunFolder.recorded(folder) or {}))


def _record(context: NetworkContext, found: dict[str, Any]) -> dict[str, Any]:
    """What identifies a nested run; `found` is what its folder has recorded, {} for a new one."""
    record: dict[str, Any] = {
        "recipe": context.recipe.to_json(),
        "checkpoint": checkpoint_record(context.checkpoint, found, loaded=False),
        "budget": context.budget.to_json(),
    }
    record_table(record, context.table, found)
    record["search_from"] = found.get("search_from", context.search_from)  # the outer folder may have moved
    if context.before is not None:
        before = {"checkpoint": found["before"]} if "before" in found else {}
        record["before"] = checkpoint_record(str(context.before), before, loaded=False)
    return record
