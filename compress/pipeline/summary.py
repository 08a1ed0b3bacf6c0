"""What summary.json says of a pruned network, with stable keys (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..plan import UserError, WidthPlan, read_stored
from ..plan.result_files import LatencyFile, ParityFile
from ..plan.run_files import METRICS
from ..spaces import TracedSpace
from .folder import STAGES
from .stage import Figures

if TYPE_CHECKING:
    from .networks import NetworkContext

RECORD = ("params", "macs", "budget", "pruned_ratio")
"""What the summary takes from the plan's record."""

NEEDED = ("load", "search", "slice", "finetune", "export", "measure")
"""Stages whose figures it has."""


def pruning_summary(c: NetworkContext, common: Figures) -> Figures:
    """The run's files gathered, beside what every run has in `common`; UserError where one is missing or broken."""
    folder, stages = c.folder, c.folder.stages
    plan = WidthPlan.load(folder / "plan.json")
    if absent := [key for key in RECORD if key not in plan.record]:
        raise UserError(f"{folder / 'plan.json'}: {absent[0]} is missing; run the select stage again")
    if missing := [name for name in NEEDED if name not in stages]:
        raise UserError(f"{folder / STAGES}: {missing[0]} is missing; run that stage again")
    # Runs of networks that are not exported leave these two stages out.
    parity = None if "left_out" in stages["export"] else read_stored(folder / "parity.json", ParityFile)
    timed = "left_out" not in stages["measure"]
    latency = read_stored(folder / "latency.json", LatencyFile) if timed else {"backends": {}}
    return {
        **common,
        "model": c.full_space.model if isinstance(c.full_space, TracedSpace) else plan.space,
        "dataset": c.data.name,
        "params": plan.record["params"],
        "macs": plan.record["macs"],
        **({"steps": stages["steps"]["rounds"]} if "steps" in stages else {}),
        **_metrics(stages),
        "latency_ms": {
            name: {side: backend[side] for side in ("before", "after")} for name, backend in latency["backends"].items()
        },
        "latency_ratio": {name: backend["ratio"]["median"] for name, backend in latency["backends"].items()},
        "latency_spread": {
            name: {side: backend["ratio"][side] for side in ("p10", "p90")}
            for name, backend in latency["backends"].items()
        },
        "drifted": bool(latency.get("drifted")),
        **_not_faster(stages["slice"].get("speed")),
        **_predicted(plan.record.get("latency")),
        "parity_max_abs_diff": parity
        and {"before": parity["baseline"]["max_abs_diff"], "after": parity["model"]["max_abs_diff"]},
        **_detections(parity),
        **({"files": stages["export"]["files"]} if "files" in stages["export"] else {}),
        **_methods(c, stages),
        "budget": plan.record["budget"],
        "pruned_ratio": plan.record["pruned_ratio"],
        "evaluated_on": c.data.evaluated_on,
    }


def _methods(c: NetworkContext, stages: Mapping[str, Any]) -> Figures:
    """How the search and the fine-tuning were done."""
    info, distill = dict(stages["search"]["info"]), c.recipe.finetune.distill
    return {
        "search": {"method": info.pop("type"), **info},
        "distill": {"temperature": distill.temperature, "weight": distill.weight} if distill else None,
    }


def _metrics(stages: Mapping[str, Any]) -> Figures:
    """{metric: before and after}, {metric_stages: in between}, for every metric that the stages recorded."""
    figures: Figures = {}
    for name in METRICS:
        if name in stages["load"]:
            figures[name] = {"before": stages["load"][name], "after": stages["finetune"][name]}
            figures[f"{name}_stages"] = {"searched": stages["search"][name], "sliced": stages["slice"][name]}
    return figures


def _detections(parity: Mapping[str, Any] | None) -> Figures:
    """Of detectors, the detections that were compared: without one, parity says nothing; else nothing."""
    if not parity or "n_detections" not in parity["model"]:
        return {}
    sides = {"before": "baseline", "after": "model"}
    return {"parity_detections": {side: parity[name].get("n_detections", 0) for side, name in sides.items()}}


def _not_faster(speed: Mapping[str, Any] | None) -> Figures:
    """Why the selected network was not faster when it was timed before fine-tuning; else nothing."""
    return {"not_faster": speed["reason"]} if speed and "reason" in speed else {}


def _predicted(latency: Mapping[str, Any] | None) -> Figures:
    """What the plan's latency table predicted, and its error on networks that it has not seen; else nothing."""
    if not latency or latency["ratio"] is None:
        return {}
    shown = ("backend", "device", "ratio", "correction", "residual", "path")
    return {
        "predicted_latency_ms": {"before": latency["unpruned_ms"], "after": latency["ms"]},
        "prediction": {key: latency[key] for key in shown if key in latency},
    }
