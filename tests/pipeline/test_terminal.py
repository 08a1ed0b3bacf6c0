"""What someone at a terminal sees: a bar with the time left that goes away, also when the run is stopped."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from tool_runs import SIZED

from compress.report.progress import TerminalProgress

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"
HIDE, SHOW, ERASE = "\x1b[?25l", "\x1b[?25h", "\x1b[1A\x1b[2K"


class Terminal:
    """A pseudo-terminal whose output is collected."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.path = Path(os.ttyname(self.slave))
        self.chunks: list[bytes] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self.master, 1 << 16):
                self.chunks.append(chunk)
        except OSError:  # the last writer has closed it
            return

    @property
    def text(self) -> str:
        return b"".join(self.chunks).decode(errors="replace")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    device = Terminal()
    yield device
    os.close(device.slave)


def test_a_stage_with_its_bar(tool, tiny, terminal: Terminal, tmp_path: Path) -> None:
    options = [RECIPE, *tiny(train__epochs=2), "--work-dir", tmp_path / "run"]
    running = tool.start("train", *options, terminal=terminal.path, TERM="xterm", COLUMNS="90")
    result = running.wait()
    running.wait_until(lambda: "Checkpoint:" in terminal.text)
    assert (result.code, result.stderr) == (0, "")
    assert re.search(r"\d+ % .*0:00:\d\d.* passed,.* left", terminal.text)
    assert terminal.text.count(HIDE) == terminal.text.count(SHOW) == 1
    after = terminal.text.rsplit(SHOW, 1)[1]
    assert after.startswith(f"\r{ERASE}")
    assert re.search(r"done\x1b\[0m in \d+ s  top-1 \d+\.\d\d %\r\nCheckpoint: ", after)


