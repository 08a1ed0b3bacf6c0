"""Whole runs: pruning, stage by stage, and training a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import barrier, init_dist, is_distributed, is_main_process

from ..engine.hooks import Progress
from ..engine.training import train
from ..plan import UserError, read_json, sha256
from ..pruning import Budget
from ..spaces import save_model
from .folder import RECIPE, RunFolder
from .recipe import Recipe
from .stages import STAGES, Context

PARALLEL = ("search", "finetune", "train")
"""Stages that every process of a launcher takes part in; the others run on the first process alone."""


def prune(
    recipe: Recipe,
    work_dir: str | Path,
    *,
    progress: Progress,
    budget: Budget | None = None,
    checkpoint: str | None = None,
    trust: bool = False,
    stage: str | None = None,
    search_from: str | None = None,
    resume: bool = False,
    launcher: str = "none",
) -> RunFolder:
    """Run all stages, or only `stage`, in `work_dir`; with `resume`, finished stages are kept.

    No `budget` means free ratio in a new folder and the folder's own when it goes on; the same holds for `checkpoint`
    and `search_from`. Bad input raises UserError before anything is written.
    """
    _start_processes(launcher)
    found = _recorded(Path(work_dir)) if resume or stage is not None else {}
    if budget is None:
        budget = Budget(**found["budget"]) if found else Budget()
    if checkpoint is None and found:
        checkpoint = found["checkpoint"]["path"]
    search_from = search_from or found.get("search_from")
    if checkpoint is None:
        raise UserError("--checkpoint: missing; give the trained network (.pth, .safetensors or a run folder)")
    context = Context(recipe, progress, budget, checkpoint, trust, search_from, resume or stage is not None, launcher)
    done = context.open(work_dir, _record(context))
    if stage in done:
        raise UserError(f"--stage {stage}: already finished in {work_dir}; use --search-from and a new --work-dir")
    for name in STAGES if stage is None else ["load", stage]:
        if name not in done:
            _run_stage(context, name)
    return context.folder


def train_baseline(
    recipe: Recipe, work_dir: str | Path, *, progress: Progress, resume: bool = False, launcher: str = "none"
) -> RunFolder:
    """Train the recipe's unpruned network from scratch; writes model.safetensors, model.json and metrics.jsonl."""
    _start_processes(launcher)
    c = Context(recipe, progress, resume=resume, launcher=launcher)
    if "train" not in c.open(work_dir, {"train": recipe.to_json()}):
        _run_stage(c, "train")
    return c.folder


def _train(c: Context, figures: dict[str, Any]) -> None:
    import torch

    torch.manual_seed(c.recipe.seed)
    space, config, job = c.full_space, c.recipe.train, c.job("train")
    network = space.build()
    train(network, c.data.train, config, job, evaluate=c.evaluate)
    figures.update(c.evaluate(network))
    save_model(c.folder / "model", network.cpu(), c.card(space))


def _run_stage(context: Context, name: str) -> None:
    """Run one stage: on every process if it is parallel, else on the first while the others wait."""
    context.progress.announce(name)
    if is_main_process():
        with context.folder.stage(name) as figures:
            {**STAGES, "train": _train}[name](context, figures)
        context.progress.done(name, figures)
    elif name in PARALLEL:
        {**STAGES, "train": _train}[name](context, {})
    if is_distributed():
        barrier()


def _record(context: Context) -> dict[str, Any]:
    """What identifies a pruning run: the same record, the same result."""
    path = Path(context.checkpoint or "")
    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix == ".json":
        file = file.with_suffix(".safetensors")
    if not file.is_file():
        raise UserError(
            f"--checkpoint {path}: no such file{' as ' + str(file) if path.is_dir() else ''}; train one first"
        )
    return {
        "recipe": context.recipe.to_json(),
        "checkpoint": {"path": str(path), "sha256": sha256(file)},
        "budget": {"kind": context.budget.kind, "value": context.budget.value},
        "search_from": context.search_from,
    }


def _recorded(work_dir: Path) -> dict[str, Any]:
    return read_json(work_dir / RECIPE) if (work_dir / RECIPE).exists() else {}


def _start_processes(launcher: str) -> None:
    if launcher != "none" and not is_distributed():
        import torch

        init_dist(launcher, backend="nccl" if torch.cuda.is_available() else "gloo")
