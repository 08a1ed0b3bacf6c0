"""What a report needs of a run folder, read once and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plan.errors import UserError
from ..plan.stored import read_json
from .metrics import read_metrics

if TYPE_CHECKING:
    import numpy as np

WRITERS = {
    "plan.json": "the select stage",
    "scores.safetensors": "the search stage",
    "complexity.json": "the slice stage",
    "metrics.jsonl": "the search and finetune stages",
    "parity.json": "the export stage",
    "latency.json": "the measure stage",
    "recipe.json": "the start of a run",
    "predictions.json": "the report stage",
    "categories.json": "the report stage",
}


@dataclass(frozen=True)
class RunFolder:
    """The contents of one run folder; None stands for a file that is not there."""

    path: Path
    summary: dict[str, Any]
    plan: dict[str, Any] | None
    scores: dict[str, np.ndarray] | None
    complexity: dict[str, Any] | None
    metrics: list[dict[str, Any]] | None
    parity: dict[str, Any] | None
    latency: dict[str, Any] | None
    recipe: dict[str, Any] | None
    stages: dict[str, Any] | None
    predictions: dict[str, Any] | None
    categories: dict[str, Any] | None


def read_run_folder(path: str | Path) -> RunFolder:
    """Read a run folder; only `summary.json` is required.

    Raises:
        UserError: `summary.json` is missing or incomplete, a file is damaged, or scores and plan disagree.
    """
    path = Path(path)
    summary = read_json(path / "summary.json")
    check_summary(summary, name=str(path / "summary.json"))
    metrics = path / "metrics.jsonl"
    run = RunFolder(
        path=path,
        summary=summary,
        plan=_optional_json(path / "plan.json"),
        scores=_optional_scores(path / "scores.safetensors"),
        complexity=_optional_json(path / "complexity.json"),
        metrics=read_metrics(metrics) if metrics.exists() else None,
        parity=_optional_json(path / "parity.json"),
        latency=_optional_json(path / "latency.json"),
        recipe=_optional_json(path / "recipe.json"),
        stages=_optional_json(path / "stages.json"),
        predictions=_optional_json(path / "predictions.json"),
        categories=_optional_json(path / "categories.json"),
    )
    _check_plan(run)
    _check_rows(run, run.complexity, "complexity.json: operators", ("name", "kind", "part", "params", "macs"))
    _check_rows(run, run.predictions, "predictions.json: images", ("image", "objects", "before", "after", "coincide"))
    _check_rows(run, run.categories, "categories.json: categories", ("name", "objects", "bbox_mAP"))
    return run


def check_summary(summary: Any, *, name: str = "summary") -> None:
    """Raise UserError unless `summary` is a summary of format 1 with the costs before and after."""
    if not isinstance(summary, dict) or summary.get("format") != 1:
        found = summary.get("format") if isinstance(summary, dict) else type(summary).__name__
        raise UserError(f"{name}: format {found!r}, must be 1; write it again with this version of compress")
    for key in ("model", "dataset", "params", "macs"):
        if key not in summary:
            raise UserError(f"{name}: key {key!r} is missing, must be present; run the report stage again")
    for key in ("params", "macs"):
        pair = summary[key]
        if not (
            isinstance(pair, dict) and all(isinstance(pair.get(side), int | float) for side in ("before", "after"))
        ):
            raise UserError(
                f"{name}: {key} is {pair!r}, must hold numbers before and after; run the report stage again"
            )


def missing(name: str, run: RunFolder | None = None) -> str:
    """One sentence for a file that is not there: which stage makes it, or why that stage of `run` was left out."""
    stages = (run.stages if run else None) or {}
    for stage, figures in stages.items():
        if "left_out" in figures and WRITERS[name] == f"the {stage} stage":
            return f"The stage {stage} was left out: {figures['left_out']}."
    return f"{name} is not in this run folder; {WRITERS[name]} writes it."


def _optional_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a {type(value).__name__}, must be a JSON object; run the stage that writes it")
    return value


def _optional_scores(path: Path) -> dict[str, np.ndarray] | None:
    if not path.exists():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error}); run the search stage again") from None


def _check_plan(run: RunFolder) -> None:
    if run.plan is None:
        return
    groups = run.plan.get("groups")
    if not (isinstance(groups, dict) and all({"size", "kept"} <= set(group) for group in groups.values())):
        raise UserError(f"{run.path / 'plan.json'}: `groups` must give size and kept; run the select stage again")
    if run.scores is None:
        return
    sizes = {name: group["size"] for name, group in groups.items()}
    found = {name: int(values.size) for name, values in run.scores.items()}
    for name in sorted(sizes.keys() | found.keys()):
        if sizes.get(name) != found.get(name):
            raise UserError(
                f"{run.path / 'scores.safetensors'}: group {name!r} has {found.get(name, 'no')} scores, plan.json says "
                f"{sizes.get(name, 'no group')}; both must come from one search: run the select stage again"
            )


def _check_rows(run: RunFolder, content: dict[str, Any] | None, where: str, needed: tuple[str, ...]) -> None:
    """Raise UserError unless the list at `where`, "FILE: KEY", has objects that give what is `needed`."""
    if content is None:
        return
    name, _, key = where.partition(": ")
    rows = content.get(key)
    if not (isinstance(rows, list) and all(isinstance(row, dict) and set(needed) <= row.keys() for row in rows)):
        listed = f"{', '.join(needed[:-1])} and {needed[-1]}"
        raise UserError(f"{run.path / name}: `{key}` must give {listed}; run {WRITERS[name]} again")
