"""Programs that start several processes of one run, and how each process knows which one it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Launcher:
    """The `variable` that numbers the processes, and the `program` that sets it."""

    variable: str
    program: str


LAUNCHERS = {
    "pytorch": Launcher("RANK", "torchrun"),
    "slurm": Launcher("SLURM_PROCID", "srun"),
    "mpi": Launcher("OMPI_COMM_WORLD_RANK", "mpirun"),
}
"""Name, as --launcher takes it -> launcher."""


def own_launcher() -> str:
    """The launcher that has certainly started this process, or "none": torchrun says so, others number all they run."""
    return "pytorch" if "TORCHELASTIC_RUN_ID" in os.environ else "none"


def named_launcher(arguments: Sequence[str]) -> str:
    """The launcher that the command line `arguments` name, right or wrong as they may be otherwise; or "none".

    Example::

        named_launcher(["prune", "--launcher", "pytorch", "--nope"])  # "pytorch"
    """
    words = [word for argument in arguments for word in argument.split("=", 1)]
    named = [launcher for flag, launcher in pairwise(words) if flag == "--launcher" and launcher in LAUNCHERS]
    return named[0] if named else "none"


def process_number(launcher: str) -> int:
    """Which of its processes this is, from 0; `launcher` is one of LAUNCHERS, or "none"."""
    number = "0" if launcher == "none" else os.environ.get(LAUNCHERS[launcher].variable, "0")
    return int(number) if number.isdecimal() else 0


def first_process(launcher: str) -> bool:
    """Whether this process is the one that talks to the user."""
    return process_number(launcher) == 0


def restarted(launcher: str) -> bool:
    """Whether torchrun (--max-restarts) has started the processes again, because one of them was lost."""
    return launcher == "pytorch" and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
