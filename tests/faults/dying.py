"""A tool under torchrun, one of whose processes ends at a chosen moment: `dying.py VICTIM SECONDS tool argument...`.

The process numbered VICTIM gets SIGKILL after SECONDS of processor time beyond its imports, when it is started for the
first time, from a child that watches it: wherever it is then. With 0 SECONDS nothing ends, and the process writes what
it took into the file that FAULTS_TOOK names.
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import sys
import time
from pathlib import Path

LOADED = ("compress.pipeline.run", "compress.report.progress", "sklearn.datasets")


def watch(seconds: float) -> None:
    """Kill this process when it has taken `seconds` of processor time more."""
    victim, tick = os.getpid(), os.sysconf("SC_CLK_TCK")

    def taken() -> float:
        user, system = Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / tick

    end = taken() + seconds
    if os.fork():
        return
    while os.getppid() == victim and taken() < end:
        time.sleep(0.002)
    if os.getppid() == victim:
        os.kill(victim, signal.SIGKILL)
    os._exit(0)


def main() -> None:
    victim, seconds, *command = sys.argv[1:]
    for name in LOADED:
        importlib.import_module(name)
    began = time.process_time()
    concerned = os.environ["RANK"] == victim and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if concerned and float(seconds):
        watch(float(seconds))
    sys.argv = command
    sys.path[0] = str(Path(command[0]).parent)
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        if concerned and not float(seconds):
            Path(os.environ["FAULTS_TOOK"]).write_text(str(time.process_time() - began))


if __name__ == "__main__":
    main()
