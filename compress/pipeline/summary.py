"""summary.json: the run in numbers, with stable keys (docs/formats.md)."""

from __future__ import annotations

from typing import Any

from ..engine.data import ImageData
from ..measure import device_name, versions
from ..plan import WidthPlan, read_json, write_json
from .folder import RunFolder
from .recipe import Recipe


def write_summary(folder: RunFolder, recipe: Recipe, data: ImageData) -> dict[str, Any]:
    """Gather the run's files into summary.json and return it."""
    stages = folder.stages
    plan = WidthPlan.load(folder / "plan.json")
    parity = read_json(folder / "parity.json")
    latency = read_json(folder / "latency.json")
    distill = recipe.finetune.distill
    summary = {
        "format": 1,
        "model": plan.space,
        "recipe": recipe.name,
        "dataset": data.name,
        "params": plan.record["params"],
        "macs": plan.record["macs"],
        "top1": {"before": stages["load"]["top1"], "after": stages["finetune"]["top1"]},
        "top1_stages": {"searched": stages["search"]["top1"], "sliced": stages["slice"]["top1"]},
        "latency_ms": {
            name: {side: backend[side] for side in ("before", "after")} for name, backend in latency["backends"].items()
        },
        "latency_ratio": {name: backend["ratio"]["median"] for name, backend in latency["backends"].items()},
        **_predicted(plan.record.get("latency")),
        "parity_max_abs_diff": {
            "before": parity["baseline"]["max_abs_diff"],
            "after": parity["model"]["max_abs_diff"],
        },
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


def _predicted(latency: dict[str, Any] | None) -> dict[str, Any]:
    """What the plan's latency table predicted, and its error on networks that it has not seen; else nothing."""
    if not latency or latency["ratio"] is None:
        return {}
    shown = ("backend", "device", "ratio", "correction", "residual", "path")
    return {
        "predicted_latency_ms": {"before": latency["unpruned_ms"], "after": latency["ms"]},
        "prediction": {key: latency[key] for key in shown if key in latency},
    }
