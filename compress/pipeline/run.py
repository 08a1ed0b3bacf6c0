"""Whole runs on networks: pruning, and training or fine-tuning alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..engine.hooks import LAST, Progress
from ..plan import UserError
from ..pruning import Budget
from .checkpoint import EMA, checkpoint_record, teacher_beside
from .checks import check_is_there
from .folder import RunFolder
from .images import make_context
from .networks import NetworkContext
from .recipe import Recipe
from .rounds import round_folder, settled_steps
from .running import alone, start
from .stage import CHECKPOINT
from .tables import record_table, run_table


@alone
def prune(
    recipe: Recipe,
    work_dir: str | Path,
    *,
    progress: Progress,
    budget: Budget | None = None,
    latency_table: str | None = None,
    force_table: bool = False,
    latency_kit: str | None = None,
    checkpoint: str | None = None,
    ema: bool | None = None,
    trust: bool = False,
    stage: str | None = None,
    search_from: str | None = None,
    steps: int | None = None,
    require_speedup: float | None = None,
    resume: bool = False,
    launcher: str = "none",
) -> RunFolder:
    """Run all stages, or only `stage`, in `work_dir`; finished stages are kept. Bad input: UserError, nothing written.

    Args:
        recipe: what is run.
        work_dir: the run's folder.
        progress: is told what goes on.
        budget: None: free ratio in a new folder, the folder's own when it goes on.
        latency_table: a file of `nncompress profile`, which latency budgets need; None: the search's, or the
            folder's own.
        force_table: take another device's table.
        latency_kit: a folder for the selections that another device, the table's, is to time: the run stops with
            `PausedError` when they are written, and goes on when their times are there.
        checkpoint: the trained network; None: the folder's own.
        ema: of a checkpoint with both, take averaged weights (True) or plain ones; None: the folder's own, or averaged.
        trust: unpickle the checkpoint, which may run code.
        stage: run this one only.
        search_from: a run whose search is taken; None: the folder's own.
        steps: rounds of search, slicing and short fine-tuning; None: one in a new folder, or the folder's own.
        require_speedup: stop before fine-tuning unless the selected network is so many times as fast.
        resume: go on with the run in the folder.
        launcher: what started the processes.

    Example::

        with TerminalProgress() as progress:
            prune(recipe, "runs/demo", checkpoint="runs/base", budget=Budget("macs_ratio", 0.5), progress=progress)
    """
    goes_on = resume or stage is not None
    found = RunFolder.recorded_as("recipe", work_dir) if goes_on else {}
    search_from = str(Path(search_from)) if search_from else found.get("search_from")
    limits = Budget.from_json(found["budget"]) if found and budget is None else budget or Budget()
    context = make_context(
        recipe,
        progress,
        budget=limits,
        ema=ema,
        trust=trust,
        search_from=search_from,
        resume=goes_on,
        launcher=launcher,
    )
    context.latency_kit, context.steps = latency_kit, settled_steps(steps, found, recipe, work_dir)
    context.require_speedup = require_speedup
    context.before = round_folder(work_dir, context.steps - 1)
    record: dict[str, Any] = {"recipe": recipe.to_json()}
    checkpoint = checkpoint or baseline_of(search_from, found)
    give_checkpoint(context, record, checkpoint, found, loaded="load" in RunFolder(work_dir).stages)
    record["budget"] = limits.to_json()
    force = force_table or latency_kit is not None
    give_table(context, record, latency_table, found, force=force, place=f"--work-dir {work_dir}")
    record["search_from"] = search_from
    if context.steps > 1:
        record["steps"] = context.steps
    return start(context, work_dir, record, stage=stage)


@alone
def train_baseline(
    recipe: Recipe,
    work_dir: str | Path,
    *,
    progress: Progress,
    checkpoint: str | None = None,
    ema: bool | None = None,
    trust: bool = False,
    resume: bool = False,
    launcher: str = "none",
) -> RunFolder:
    """Train the recipe's unpruned network; writes model.safetensors, model.json and metrics.jsonl.

    It starts from the weights of `checkpoint`, without its classifier where the data have another number of classes
    (with a warning), or from scratch. With `resume` a run goes on from its own weights, and needs the checkpoint only
    where it was stopped in its first epoch. Bad input raises UserError before anything is written.

    Args:
        recipe: its train section is followed.
        work_dir: the run's folder.
        progress: is told what goes on.
        checkpoint: weights to start from; None: the folder's own, or none.
        ema: of a checkpoint with both, take averaged weights (True) or plain ones; None: the folder's own, or averaged.
        trust: unpickle the checkpoint, which may run code.
        resume: go on with the run in the folder.
        launcher: what started the processes of this run.

    Example::

        with TerminalProgress() as progress:
            train_baseline(load_recipe("recipes/width/preresnet20_digits_rarts.py"), "runs/base", progress=progress)
    """
    found = RunFolder.recorded_as("train", work_dir) if resume else {}
    if checkpoint is not None and found and "checkpoint" not in found:
        raise UserError(
            f"--checkpoint {checkpoint}: the run in {work_dir} began without one; leave it away, or give a new folder"
        )
    context = make_context(recipe, progress, aim="train", ema=ema, trust=trust, resume=resume, launcher=launcher)
    record: dict[str, Any] = {"train": recipe.to_json()}
    if checkpoint is not None or "checkpoint" in found:
        folder = RunFolder(work_dir)
        begun = resume and ((folder / "train" / LAST).is_file() or "train" in folder.stages)
        record["checkpoint"] = checkpoint_record(checkpoint, found, loaded=begun, ema=ema)
        # A network of other widths than the recipe's is built from its checkpoint, whose weights resuming replaces.
        context.checkpoint = None if begun else checkpoint or record["checkpoint"]["path"]
        context.ema = record["checkpoint"].get("ema")
    elif ema is not None:
        raise UserError(
            f"{EMA[ema]}: says which weights of a checkpoint are taken, and none is given; give --checkpoint"
        )
    return start(context, work_dir, record)


@alone
def finetune(
    recipe: Recipe,
    work_dir: str | Path,
    *,
    progress: Progress,
    checkpoint: str | None = None,
    teacher: str | None = None,
    ema: bool | None = None,
    trust: bool = False,
    resume: bool = False,
    launcher: str = "none",
) -> RunFolder:
    """Train a network of any widths, such as a run's `sliced`, as the recipe's finetune section says.

    Writes what `train_baseline` writes. Bad input raises UserError before anything is written.

    Args:
        recipe: its finetune section is followed.
        work_dir: the run's folder.
        progress: is told what goes on.
        checkpoint: the network to fine-tune; None: the folder's own.
        teacher: the network of ours (run folder or card) that `finetune.distill` learns from; None: the folder's own,
            or the unpruned network of the run whose folder holds `checkpoint`.
        ema: of a checkpoint with both, take averaged weights (True) or plain ones; None: the folder's own, or averaged.
        trust: unpickle the checkpoint, which may run code.
        resume: go on with the run in the folder.
        launcher: what started the processes of this run.

    Example::

        with TerminalProgress() as progress:
            network = "runs/demo/sliced.safetensors"
            finetune(recipe, "runs/tuned", checkpoint=network, teacher="runs/base", progress=progress)
    """
    if teacher is not None and recipe.finetune.distill is None:
        raise UserError(f"--teacher {teacher}: finetune.distill is None, so nothing is learnt from it; leave it away")
    found = RunFolder.recorded_as("finetune", work_dir) if resume else {}
    if checkpoint is None and not found:
        raise UserError("--checkpoint: missing; give the network to fine-tune, such as RUN/sliced.safetensors")
    if teacher is None and recipe.finetune.distill is not None:
        teacher = found.get("teacher", {}).get("path") or teacher_beside(checkpoint or found["checkpoint"]["path"])
        progress.note(f"--teacher {teacher}, the unpruned network of that run (finetune.distill)")
    context = make_context(
        recipe, progress, aim="finetune", teacher=teacher, ema=ema, trust=trust, resume=resume, launcher=launcher
    )
    record: dict[str, Any] = {"finetune": recipe.to_json()}
    if teacher is not None:
        record["teacher"] = checkpoint_record(teacher, {}, loaded=False, argument="--teacher")
    give_checkpoint(context, record, checkpoint, found, loaded=False)
    return start(context, work_dir, record)


def baseline_of(search_from: str | None, found: dict[str, Any]) -> str | None:
    """The unpruned network of the run whose search a new run takes, where it is given no other; None in other runs.

    `found` is the record of the run in the folder. Raises UserError where there is no folder of that run.
    """
    if search_from is None or found:
        return None
    check_is_there(search_from)
    baseline = Path(search_from) / "baseline"
    if not baseline.with_suffix(".safetensors").is_file():
        rule = "has no baseline.safetensors, its unpruned network"
        raise UserError(
            rule, argument="--search-from", value=search_from, remedy="give a run's folder, or --checkpoint"
        )
    return str(baseline)


def give_checkpoint(
    context: NetworkContext, record: dict[str, Any], given: str | None, found: dict[str, Any], *, loaded: bool
) -> None:
    """Put the checkpoint into the run's record and context, where one of the stages reads one; UserError without it."""
    if any(CHECKPOINT in stage.reads for stage in context.stages.values()):
        record["checkpoint"] = checkpoint_record(given, found, loaded=loaded, ema=context.ema)
        context.checkpoint = given or record["checkpoint"]["path"]
        context.ema = record["checkpoint"].get("ema")


def give_table(
    context: NetworkContext,
    record: dict[str, Any],
    given: str | None,
    found: dict[str, Any],
    *,
    force: bool,
    place: str,
) -> None:
    """Put the latency table, if there is one, into the run's record and context."""
    searched, priced = context.recipe.search.latency_table, context.budget.latency is not None
    context.table = run_table(searched, found=found, place=place, given=given, force=force, priced=priced)
    record_table(record, context.table, found)
