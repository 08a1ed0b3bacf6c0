"""What a report needs of a run folder, read once and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plan.errors import UserError
from ..plan.plan_file import PlanFile
from ..plan.result_files import (
    FORMAT,
    CategoriesFile,
    ComplexityFile,
    LatencyFile,
    ParityFile,
    PredictionsFile,
)
from ..plan.run_files import RecordFile, StagesFile
from ..plan.stored import check_stored, read_stored
from ..plan.summary_file import SummaryFile
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
    "stages.json": "every stage",
    "predictions.json": "the report stage",
    "categories.json": "the report stage",
}

SUMMARY_REMEDY = "run the report stage again"


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
    summary = read_stored(path / "summary.json", SummaryFile, version=FORMAT, remedy=SUMMARY_REMEDY)
    metrics = path / "metrics.jsonl"
    run = RunFolder(
        path=path,
        summary=summary,
        plan=_optional(path / "plan.json", PlanFile, version=FORMAT),
        scores=_optional_scores(path / "scores.safetensors"),
        complexity=_optional(path / "complexity.json", ComplexityFile, version=FORMAT),
        metrics=read_metrics(metrics) if metrics.exists() else None,
        parity=_optional(path / "parity.json", ParityFile),
        latency=_optional(path / "latency.json", LatencyFile),
        recipe=_optional(path / "recipe.json", RecordFile),
        stages=_optional(path / "stages.json", StagesFile),
        predictions=_optional(path / "predictions.json", PredictionsFile, version=FORMAT),
        categories=_optional(path / "categories.json", CategoriesFile, version=FORMAT),
    )
    _check_scores(run)
    return run


def check_summary(summary: Any, *, name: str = "summary") -> None:
    """Raise UserError unless `summary` is a summary of format 1 with the costs before and after."""
    check_stored(summary, SummaryFile, source=name, version=FORMAT, remedy=SUMMARY_REMEDY)


def missing(name: str, run: RunFolder | None = None) -> str:
    """One sentence for a file that is not there: which stage makes it, or why that stage of `run` was left out."""
    stages = (run.stages if run else None) or {}
    for stage, figures in stages.items():
        if "left_out" in figures and WRITERS[name] == f"the {stage} stage":
            return f"The stage {stage} was left out: {figures['left_out']}."
    return f"{name} is not in this run folder; {WRITERS[name]} writes it."


def _optional(path: Path, shape: Any, *, version: int | None = None) -> Any:
    """The file at `path` as `shape`; None when it is not there."""
    remedy = f"run {WRITERS[path.name]} again"
    return read_stored(path, shape, version=version, remedy=remedy) if path.exists() else None


def _optional_scores(path: Path) -> dict[str, np.ndarray] | None:
    if not path.exists():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error}); run the search stage again") from None


def _check_scores(run: RunFolder) -> None:
    if run.plan is None or run.scores is None:
        return
    sizes = {name: group["size"] for name, group in run.plan["groups"].items()}
    found = {name: int(values.size) for name, values in run.scores.items()}
    for name in sorted(sizes.keys() | found.keys()):
        if sizes.get(name) != found.get(name):
            raise UserError(
                f"{run.path / 'scores.safetensors'}: group {name!r} has {found.get(name, 'no')} scores, plan.json says "
                f"{sizes.get(name, 'no group')}; both must come from one search: run the select stage again"
            )
