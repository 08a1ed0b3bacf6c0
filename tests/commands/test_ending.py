"""How tools end: one line for the user's errors and for signals, a traceback for ours, whoever reads the output."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compress.commands import command_parser
from compress.commands.ending import run_tool
from compress.pipeline.running import _start_processes
from compress.plan import UserError, replacing, storing
from compress.plan.launchers import LAUNCHERS

ROOT = Path(__file__).resolve().parents[2]


def ending(main: Callable[[Namespace], None], launcher: str = "none", **arguments: object) -> Any:
    """The exit code of a tool that can go on, unless `arguments` are others."""
    with pytest.raises(SystemExit) as end:
        run_tool(main, lambda: Namespace(launcher=launcher, **(arguments or {"resumable": True})))
    return end.value.code


def test_user_errors_take_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    def main(args: Namespace) -> None:
        raise UserError("--thing 3: wrong\n  over\tseveral lines")

    assert ending(main) == 2
    assert capfd.readouterr().err == "error: --thing 3: wrong over several lines\n"


def test_our_errors_keep_their_traceback() -> None:
    def main(args: Namespace) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run_tool(main, Namespace)


def test_ctrl_c(capfd: pytest.CaptureFixture[str]) -> None:
    def main(args: Namespace) -> None:
        raise KeyboardInterrupt

    def unwinds_badly(args: Namespace) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("half a file")

    for stopped in (main, unwinds_badly):
        assert ending(stopped) == 130
        assert capfd.readouterr().err == "stopped; go on with --resume\n"


@pytest.fixture
def _heard() -> Iterator[None]:
    """Python's handlers of a terminal: a shell makes what it starts in the background ignore some signals."""
    heard = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    former = {number: signal.signal(number, handler) for number, handler in heard.items()}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_signals(capfd: pytest.CaptureFixture[str], tmp_path: Path, number: str, code: int) -> None:
    def main(args: Namespace) -> None:
        with replacing(tmp_path / "model.onnx") as tmp:
            tmp.write_text("half")
            os.kill(os.getpid(), getattr(signal, number))
            time.sleep(60)

    by = "" if number == "SIGINT" else f" by {number}"
    former = signal.getsignal(getattr(signal, number))
    assert ending(main) == code
    assert capfd.readouterr().err == f"stopped{by}; go on with --resume\n"
    assert ending(main, source="model") == code
    assert capfd.readouterr().err == f"stopped{by}\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(getattr(signal, number)) == former


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_that_comes_in_a_destructor_is_not_lost(
    capfd: pytest.CaptureFixture[str], number: str, code: int
) -> None:
    class Tidied:
        def __del__(self) -> None:
            signal.raise_signal(getattr(signal, number))

    def main(args: Namespace) -> None:
        Tidied()
        signal.pause()

    assert ending(main) == code
    assert capfd.readouterr().err.startswith("stopped")


