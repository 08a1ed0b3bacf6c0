"""Ends the process it is installed in at a chosen moment of a tool's work, as `kill -9` does, without a wall clock.

fork_server.py installs it in a tool's process where the environment says so. A moment is a change of a file under a
folder, counted from the start ("file:7": right before the seventh), or an amount of processor time ("cpu:0.25"):
SIGPROF, which nobody handles, then ends the process wherever it is, in a write or in a kernel of PyTorch. With the name
of a signal ("cpu:0.25:SIGTERM") the process is sent that one instead, and may tidy up.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "FAULTS_MOMENT"
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.truncate", "os.chmod", "os.rmdir")


@dataclass(frozen=True)
class Work:
    """What an undisturbed run of a tool takes: changes of files, and seconds of processor time."""

    changes: int
    seconds: float


def moments(work: Work, count: int, *, seed: int) -> list[str]:
    """`count` moments of `work`, half of them at changes of files and half at processor times, by `seed`."""
    chance = random.Random(seed)
    changes = min(count // 2, work.changes)
    found = [f"file:{n}" for n in sorted(chance.sample(range(1, work.changes + 1), changes))]
    return found + [f"cpu:{chance.uniform(0.01, work.seconds):.3f}" for _ in range(count - changes)]


def environment(folder: Path, moment: str = "", *, report: Path | None = None, made_up: bool = False) -> dict[str, str]:
    """What a tool's process is told: die at `moment` of its work under `folder`, or report its Work in a file."""
    told = {"folder": str(folder), "moment": moment, "report": str(report or ""), "made_up": made_up}
    return {VARIABLE: json.dumps(told)}


def measured(report: Path) -> Work:
    """The work that a process has reported."""
    return Work(**json.loads(report.read_text()))


def install() -> None:
    """Do what the environment tells, in this process."""
    told = json.loads(os.environ[VARIABLE])
    if told["made_up"]:
        _make_up_profiles()
    kind, at, name = (*told["moment"].split(":"), "", "", "")[:3]
    counted = _count(told["folder"], int(at) if kind == "file" else 0, getattr(signal, name or "SIGKILL"))
    if kind == "cpu":
        stop = (lambda *_: os.kill(os.getpid(), getattr(signal, name))) if name else signal.SIG_DFL
        signal.signal(signal.SIGPROF, stop)
        signal.setitimer(signal.ITIMER_PROF, float(at))
    if told["report"]:
        # The server ends its children without the interpreter's own end, so atexit runs by hand there.
        atexit.register(lambda: _report(Path(told["report"]), Work(counted[0], time.process_time())))


def _report(path: Path, work: Work) -> None:
    path.write_text(json.dumps({"changes": work.changes, "seconds": work.seconds}))


def _count(folder: str, last: int, number: int) -> list[int]:
    """Count changes of files under `folder`; the process gets the signal `number` right before the `last`, 0: never."""
    counted, inside = [0], os.path.join(folder, "")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE)
        if writes and isinstance(arguments[0], str | os.PathLike) and os.fspath(arguments[0]).startswith(inside):
            counted[0] += 1
            if counted[0] == last:
                os.kill(os.getpid(), number)

    sys.addaudithook(hook)
    return counted


def _make_up_profiles() -> None:
    """Have tools/profile_latency.py take times by a formula: tables without a clock."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))
    from made_up_profiles import Formula

    from compress.measure import table

    @contextmanager
    def opened(space: Any, size: tuple[int, int, int], *others: Any) -> Any:
        formula = Formula(space=space, size=size)
        formula.factor = lambda width: 1.0
        yield formula

    table._profiler = opened  # type: ignore[assignment]
