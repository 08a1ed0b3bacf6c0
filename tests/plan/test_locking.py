"""One process at a time: a lock that its process cannot outlive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compress.plan import UserError
from compress.plan.locking import hold, holds, release, sole_use

HOLDER = """
import os, sys, time
from compress.plan.locking import hold
hold(sys.argv[1], what="x")
if "fork" not in sys.argv or os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""


@contextmanager
def holder(path: Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """Another process that holds the lock `path`; with "fork", it has a child, too, which has started."""
    command = [sys.executable, "-c", HOLDER, str(path), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = int(process.stdout.readline())
        yield process
        process.kill()
        if last != process.pid:
            os.kill(last, signal.SIGKILL)


def test_the_second_is_refused_with_the_first_ones_number(tmp_path: Path) -> None:
    lock = tmp_path / "new" / ".lock"
    with holder(lock) as other:
        with pytest.raises(UserError) as error:
            hold(lock, what="--work-dir run")
        assert str(error.value) == (
            f"--work-dir run: process {other.pid} is at work there; wait for it or stop it, or give another place"
        )
        assert not holds(lock)
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert lock.exists()
        with sole_use(lock, what="x"):  # a dead process's lock holds nobody up
            assert lock.read_text() == f"{os.getpid()}\n"
    assert not lock.exists()


def test_forked_workers_do_not_hold_it(tmp_path: Path) -> None:
    """They may outlive a killed parent for seconds."""
    lock = tmp_path / ".lock"
    with holder(lock, "fork") as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with sole_use(lock, what="x"):
            pass


def test_one_process_does_not_take_it_twice(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with sole_use(lock, what="--output t.json"):
        assert holds(lock)
        with (
            pytest.raises(UserError, match=f"--output t.json: process {os.getpid()} is at work there"),
            sole_use(lock, what="--output t.json"),
        ):
            pass
        assert holds(lock)
        pid = os.fork()
        if pid == 0:
            os._exit(holds(lock))
        assert os.waitpid(pid, 0)[1] == 0
    assert not holds(lock)
    assert list(tmp_path.iterdir()) == []
    release(lock)  # harmless


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    os.symlink(precious, tmp_path / ".lock")
    with pytest.raises(UserError, match="mend the links"):
        hold(tmp_path / ".lock", what="x")
    assert precious.read_text() == "kept"


def test_where_there_are_no_locks_a_warning_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.warns(UserWarning, match="its file system has no locks"), sole_use(tmp_path / ".lock", what="x"):
        pass
    assert list(tmp_path.iterdir()) == []
