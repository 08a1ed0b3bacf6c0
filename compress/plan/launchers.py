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


def first_process(launcher: str) -> bool:
    """Whether this process is the one that talks to the user; `launcher` is one of LAUNCHERS, or "none"."""
    return launcher == "none" or os.environ.get(LAUNCHERS[launcher].variable, "0") == "0"
