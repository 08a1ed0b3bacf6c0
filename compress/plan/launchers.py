"""Programs that start several processes of one run, and how each process knows which one it is."""

from __future__ import annotations

import os
from dataclasses import dataclass


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
