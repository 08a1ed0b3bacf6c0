"""summary.json: the run in numbers, with stable keys (docs/formats.md)."""

from __future__ import annotations

from typing import Any

from ..measure import device_name, versions
from ..plan import UserError, WidthPlan, read_stored, write_json
from ..plan.result_files import LatencyFile, ParityFile
from ..plan.run_files import METRICS
from .folder import STAGES, RunFolder
from .recipe import Recipe

RECORD = ("params", "macs", "budget", "pruned_ratio")
"""What the summary takes from the plan's record."""


NEEDED = ("load", "search", "slice", "finetune", "export", "measure")
"""Stages whose figures it has."""


def write_summary(folder: RunFolder, recipe: Recipe, data: Any) -> dict[str, Any]:
    """Gather the run's files into summary.json and return it."""
    stages = folder.stages
    plan = WidthPlan.load(folder / "plan.json")
    if absent := [key for key in RECORD if key not in plan.record]:
        raise UserError(f"{folder / 'plan.json'}: {absent[0]} is missing; run the select stage again")
    if missing := [name for name in NEEDED if name not in stages]:
        raise UserError(f"{folder / STAGES}: {missing[0]} is missing; run that stage again")
    # Runs of networks that are not exported leave these two stages out.
    parity = None if "left_out" in stages["export"] else read_stored(folder / "parity.json", ParityFile)
    timed = "left_out" not in stages["measure"]
    latency = read_stored(folder / "latency.json", LatencyFile) if timed else {"backends": {}}
    distill = recipe.finetune.distill
    summary = {
        "format": 1,
        "model": plan.space,
        "recipe": recipe.name,
        "dataset": data.name,
        "params": plan.record["params"],
        "macs": plan.record["macs"],
        **_metrics(stages),
        "latency_ms": {
            name: {side: backend[side] for side in ("before", "after")} for name, backend in latency["backends"].items()
        },
        "latency_ratio": {name: backend["ratio"]["median"] for name, backend in latency["backends"].items()},
        **_predicted(plan.record.get("latency")),
        "parity_max_abs_diff": parity
        and {"before": parity["baseline"]["max_abs_diff"], "after": parity["model"]["max_abs_diff"]},
        "seconds": {name: stage["seconds"] for name, stage in stages.items()},
        "seed": recipe.seed,
        "search": {"method": stages["search"]["info"].pop("type"), **stages["search"]["info"]},
        "distill": {"temperature": distill.temperature, "weight": distill.weight} if distill else None,
        "budget": plan.record["budget"],
        "pruned_ratio": plan.record["pruned_ratio"],
        "evaluated_on": data.evaluated_on,
        "versions": versions(),
        "device": device_name(),
    }
    write_json(folder / "summary.json", summary)
    return summary


def _metrics(stages: dict[str, Any]) -> dict[str, Any]:
    """{metric: before and after}, {metric_stages: in between}, for every metric that the stages recorded."""
    figures: dict[str, Any] = {}
    for name in METRICS:
        if name in stages["load"]:
            figures[name] = {"before": stages["load"][name], "after": stages["finetune"][name]}
            figures[f"{name}_stages"] = {"searched": stages["search"][name], "sliced": stages["slice"][name]}
    return figures


def _predicted(latency: dict[str, Any] | None) -> dict[str, Any]:
    """What the plan's latency table predicted, and its error on networks that it has not seen; else nothing."""
    if not latency or latency["ratio"] is None:
        return {}
    shown = ("backend", "device", "ratio", "correction", "residual", "path")
    return {
        "predicted_latency_ms": {"before": latency["unpruned_ms"], "after": latency["ms"]},
        "prediction": {key: latency[key] for key in shown if key in latency},
    }
