"""Whole runs: pruning, stage by stage, and training a baseline."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from mmengine.dist import barrier, init_dist, is_distributed, is_main_process

from ..engine.hooks import LAST, Progress
from ..plan import UserError, sha256
from ..pruning import Budget
from ..spaces import load_model
from .context import Context, Stage, make_context
from .folder import RunFolder
from .latency_budget import table_record
from .recipe import Recipe
from .stages import STAGES
from .working import first_alone, sole_worker

P = ParamSpec("P")

PARALLEL = ("search", "finetune", "train")
"""Stages that every process of a launcher takes part in; the others run on the first process alone."""

LAUNCHERS = {
    "pytorch": ("RANK", "torchrun"),
    "slurm": ("SLURM_PROCID", "srun"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "mpirun"),
}
"""Launcher -> the variable by which a process knows that it was started by it, and the program."""


def _alone(run: Callable[Concatenate[Recipe, str | Path, P], RunFolder]) -> Callable[..., RunFolder]:
    """Start the launcher's processes before the whole run `run`, and let them work alone in its folder."""

    @wraps(run)
    def started(recipe: Recipe, work_dir: str | Path, *arguments: P.args, **options: P.kwargs) -> RunFolder:
        _start_processes(str(options.get("launcher", "none")))
        with sole_worker(work_dir):
            return run(recipe, work_dir, *arguments, **options)

    return started


@_alone
def prune(
    recipe: Recipe,
    work_dir: str | Path,
    *,
    progress: Progress,
    budget: Budget | None = None,
    latency_table: str | None = None,
    force_table: bool = False,
    checkpoint: str | None = None,
    trust: bool = False,
    stage: str | None = None,
    search_from: str | None = None,
    resume: bool = False,
    launcher: str = "none",
) -> RunFolder:
    """Run all stages, or only `stage`, in `work_dir`; with `resume`, finished stages are kept.

    No `budget` means free ratio in a new folder and the folder's own when it goes on; the same holds for `checkpoint`,
    `search_from` and `latency_table` (a file of tools/profile_latency.py, which latency budgets need; `force_table`
    takes another device's). Bad input raises UserError before anything is written.

    Example::

        recipe = load_recipe("recipes/width/preresnet20_digits_rarts.py")
        with TerminalProgress() as progress:
            prune(recipe, "runs/demo", checkpoint="runs/base", budget=Budget("macs_ratio", 0.5), progress=progress)
    """
    goes_on = resume or stage is not None
    found = (RunFolder.recorded(work_dir) if goes_on else None) or {}
    if found and "budget" not in found:
        raise UserError(
            f"--work-dir {work_dir}: holds a run of tools/{'train' if 'train' in found else 'finetune'}.py; "
            "give a new folder"
        )
    record: dict[str, Any] = {
        "recipe": recipe.to_json(),
        "checkpoint": _checkpoint(checkpoint, found, loaded="load" in RunFolder(work_dir).stages),
        "budget": found["budget"] if found and budget is None else (budget or Budget()).to_json(),
        "latency_table": table_record(latency_table, force_table, found),
        "search_from": str(Path(search_from)) if search_from else found.get("search_from"),
    }
    context = make_context(
        recipe,
        progress,
        budget=Budget.from_json(record["budget"]),
        table=record["latency_table"],
        checkpoint=checkpoint or record["checkpoint"]["path"],
        trust=trust,
        search_from=record["search_from"],
        resume=goes_on,
        launcher=launcher,
    )
    if context.table and latency_table:
        context.table = {**context.table, "path": latency_table}
    stages = _to_run(stage, context.open(work_dir, record), work_dir)
    context.check(stages)
    context.create(record)
    for name in stages:
        _run_stage(context, name, {**STAGES, **context.own_stages}[name])
    return context.folder


