"""`kill -9` at any moment of any stage loses nothing: resumed, the run is the undisturbed one byte for byte.

FAULTS_KILLS is the number of moments of every stage, 30 if it is not set.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from campaign import snapshot, tally, well_ended
from moments import environment, measured, moments
from undisturbed import RECIPE, check_table, check_trained, table_made, trained

KILLS = int(os.environ.get("FAULTS_KILLS", "30"))
STAGES = ("load", "search", "select", "slice", "finetune", "export", "measure", "report")
MADE = {
    "load": ("baseline.safetensors", "baseline.json"),
    "search": ("scores.safetensors", "searched.safetensors", "searched.json", "search/last.pth"),
    "select": ("plan.json",),
    "slice": ("sliced.safetensors", "sliced.json", "complexity.json"),
    "finetune": ("model.safetensors", "model.json", "finetune/last.pth"),
    "export": ("baseline.onnx", "model.onnx", "parity.json"),
    "measure": ("latency.json",),
    "report": ("summary.json", "report.html"),
}
"""What every stage writes, beside its rows of metrics.jsonl and its entry in stages.json."""


def rows(folder: Path, *, but: str = "", only: str = "") -> str:
    """The lines of metrics.jsonl of all stages, of all but one, or of one only."""
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    stages = [json.loads(line)["stage"] for line in lines]
    return "".join(line for line, at in zip(lines, stages, strict=True) if at != but and only in ("", at))


def before(stage: str, finished: Path, folder: Path) -> None:
    """Make `folder` the finished run as it would be if `stage` alone had not run."""
    shutil.copytree(finished, folder)
    for name in MADE[stage]:
        (folder / name).unlink()
    (folder / "metrics.jsonl").write_text(rows(folder, but=stage))
    done = json.loads((folder / "stages.json").read_text())
    del done[stage]
    (folder / "stages.json").write_text(json.dumps(done))


def put_in_order(folder: Path) -> None:
    """Bring the rows of metrics.jsonl into the order of stages: the later ones were there before."""
    (folder / "metrics.jsonl").write_text(rows(folder, only="search") + rows(folder, only="finetune"))


def survives(
    tool: Any,
    folder: Path,
    arguments: Sequence[object],
    resumed: Sequence[object],
    *,
    kind: str,
    prepare: Callable[[], None],
    check: Callable[[], None],
    made_up: bool = False,
) -> None:
    """Run a tool undisturbed to know its work, then kill it at KILLS moments and go on with `resumed` each time.

    `prepare` makes `folder` ready and `check` judges it in the end; with `made_up`, profiles are by a formula.
    """
    report, lost = folder.with_suffix(".work"), []
    prepare()
    result = tool(*arguments, **environment(folder, report=report, made_up=made_up))
    well_ended(result.code, result.stderr, codes=(0,))
    check()
    chosen = moments(measured(report), KILLS, seed=len(kind))
    for moment in chosen:
        shutil.rmtree(folder, ignore_errors=True)
        prepare()
        result = tool(*arguments, **environment(folder, moment, made_up=made_up))
        try:
            if result.code in (-signal.SIGKILL, -signal.SIGPROF):  # else it took less time than before
                result = tool(*resumed, **environment(folder, made_up=made_up))
            well_ended(result.code, result.stderr, codes=(0,))
            check()
            assert [file for file in snapshot(folder) if Path(file).name.startswith(".")] == []
        except (AssertionError, OSError) as error:
            lost.append((moment, str(error)[:500]))
    tally(f"kill -9: {kind}", len(chosen), len(chosen) - len(lost))
    assert lost == []


@pytest.mark.faults
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_of_a_run(tool, tiny, finished, same_run: Callable, tmp_path: Path, stage: str) -> None:
    whole, folder = finished[0], tmp_path / "run"
    arguments = ["prune", RECIPE, *tiny(), "--work-dir", folder]

    def check() -> None:
        put_in_order(folder)
        same_run(whole, folder)
        assert set(json.loads((folder / "stages.json").read_text())) == set(STAGES)
        assert all((folder / name).stat().st_size > 0 for name in MADE[stage])

    survives(
        tool,
        folder,
        [*arguments, "--stage", stage],
        [*arguments, "--resume"],  # the stage may be done, and only its end have been missing
        kind=f"stage {stage}",
        prepare=lambda: before(stage, whole, folder),
        check=check,
    )


@pytest.mark.faults
@pytest.mark.parametrize("name", ["train", "finetune"])
def test_a_training_alone(tool, tiny, finished, tmp_path: Path, name: str) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    arguments = trained(tool, tiny, finished[0], name, whole)
    survives(
        tool,
        folder,
        [*arguments, folder],
        [*arguments, folder, "--resume"],
        kind=f"tools/{name}.py",
        prepare=lambda: None,
        check=lambda: check_trained(folder, whole),
    )


@pytest.mark.faults
def test_a_latency_table(tool, tmp_path: Path) -> None:
    folder, whole = tmp_path / "tables", tmp_path / "whole"
    arguments = table_made(tool, folder, whole)
    survives(
        tool,
        folder,
        arguments,
        [*arguments, "--resume"],
        kind="tools/profile_latency.py",
        prepare=lambda: None,
        check=lambda: check_table(folder, whole),
        made_up=True,
    )