def test_an_ignored_signal_stays_ignored(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """nohup asks for it."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run_tool(lambda args: os.kill(os.getpid(), signal.SIGHUP), Namespace)
    finally:
        signal.signal(signal.SIGHUP, former)
    assert capfd.readouterr() == ("", "")


def test_what_the_system_refuses(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def full(args: Namespace) -> None:
        with storing(tmp_path / "last.pth"):
            raise OSError(errno.ENOSPC, "full")

    def long(args: Namespace) -> None:
        Path("x" * 300).exists()

    assert ending(full) == 2
    line = f"error: {tmp_path / 'last.pth'}: No space left on device; free some space"
    assert capfd.readouterr().err == f"{line}, then go on with --resume\n"
    assert ending(full, source="model") == 2
    assert capfd.readouterr().err == f"{line}\n"
    assert ending(long) == 2
    assert capfd.readouterr().err == f"error: {'x' * 300}: File name too long; give a shorter name\n"


def test_a_file_that_we_forgot_is_our_error() -> None:
    def main(args: Namespace) -> None:
        Path("never_written").read_text()

    with pytest.raises(FileNotFoundError):
        run_tool(main, Namespace)


TALKING = r"""
import argparse, sys
from compress.commands.ending import run_tool

def parse():
    parser = argparse.ArgumentParser(description="d" * 100_000)
    parser.add_argument("how")
    return parser.parse_args()

def main(args):
    from compress.plan import UserError
    from rich.console import Console
    if args.how == "wrong":
        raise UserError("wrong")
    for _ in range(3000):
        text = args.how + " \u2212" + " x" * 50  # more in all than a pipe holds
        print(text) if args.how == "print" else Console(soft_wrap=True).print(text)
    print("seen", file=open("end", "w"))

run_tool(main, parse)
"""


@pytest.mark.parametrize(
    ("line", "code", "says", "ends"),
    [
        ("print | head -1", 141, "", False),
        ("rich | head -1", 141, "", False),
        ("--help | head -c 1", 0, "", False),
        ("wrong | head -c 1", 2, "error: wrong", False),
        ("print >&-", 0, "", True),
        ("rich >&-", 0, "", True),
        ("print >&- 2>&- <&-", 0, "", True),
        ("wrong 2>&-", 2, "", False),
        ("wrong 2>/dev/full", 2, "", False),
        ("print >/dev/full", 2, "error: standard output, or a file in /tmp: No space left on device", False),
        ("--help >/dev/full", 0, "", False),
        ("rich >out", 0, "", True),
    ],
)
def test_streams_that_take_nothing(tmp_path: Path, line: str, code: int, says: str, ends: bool) -> None:
    (tmp_path / "tool.py").write_text(TALKING)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "LANG": "C", "TMPDIR": "/tmp"}
    before, pipe, after = line.partition(" | ")
    command = f"{sys.executable} tool.py {before}; code=$?; echo $code >code; exit $code"
    script = f"({command}) {pipe} {after}" if pipe else command
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert int((tmp_path / "code").read_text()) == code, done.stderr
    assert len(done.stderr.splitlines()) == bool(says), done.stderr
    assert done.stderr.startswith(says)
    assert (tmp_path / "end").exists() == ends
    if (tmp_path / "out").exists():
        assert (tmp_path / "out").read_text().startswith("rich - x")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_only_the_first_process_talks(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    def main(args: Namespace) -> None:
        raise UserError("told once")

    waited: list[float] = []
    variable = LAUNCHERS[launcher].variable
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setenv(variable, "0")
    assert ending(main, launcher) == 2
    assert (capfd.readouterr().err, waited) == ("error: told once\n", [])
    monkeypatch.setenv(variable, "1")
    assert ending(main, launcher) == 2
    assert (capfd.readouterr().err, waited) == ("error: told once\n", [31]), (
        "if it is still there, the first says nothing"
    )
    assert ending(main) == 2
    assert capfd.readouterr().err == "error: told once\n"


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """This is the second process of torchrun; the list gets the seconds that it waits."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    return waited


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("arguments", ["--nope --launcher {}", "--launcher={} --seed", "--launcher {} --stage no"])
def test_wrong_arguments_are_told_by_the_first_process(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, launcher: str, arguments: str
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    given = ["recipe", *arguments.format(launcher).split()]
    for number in "01":
        monkeypatch.setenv(LAUNCHERS[launcher].variable, number)
        with pytest.raises(SystemExit, match="2"):
            run_tool(lambda args: None, lambda: command_parser("prune").parse_args(given))
        assert capfd.readouterr().err.startswith("error: ")
        assert waited == [31][: int(number)]


def test_torchruns_processes_are_known_without_launcher(capfd: pytest.CaptureFixture[str], second: list[float]) -> None:
    def main(args: Namespace) -> None:
        raise UserError("told once")

    assert ending(main) == 2
    assert (capfd.readouterr().err, second) == ("error: told once\n", [31])


@pytest.mark.usefixtures("_heard", "second")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_whose_launcher_ends_it_says_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """For the first has told the user, and ended."""
    monkeypatch.setattr("time.sleep", lambda seconds: os.kill(os.getpid(), number))

    def main(args: Namespace) -> None:
        raise UserError("told once")

    assert ending(main, "pytorch") == 2
    assert capfd.readouterr().err == ""
    with pytest.raises(SystemExit, match="2"):
        run_tool(main, lambda: command_parser("train").parse_args(["R", "--nope", "--launcher", "pytorch"]))
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("second")
def test_warnings_are_the_first_processs(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def main(args: Namespace) -> None:
        warnings.warn("a word", stacklevel=1)

    monkeypatch.setattr("warnings.formatwarning", warnings.formatwarning)
    run_tool(main, lambda: Namespace(launcher="pytorch"))
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("RANK", "0")
    with pytest.warns(UserWarning, match="a word"):
        run_tool(main, lambda: Namespace(launcher="pytorch"))


def test_processes_of_torchrun_that_would_each_do_the_run_are_refused(
    monkeypatch: pytest.MonkeyPatch, second: list[float]
) -> None:
    assert second == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"^--launcher: torchrun has started 2 processes.*give --launcher pytorch$"):
        _start_processes("none", None)
    monkeypatch.setenv("WORLD_SIZE", "1")
    _start_processes("none", None)
