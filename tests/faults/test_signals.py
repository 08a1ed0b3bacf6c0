"""SIGTERM, SIGHUP and Ctrl-C at any moment: one line, the signal's exit code, nothing left; locks; closed streams.

FAULTS_SIGNALS is the number of moments of every command, 9 if it is not set.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from campaign import snapshot, tally, well_ended
from moments import environment, measured, moments

COUNT = int(os.environ.get("FAULTS_SIGNALS", "9"))
ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"
SIGNALS = ("SIGTERM", "SIGHUP", "SIGINT")


def processes(folder: Path) -> list[int]:
    """Processes whose working directory is `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(folder):
                found.append(int(entry.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def survives(
    tool: Any,
    home: Path,
    arguments: Sequence[object],
    *,
    kind: str,
    check: Callable[[], None],
    resumes: bool,
    made_up: bool = False,
) -> None:
    """Run a tool that writes under `home`/run, stop it at COUNT moments, and go on, or start again."""
    folder, temporary, lost = home / "run", home / "tmp", []
    temporary.mkdir()
    options = {"TMPDIR": str(temporary), "cwd": home}
    report = home / "work"
    assert tool(*arguments, **environment(folder, report=report, made_up=made_up), **options).code == 0
    check()
    for number, moment in enumerate(moments(measured(report), COUNT, seed=len(kind))):
        shutil.rmtree(folder)
        name = SIGNALS[number % len(SIGNALS)]
        told = environment(folder, f"{moment}:{name}", made_up=made_up)
        result = tool(*arguments, **told, **options)
        try:
            by = "" if name == "SIGINT" else f" by {name}"
            if result.code:  # else it took less time than before
                assert result.stderr == f"stopped{by}{'; go on with --resume' if resumes else ''}\n"
                assert result.code == 128 + getattr(signal, name)
                assert [file for file in snapshot(home) if Path(file).name.startswith(".")] == []
                left = [path for path in temporary.iterdir() if not path.name.startswith("torchinductor")]  # a cache
                assert left == []
                assert processes(home) == []
                more = ["--resume"] if resumes else []
                result = tool(*arguments, *more, **environment(folder, made_up=made_up), **options)
            well_ended(result.code, result.stderr, codes=(0,))
            check()
        except (AssertionError, OSError) as error:
            lost.append((moment, name, str(error)[:500]))
    tally(f"signals: {kind}", COUNT, COUNT - len(lost))
    assert lost == []


@pytest.mark.faults
@pytest.mark.parametrize("workers", [0, 2])
def test_training(tool, tiny, tmp_path: Path, workers: int) -> None:
    whole, home = tmp_path / "whole", tmp_path / "home"
    home.mkdir()
    options = ["train", RECIPE, *tiny(train__epochs=2, data__num_workers=workers), "--work-dir"]
    assert tool(*options, whole).code == 0

    def check() -> None:
        assert (home / "run/model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()

    survives(tool, home, [*options, home / "run"], kind=f"tools/train.py, {workers} workers", check=check, resumes=True)


@pytest.mark.faults
def test_a_whole_run(tool, tiny, baseline: Path, finished, same_run: Callable, tmp_path: Path) -> None:
    options = ["prune", RECIPE, *tiny(), "--checkpoint", baseline, "--pruning-ratio", 0.4, "--work-dir"]
    survives(
        tool,
        tmp_path,
        [*options, tmp_path / "run"],
        kind="tools/prune.py",
        check=lambda: same_run(finished[0], tmp_path / "run"),
        resumes=True,
    )


@pytest.mark.faults
def test_a_latency_table(tool, tmp_path: Path) -> None:
    options = ["--designs", 8, "--rounds", 4, "--cfg-options", "space.depth=11", "data.limit=60"]

    def check() -> None:
        assert {path.name for path in (tmp_path / "run").iterdir()} == {"t.json", "t.html"}
        assert len(json.loads((tmp_path / "run/t.json").read_text())["designs"]) == 8

    survives(
        tool,
        tmp_path,
        ["profile_latency", RECIPE, "-o", tmp_path / "run/t.json", *options],
        kind="tools/profile_latency.py",
        check=check,
        resumes=True,
        made_up=True,
    )


@pytest.mark.faults
def test_an_export(tool, finished, tmp_path: Path) -> None:
    made = tmp_path / "made.onnx"
    assert tool("export", finished[0], "--to", "onnx", "-o", made, "--fp16").code == 0
    home = tmp_path / "home"
    home.mkdir()
    survives(
        tool,
        home,
        ["export", finished[0], "--to", "onnx", "-o", home / "run/x.onnx", "--fp16"],
        kind="tools/export.py",
        check=lambda: None if (home / "run/x.onnx").read_bytes() == made.read_bytes() else pytest.fail("another file"),
        resumes=False,
    )


def test_two_processes_in_one_folder(tool, tiny, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = [RECIPE, *tiny(train__epochs=200), "--work-dir", folder]
    first = tool.start("train", *options)
    first.wait_until(lambda: (folder / "metrics.jsonl").exists())
    before = (folder / "recipe.json").read_bytes()
    for more in ([], ["--resume"]):
        second = tool("train", *options, *more)
        well_ended(second.code, second.stderr, codes=(2,))
        assert f"error: --work-dir {folder}: process {first.pid} is at work there" in second.stderr
        assert second.stdout == ""
    assert (folder / ".lock").read_text() == f"{first.pid}\n"
    assert (folder / "recipe.json").read_bytes() == before
    first.send(signal.SIGKILL)
    first.wait()
    third = tool.start("train", *options, "--resume")
    third.wait_until(lambda: (folder / ".lock").read_text() == f"{third.pid}\n")
    third.send(signal.SIGTERM)
    ended = third.wait()
    assert (ended.code, ended.stderr) == (143, "stopped by SIGTERM; go on with --resume\n")
    assert not (folder / ".lock").exists()


@pytest.mark.faults
def test_two_processes_that_begin_at_once(tool, tiny, tmp_path: Path) -> None:
    """One of them works, the others are refused, and the run is whole: twenty times."""
    lost = []
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        started = [tool.start("train", RECIPE, *tiny(), "--work-dir", folder) for _ in range(3)]
        ended = [process.wait() for process in started]
        if sorted(result.code for result in ended) != [0, 2, 2] or not (folder / "model.safetensors").is_file():
            lost.append([(result.code, result.stderr) for result in ended])
    tally("three processes in one folder", 20, 20 - len(lost))
    assert lost == []


@pytest.mark.faults
@pytest.mark.parametrize(
    "shell", ["| head -1", "| head -0", ">&-", "2>&-", ">/dev/full", "2>/dev/full", ">&- 2>&- <&-"]
)
@pytest.mark.parametrize("name", ["evaluate", "prune", "train", "benchmark", "export", "finetune"])
def test_streams(finished, tiny, tmp_path: Path, name: str, shell: str) -> None:
    """Whole tools, whose output nobody takes, in a terminal without UTF-8."""
    commands: dict[str, list[object]] = {
        "evaluate": [finished[0]],
        "prune": [RECIPE, *tiny(), "--resume", "--work-dir", finished[0]],
        "train": [RECIPE, *tiny(), "--work-dir", tmp_path / "run"],
        "benchmark": [finished[0] / "model.onnx", "--repeats", 3],
        "export": [finished[0], "--to", "onnx", "-o", tmp_path / "x.onnx"],
        "finetune": [RECIPE, *tiny(), "--checkpoint", tmp_path / "none"],
    }
    command = " ".join(map(str, [sys.executable, ROOT / "tools" / f"{name}.py", *commands[name]]))
    pipe = shell.startswith("|")
    script = (
        f"({command}; echo $? >{tmp_path}/code) {shell}" if pipe else f"{command} {shell}; echo $? >{tmp_path}/code"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "LANG": "C", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=False, timeout=300)
    code = int((tmp_path / "code").read_text())
    good = code in ((2,) if name == "finetune" else (0, 2, 141)) and "Traceback" not in done.stderr
    good = (
        good
        and "Exception ignored" not in done.stderr
        and len(done.stderr.splitlines()) == (code == 2 and "2>" not in shell)
    )
    tally("streams that nobody reads", 1, int(good))
    assert good, (code, done.stderr)
