"""kill -9 and --resume give what an uninterrupted run gives, bit for bit; Ctrl-C leaves in one line."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tool_runs import TUNED

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"


def rows(folder: Path) -> list[tuple[str, int]]:
    """(stage, epoch) of the whole lines of metrics.jsonl."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    parsed = [json.loads(line) for line in lines if line.endswith("\n")]
    return [(row["stage"], row["epoch"]) for row in parsed]


def stages(folder: Path) -> list[str]:
    path = folder / "stages.json"
    return list(json.loads(path.read_text())) if path.exists() else []


def back_to(folder: Path, stage: str) -> None:
    """Let the run forget that it finished `stage` and those behind it."""
    done = json.loads((folder / "stages.json").read_text())
    order = list(done)
    (folder / "stages.json").write_text(json.dumps({name: done[name] for name in order[: order.index(stage)]}))


@pytest.mark.slow
def test_killed_three_times(tool, tiny, baseline: Path, finished, same_run: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ["--checkpoint", baseline, "--pruning-ratio", 0.4]
    for stage, epoch in (("search", 1), ("search", 2), ("finetune", 1)):
        running = tool.start("prune", RECIPE, *tiny(), *arguments, "--work-dir", folder)
        running.wait_until(lambda moment=(stage, epoch): moment in rows(folder))
        running.send(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL
        assert stage not in stages(folder)
        arguments = ["--resume"]  # checkpoint and budget are the folder's own
    result = tool("prune", RECIPE, *tiny(), "--resume", "--work-dir", folder)
    assert (result.code, result.stderr) == (0, "")
    assert "Searching" not in result.stdout
    same_run(finished[0], folder)


def test_killed_training(tool, tiny, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = tiny(train__epochs=3)
    assert tool("train", RECIPE, *options, "--work-dir", whole).code == 0
    running = tool.start("train", RECIPE, *options, "--work-dir", killed)
    running.wait_until(lambda: ("train", 2) in rows(killed))
    running.send(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    result = tool("train", RECIPE, *options, "--work-dir", killed, "--resume")
    assert (result.code, result.stderr) == (0, "")
    assert "resumed after" in result.stdout
    assert (whole / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
    assert rows(killed) == [("train", 1), ("train", 2), ("train", 3)]


@pytest.mark.parametrize("stage", ["search", "finetune"])
def test_killed_after_the_last_epoch_but_before_the_stage_was_recorded(
    tuned, tiny, finished, same_network: Callable, tmp_path: Path, stage: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    back_to(folder, stage)
    for name in {"search": ("scores", "searched"), "finetune": ("model",)}[stage]:
        (folder / f"{name}.safetensors").unlink()
    if stage == "search":
        shutil.rmtree(folder / "finetune")
        lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
        (folder / "metrics.jsonl").write_text("".join(lines[:2]))
    tuned(RECIPE, *tiny(), "--work-dir", folder, stages=TUNED[TUNED.index(stage) :])
    same_network(finished[0], folder)


def test_half_a_row_and_half_a_checkpoint_do_not_stop_a_resume(
    tuned, tiny, finished, same_network: Callable, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    back_to(folder, "finetune")
    last = folder / "finetune" / "last.pth"
    half = last.with_name(".last.tmp999999999.pth")
    half.write_bytes(last.read_bytes()[:1000])
    last.unlink()
    (folder / ".lock").write_text("999999999\n")  # of a killed process
    text = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(text[: len(text) - 40])
    tuned(RECIPE, *tiny(), "--work-dir", folder, stages=("finetune",))
    same_network(finished[0], folder)
    assert list(folder.rglob(".*")) == []


def test_a_damaged_training_checkpoint_is_named(tool, tiny, finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    back_to(folder, "finetune")
    last = folder / "finetune" / "last.pth"
    last.write_bytes(last.read_bytes()[:1000])
    result = tool("prune", RECIPE, *tiny(), "--resume", "--work-dir", folder)
    assert result.code == 2
    assert len(result.stderr.splitlines()) == 1
    assert str(last) in result.stderr
    assert "delete it" in result.stderr


def test_ctrl_c(tool, tiny, baseline: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = [*tiny(), "--checkpoint", baseline, "--pruning-ratio", 0.4, "--work-dir", folder]
    running = tool.start("prune", RECIPE, *options)
    running.wait_until(lambda: ("search", 1) in rows(folder))
    running.send(signal.SIGINT)
    result = running.wait()
    assert result.code == 130
    assert result.stderr == "stopped; go on with --resume\n"
    assert "Traceback" not in result.stdout
    assert stages(folder) == ["load"]
