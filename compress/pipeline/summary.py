"""summary.json: the run in numbers, with stable keys (docs/formats.md)."""

from __future__ import annotations

from typing import Any

from ..measure import device_name, versions
from ..plan import WidthPlan, read_json, write_json
from .folder import RunFolder
from .recipe import Recipe

METRICS = ("top1", "bbox_mAP", "segm_mAP", "train_bbox_mAP", "train_segm_mAP")
"""Of stages, in percent."""


def write_summary(folder: RunFolder, recipe: Recipe, data: Any) -> dict[str, Any]:
    """Gather the run's files into summary.json and return it."""
    stages = folder.stages
    plan = WidthPlan.load(folder / "plan.json")
    # Runs of networks that are not exported leave these two stages out.
    parity = None if "left_out" in stages["export"] else read_json(folder / "parity.json")
    latency = {"backends": {}} if "left_out" in stages["measure"] else read_json(folder / "latency.json")
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
