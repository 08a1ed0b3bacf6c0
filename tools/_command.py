"""What every tool shares: the user's errors are one line and exit code 2, ours keep their traceback."""

from __future__ import annotations

import os
import sys
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

RANKS = {"pytorch": "RANK", "slurm": "SLURM_PROCID", "mpi": "OMPI_COMM_WORLD_RANK"}
GRACE_SECONDS = 30


def first_process(launcher: str) -> bool:
    """Whether this process is the one that talks to the user."""
    return launcher == "none" or os.environ.get(RANKS[launcher], "0") == "0"


def training_arguments(parser: ArgumentParser, *, override: str) -> None:
    """What tools that train share; `override` is an example of --cfg-options."""
    parser.add_argument("--trust-checkpoint", action="store_true", help="unpickle the checkpoint: it may run code")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the work dir")
    parser.add_argument("--launcher", choices=("none", *RANKS), default="none")
    parser.add_argument(
        "--cfg-options", nargs="+", action="extend", default=[], metavar="K=V", help=f"recipe overrides: {override}"
    )


def engine_argument(parser: ArgumentParser) -> None:
    """What tools that open engines share."""
    parser.add_argument("--trust-engine", action="store_true", help="let version-compatible engines run their own code")


def run_tool(main: Callable[[Namespace], None], args: Namespace) -> None:
    """Run `main`; exit with 2 after a UserError, with 130 after Ctrl-C, each told in one line by the first process."""
    launcher = getattr(args, "launcher", "none")
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        from compress.plan import UserError

        try:
            main(args)
        except UserError as error:
            _leave(f"error: {error}", 2, launcher)
    except (KeyboardInterrupt, Exception) as error:
        if not _interrupted(error):
            raise
        _leave("stopped; go on with --resume", 130, launcher)


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind `error`: what it interrupts may fail on its own while it unwinds."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _leave(message: str, code: int, launcher: str) -> None:
    if first_process(launcher):
        print(" ".join(message.split()), file=sys.stderr, flush=True)
    else:
        # A launcher ends all processes when one does: the first must have spoken by then.
        time.sleep(GRACE_SECONDS)
    sys.exit(code)