@_alone
def train_baseline(
    recipe: Recipe,
    work_dir: str | Path,
    *,
    progress: Progress,
    checkpoint: str | None = None,
    trust: bool = False,
    resume: bool = False,
    launcher: str = "none",
) -> RunFolder:
    """Train the recipe's unpruned network; writes model.safetensors, model.json and metrics.jsonl.

    It starts from the weights of `checkpoint`, without its classifier where the data have another number of classes
    (with a warning), or from scratch. With `resume` a run goes on from its own weights, and needs the checkpoint only
    where it was stopped in its first epoch. Bad input raises UserError before anything is written.

    Example::

        with TerminalProgress() as progress:
            train_baseline(load_recipe("recipes/width/preresnet20_digits_rarts.py"), "runs/base", progress=progress)
    """
    return _train_alone("train", _train, recipe, work_dir, progress, checkpoint, trust, resume, launcher)


@_alone
def finetune(
    recipe: Recipe,
    work_dir: str | Path,
    *,
    progress: Progress,
    checkpoint: str | None = None,
    teacher: str | None = None,
    trust: bool = False,
    resume: bool = False,
    launcher: str = "none",
) -> RunFolder:
    """Train a network of any widths, such as a run's `sliced`, as the recipe's finetune section says.

    `teacher` is the network of ours (run folder or card) that `finetune.distill` learns from. Writes what
    `train_baseline` writes. Bad input raises UserError before anything is written.

    Example::

        with TerminalProgress() as progress:
            finetune(recipe, "runs/tuned", checkpoint="runs/demo/sliced.safetensors", progress=progress)
    """
    distills = recipe.finetune.distill is not None
    if distills != (teacher is not None):
        raise UserError(
            "--teacher: missing, finetune.distill needs one; give the unpruned network, or set finetune.distill=None"
            if distills
            else f"--teacher {teacher}: finetune.distill is None, so nothing is learnt from it; leave it away"
        )
    found = (RunFolder.recorded(work_dir) if resume else None) or {}
    if checkpoint is None and "checkpoint" not in found:
        raise UserError("--checkpoint: missing; give the network to fine-tune, such as RUN/sliced.safetensors")

    def stage(c: Context, figures: dict[str, Any]) -> None:
        network, space = c.baseline
        figures["before"] = c.evaluate(network)
        c.train(network, c.recipe.finetune, "finetune", teacher=None if teacher is None else load_model(teacher)[0])
        figures.update(c.evaluate(network), **c.seen)
        c.save("model", network, c.card(space))

    more = {} if teacher is None else {"teacher": _checkpoint(teacher, {}, loaded=False, argument="--teacher")}
    return _train_alone("finetune", stage, recipe, work_dir, progress, checkpoint, trust, resume, launcher, more)


def _train_alone(
    section: str,
    stage: Stage,
    recipe: Recipe,
    work_dir: str | Path,
    progress: Progress,
    checkpoint: str | None,
    trust: bool,
    resume: bool,
    launcher: str,
    more: Mapping[str, Any] | None = None,
) -> RunFolder:
    """A run of one stage, which trains as the recipe's `section` says; `more` is recorded too."""
    folder = RunFolder(work_dir)
    found = (RunFolder.recorded(work_dir) if resume else None) or {}
    found = found if section in found else {}
    if checkpoint is not None and found and "checkpoint" not in found:
        raise UserError(
            f"--checkpoint {checkpoint}: the run in {work_dir} began without one; leave it away, or give a new folder"
        )
    record: dict[str, Any] = {section: recipe.to_json(), **(more or {})}
    start = None
    if checkpoint is not None or "checkpoint" in found:
        # A network of other widths than the recipe's is built from its checkpoint, whose weights resuming replaces.
        begun = section == "train" and resume and ((folder / section / LAST).is_file() or section in folder.stages)
        record["checkpoint"] = _checkpoint(checkpoint, found, loaded=begun)
        start = None if begun else checkpoint or record["checkpoint"]["path"]
    c = make_context(
        recipe,
        progress,
        checkpoint=start,
        fresh_classifier=section == "train",
        trust=trust,
        resume=resume,
        launcher=launcher,
    )
    names = [] if section in c.open(work_dir, record) else [section]
    c.check(names)
    c.create(record)
    for name in names:
        _run_stage(c, name, stage)
    return c.folder