def test_ctrl_c_takes_the_bar_away(tool, tiny, terminal: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = [RECIPE, *tiny(train__epochs=50), "--work-dir", folder]
    running = tool.start("train", *options, terminal=terminal.path, TERM="xterm", COLUMNS="90")
    running.wait_until(lambda: "epoch 1/50" in terminal.text)
    running.send(signal.SIGINT)
    result = running.wait()
    assert (result.code, result.stderr) == (130, "stopped; go on with --resume\n")
    running.wait_until(lambda: terminal.text.endswith(ERASE))
    assert terminal.text.count(HIDE) == terminal.text.count(SHOW) == 1
    assert "Traceback" not in terminal.text


def test_divergence_is_told_in_one_line(tool, tiny, tmp_path: Path) -> None:
    result = tool("train", RECIPE, *tiny(train__optimizer__lr=1e30), "--work-dir", tmp_path / "run")
    assert result.code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert "train.optimizer.lr" in result.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_quiet_progress_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with TerminalProgress(quiet=True) as progress:
        progress.announce("train")
        progress.start("train", 4, 1)
        progress.advance()
        progress.note("epoch 1/2")
        progress.done("train", {"top1": 50.0})
    assert capfd.readouterr() == ("", "")


def watched(width: int = 80) -> TerminalProgress:
    """Progress in a terminal that is a text in memory."""
    progress = TerminalProgress()
    progress.console = Console(force_terminal=True, width=width, file=io.StringIO(), color_system=None)
    return progress


def test_waiting_shows_a_spinner_where_someone_watches_and_takes_it_away(capfd: pytest.CaptureFixture[str]) -> None:
    with watched() as progress, progress.waiting("Evaluating"):
        pass
    text = progress.console.file.getvalue()
    assert re.search(r"[-|/\\] Evaluating 0:00:0\d", text)
    assert text.count(HIDE) == text.count(SHOW) == 1
    assert text.rstrip().endswith(ERASE.rstrip())
    with TerminalProgress() as plain, plain.waiting("Evaluating"):
        pass
    assert capfd.readouterr() == ("", ""), "a pipe gets nothing"


def test_stages_without_a_bar_spin_unless_they_time_networks() -> None:
    shown = {}
    for stage in ("export", "measure"):
        with watched() as progress:
            progress.announce(stage)
            progress.done(stage, {})
        shown[stage] = progress.console.file.getvalue()
    assert HIDE in shown["export"]
    assert shown["export"].count(HIDE) == shown["export"].count(SHOW)
    assert HIDE not in shown["measure"]


def test_a_bar_takes_the_place_of_a_spinner_and_fits_the_terminal() -> None:
    with watched(width=50) as progress, progress.waiting("Evaluating"):
        progress.start("images", 10, 0)
        progress.advance()
        assert progress.spinner is None
        assert progress.bar is not None
    lines = re.sub(r"\x1b\[[?\d]*\w|\r", "\n", progress.console.file.getvalue()).splitlines()
    assert any("passed," in line and line.rstrip().endswith("left") for line in lines)
    assert max(map(len, lines)) <= 50


def test_a_note_is_told_word_for_word_and_breaks_between_words() -> None:
    text = "--checkpoint runs/[old]/ema.pth: the averaged weights of state_dict_ema are taken [/b]"
    with watched(width=40) as progress:
        progress.note(text)
        shown = progress.console.file.getvalue().splitlines()
        progress.console = Console(width=40, file=io.StringIO(), soft_wrap=True)
        progress.note(text)
        assert progress.console.file.getvalue() == f"  {text}\n"
    assert " ".join(" ".join(shown).split()) == text
    assert [line for line in shown if not line.startswith("  ") or len(line) > 40] == []


def test_time_left_counts_only_the_steps_of_this_process(capfd: pytest.CaptureFixture[str], monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    progress = TerminalProgress()
    progress.announce("train")
    progress.start("train", 100, 50)  # resumed halfway
    for _ in range(10):
        progress.advance()
        clock[0] += 6.0
    progress.note("epoch 6/10")
    progress.done("train", {})
    lines = capfd.readouterr().out.splitlines()
    assert lines[1:] == ["  resumed after 50 of 100 steps", "  epoch 6/10  4 min 00 s left", "  done in 1 min 00 s"]


def fresh(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("name", ["prune", "train"])
def test_help_needs_no_torch(tmp_path: Path, name: str) -> None:
    for module in ("torch", "mmengine", "numpy"):
        (tmp_path / f"{module}.py").write_text("raise ImportError('blocked')\n")
    result = fresh(ROOT / f"tools/{name}.py", "--help", PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    assert "--cfg-options" in result.stdout
    assert "--resume" in result.stdout


def test_imports_bring_no_warnings(baseline: Path, tmp_path: Path) -> None:
    """A process of its own, with all warnings shown, still tells bad input in one line."""
    arguments = ["--checkpoint", baseline, "--macs-ratio", 0.001, "--work-dir", tmp_path / "run"]
    options = ["--cfg-options", "space.depth=11", "data.limit=200", *SIZED]
    # From Python 3.13 on MMEngine's own import has one that is shown to nobody who does not ask for it.
    shown = ["-W", "default", "-W", "ignore:'maxsplit' is passed as positional:DeprecationWarning"]
    result = fresh(*shown, ROOT / "tools/prune.py", RECIPE, *arguments, *options)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: --macs-ratio 0.001: out of reach")
    assert result.stdout == ""


def test_wrong_arguments_are_one_line_too() -> None:
    result = fresh(ROOT / "tools/prune.py", RECIPE, "--pruning-ratio", "much")
    assert result.returncode == 2
    assert result.stderr.startswith("error: --pruning-ratio: 'much' is no finite number; write it like 0.5")
    assert len(result.stderr.splitlines()) == 1


def test_the_tool_offers_the_pipelines_stages_and_budgets() -> None:
    from compress.pipeline.deploying import DEPLOYING
    from compress.pipeline.rounds import in_rounds
    from compress.plan.budget_kinds import BUDGETS

    result = fresh(ROOT / "tools/prune.py", "--help")
    assert f"--stage {{{','.join(stage.name for stage in (*in_rounds(2), *DEPLOYING))}}}" in "".join(
        result.stdout.split("\n")
    ).replace("  ", " ")
    for kind in BUDGETS.values():
        flag = f"{kind.flag} {kind.metavar}"
        assert (flag in result.stdout, kind.help in result.stdout) == ((True, True) if kind.cost else (False, True))
