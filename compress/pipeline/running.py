"""How any run is done: processes are started, its folder is opened, and what is left of its stages runs in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from mmengine.dist import barrier, get_world_size, init_dist, is_distributed, is_main_process

from ..engine.averaging import LIMIT
from ..engine.sharing import ELSEWHERE, check_agreed
from ..plan import UserError
from ..plan.launchers import LAUNCHERS, own_launcher, restarted
from .context import RunContext
from .folder import RunFolder
from .losses import telling_losses
from .restarts import begun, meeting
from .stage import Stage, needed
from .working import first_alone, sole_worker, wait_patiently

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=RunContext)


def alone(run: Callable[Concatenate[R, str | Path, P], RunFolder]) -> Callable[..., RunFolder]:
    """Start the launcher's processes before `run(recipe, work_dir, ...)`, which works alone in its folder.

    A job of several (option `shard`) waits for those that are at work there.
    `dist_timeout`, a further option, is how many seconds a process waits for another that hangs; None: PyTorch's
    default. What a launcher has restarted goes on with the run that it had begun.
    """

    @wraps(run)
    def started(recipe: R, work_dir: str | Path, *arguments: P.args, **options: P.kwargs) -> RunFolder:
        launcher, timeout = str(options.get("launcher", "none")), options.pop("dist_timeout", None)
        waiting = None if options.get("shard") is None else options["progress"].note  # type: ignore[attr-defined]
        with telling_losses(timeout):
            _start_processes(launcher, timeout)
            if begun(launcher, work_dir):
                options.update(resume=True)
            with sole_worker(work_dir, waiting=waiting):
                return run(recipe, work_dir, *arguments, **options)

    return started


def start(context: C, work_dir: str | Path, record: dict[str, Any], *, stage: str | None = None) -> RunFolder:
    """Run what is left of the stages of `context`, or `stage` alone, in the folder `work_dir`.

    `record` identifies the run: what recipe.json has. All that the stages are given is checked before anything is
    written. Raises UserError for bad input, for a folder of another run, and where `stage` cannot start.
    """
    _settle_processes(context, work_dir, record)
    names = _to_run(context, stage, context.open(work_dir, record), work_dir)
    check_agreed([context.processes, names], f"--work-dir {work_dir}: {ELSEWHERE}")
    context.check(names)
    context.create(record)
    for name in names:
        _run_stage(context, context.stages[name])
    return context.folder


def _settle_processes(context: C, work_dir: str | Path, record: dict[str, Any]) -> None:
    """Put into `record` and `context` with how many processes the run began, which decides what each has of a step."""
    if context.processes is None:  # else the run around this one has settled it
        found = RunFolder.recorded(work_dir)
        context.processes = get_world_size() if found is None else found.get("processes", 1)
    if context.processes > 1:
        record["processes"] = context.processes


def _to_run(context: C, stage: str | None, done: Mapping[str, Any], work_dir: str | Path) -> list[str]:
    """The stages that are left, or `stage` alone, with what costs nothing; UserError when it cannot start."""
    stages = context.stages
    if stage is None:
        return [name for name in stages if name not in done]
    if stage not in stages:
        raise UserError(f"--stage {stage}: no stage of this run; choose one of {', '.join(stages)}")
    if stage in done and begun(context.launcher, work_dir):
        return []  # it has been done since the launcher first started it
    if stage in done:
        kept = " (--search-from keeps the search)" if hasattr(context, "search_from") else ""
        raise UserError(f"--stage {stage}: already finished in {work_dir}; give a new --work-dir{kept}")
    before = [name for name in needed(stages, stage) if name not in done]
    if missing := [name for name in before if not stages[name].along]:
        raise UserError(
            f"--stage {stage}: needs the stages before it, but {work_dir} has no finished {', '.join(missing)}; "
            f"run --stage {missing[0]} first, or all stages without --stage"
        )
    return [*before, stage]


def _run_stage(context: C, stage: Stage[C]) -> None:
    """Run one stage: on every process if it is parallel, else on the first while the others wait."""
    context.progress.announce(stage.name)
    context.together = stage.parallel

    def first() -> None:
        with context.folder.stage(stage.name) as figures:
            stage.run(context, figures)
        context.progress.done(stage.name, figures)

    if not stage.parallel:
        first_alone(first)
    elif is_main_process():
        first()
    else:
        stage.run(context, {})
    barrier()


def _start_processes(launcher: str, timeout: Any) -> None:
    if launcher == "none" and timeout is not None:
        raise UserError(f"--dist-timeout {timeout:g}: there is one process, which waits for none; give --launcher too")
    if launcher == "none" and own_launcher() != "none" and (started := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise UserError(
            f"--launcher: {LAUNCHERS[own_launcher()].program} has started {started} processes, and without it each "
            f"would do all of the run; give --launcher {own_launcher()}"
        )
    if launcher == "none" or is_distributed():
        return
    own = LAUNCHERS[launcher]
    if own.variable not in os.environ:
        raise UserError(
            f"--launcher {launcher}: {own.variable} is not set; start the command with {own.program}, or leave "
            "--launcher away"
        )
    import torch

    # What MMEngine's Runner sets later, with a warning for each that it has to change.
    torch.multiprocessing.set_start_method("fork", force=True)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if timeout is not None:
        LIMIT["timeout"] = timedelta(seconds=timeout)
    met = meeting() if restarted(launcher) else {}
    if torch.cuda.is_available():
        init_dist(launcher, backend="nccl", **met, **({} if timeout is None else {"timeout": timeout}))
    elif launcher == "pytorch":
        torch.distributed.init_process_group("gloo", **met, **LIMIT)  # MMEngine's init_dist wants a GPU
    else:
        raise UserError(f"--launcher {launcher}: needs GPUs; on CPUs start with torchrun and --launcher pytorch")
    wait_patiently()