def _train(c: Context, figures: dict[str, Any]) -> None:
    import torch

    torch.manual_seed(c.recipe.seed)
    network, space = c.baseline if c.checkpoint is not None else (c.full_space.build(), c.full_space)
    c.train(network, c.recipe.train, "train")
    figures.update(c.evaluate(network), **c.seen)
    c.save("model", network, c.card(space))


def _to_run(stage: str | None, done: Mapping[str, Any], work_dir: str | Path) -> list[str]:
    """The stages that are left, or `stage` alone (and `load`, which costs nothing); UserError when it cannot start."""
    if stage is None:
        return [name for name in STAGES if name not in done]
    if stage in done:
        raise UserError(
            f"--stage {stage}: already finished in {work_dir}; give a new --work-dir (--search-from keeps the search)"
        )
    order = list(STAGES)
    missing = [name for name in order[1 : order.index(stage)] if name not in done]
    if missing:
        raise UserError(
            f"--stage {stage}: needs the stages before it, but {work_dir} has no finished {', '.join(missing)}; "
            f"run --stage {missing[0]} first, or all stages without --stage"
        )
    return [name for name in dict.fromkeys(["load", stage]) if name not in done]


def _run_stage(context: Context, name: str, run: Stage) -> None:
    """Run one stage: on every process if it is parallel, else on the first while the others wait."""
    context.progress.announce(name)

    def first() -> None:
        with context.folder.stage(name) as figures:
            run(context, figures)
        context.progress.done(name, figures)

    if name not in PARALLEL or (name == "search" and context.search_from is not None):
        first_alone(first)
    elif is_main_process():
        first()
    else:
        run(context, {})
    barrier()


def _checkpoint(
    given: str | None, found: Mapping[str, Any], *, loaded: bool, argument: str = "--checkpoint"
) -> dict[str, Any]:
    """Path and hash of the checkpoint, as recipe.json records them; `loaded`: the run has no more need of the file."""
    if given is None:
        if not found:
            raise UserError("--checkpoint: missing; give the trained network (.pth, .safetensors or a run folder)")
        if loaded:
            return found["checkpoint"]
    path = Path(given or found["checkpoint"]["path"])
    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix in ("", ".json"):
        file = file.with_suffix(".safetensors")
    if not file.is_file():
        what = f"holds no {file.name}" if path.is_dir() else "no such file"
        raise UserError(
            f"{argument} {path}: {what}; give a .pth, a .safetensors or a finished run folder, "
            "or train one with tools/train.py"
        )
    digest = sha256(file)
    if found and found["checkpoint"]["sha256"] == digest:
        return found["checkpoint"]  # the same weights, whatever the path is called today
    return {"path": str(path), "sha256": digest}


def _start_processes(launcher: str) -> None:
    if launcher == "none" or is_distributed():
        return
    variable, program = LAUNCHERS[launcher]
    if variable not in os.environ:
        raise UserError(
            f"--launcher {launcher}: {variable} is not set; start the tool with {program}, or leave --launcher away"
        )
    import torch

    # What MMEngine's Runner sets later, with a warning for each that it has to change.
    torch.multiprocessing.set_start_method("fork", force=True)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if torch.cuda.is_available():
        init_dist(launcher, backend="nccl")
    elif launcher == "pytorch":
        torch.distributed.init_process_group("gloo")  # MMEngine's init_dist wants a GPU
    else:
        raise UserError(f"--launcher {launcher}: needs GPUs; on CPUs start with torchrun and --launcher pytorch")
