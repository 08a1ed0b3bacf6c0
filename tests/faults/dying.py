"""A tool under torchrun, one of whose processes ends at a chosen moment: `dying.py VICTIM SECONDS tool argument...`.

The process numbered VICTIM gets SIGPROF, which nobody handles, after SECONDS of processor time beyond its imports, when
it is started for the first time: it ends as by `kill -9`, wherever it is. With 0 SECONDS nothing ends, and the process
writes what it took into the file that FAULTS_TOOK names.
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


def main() -> None:
    victim, seconds, *command = sys.argv[1:]
    for name in LOADED:
        importlib.import_module(name)
    began = time.process_time()
    concerned = os.environ["RANK"] == victim and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if concerned and float(seconds):
        signal.setitimer(signal.ITIMER_PROF, float(seconds))
    sys.argv = command
    sys.path[0] = str(Path(command[0]).parent)
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        if concerned and not float(seconds):
            Path(os.environ["FAULTS_TOOK"]).write_text(str(time.process_time() - began))


if __name__ == "__main__":
    main()
