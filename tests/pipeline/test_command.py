"""How tools end: one line for the user's errors and for Ctrl-C, a traceback for ours."""

from __future__ import annotations

import runpy
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compress.plan import UserError

COMMAND = runpy.run_path(str(Path(__file__).resolve().parents[2] / "tools/_command.py"))


def ending(main: Callable[[Namespace], None], launcher: str = "none") -> Any:
    """The exit code of a tool."""
    with pytest.raises(SystemExit) as end:
        COMMAND["run_tool"](main, lambda: Namespace(launcher=launcher, resume=False))
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
        COMMAND["run_tool"](main, Namespace)


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


@pytest.mark.parametrize(("launcher", "variable"), COMMAND["RANKS"].items())
def test_only_the_first_process_talks(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, launcher: str, variable: str
) -> None:
    def main(args: Namespace) -> None:
        raise UserError("told once")

    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setenv(variable, "0")
    assert ending(main, launcher) == 2
    assert (capfd.readouterr().err, waited) == ("error: told once\n", [])
    monkeypatch.setenv(variable, "1")
    assert ending(main, launcher) == 2
    assert (capfd.readouterr().err, waited) == ("", [30])
    assert ending(main) == 2
    assert capfd.readouterr().err == "error: told once\n"
