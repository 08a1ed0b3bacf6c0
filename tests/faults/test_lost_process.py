"""One of four processes killed at any moment of a search: torchrun starts all again, and the numbers are the same.

FAULTS_LOSSES is the number of moments, 10 if it is not set.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from campaign import tally
from undisturbed import RECIPE, ROOT

PROCESSES = 4
LOSSES = int(os.environ.get("FAULTS_LOSSES", "10"))
WRITTEN = ("scores.safetensors", "searched.safetensors", "searched.json", "baseline.safetensors", "recipe.json")


def under_torchrun(folder: Path, arguments: list[str], victim: int, seconds: float) -> subprocess.CompletedProcess[str]:
    """Search in `folder` with four processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)]
    dying = [str(Path(__file__).with_name("dying.py")), str(victim), f"{seconds:.3f}"]
    command = [*launch, "--max-restarts", "2", *dying, str(ROOT / "tools/prune.py"), *arguments]
    told = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "FAULTS_TOOK": str(folder.with_suffix(".took"))}
    return subprocess.run(
        [*command, "--work-dir", str(folder), "--launcher", "pytorch"],
        capture_output=True, text=True, env={**os.environ, **told}, check=False, timeout=900,
    )  # fmt: skip


def found(folder: Path) -> dict[str, object]:
    """What a search has left, without its clock."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    files = {name: (folder / name).read_bytes() for name in WRITTEN}
    return {**files, "rows": [{**row, "seconds": 0} for row in rows], "rest": sorted(folder.glob(".*"))}


@pytest.fixture(scope="module")
def searching(tiny, baseline: Path) -> list[str]:
    """Arguments of a search of a few seconds."""
    arguments = [
        str(RECIPE),
        *tiny(search__epochs=4, search__batch_size=3),
        "--checkpoint",
        str(baseline),
        "--pruning-ratio",
        "0.4",
    ]
    return [*arguments, "--stage", "search"]


@pytest.fixture(scope="module")
def whole(searching: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], float]:
    """What an undisturbed search leaves, and the processor time of one of its processes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = under_torchrun(folder, searching, 1, 0)
    assert result.returncode == 0, result.stderr[-2000:]
    return found(folder), float(folder.with_suffix(".took").read_text())


@pytest.mark.faults
@pytest.mark.parametrize("number", range(LOSSES))
def test_a_search(searching: list[str], whole: tuple[dict[str, object], float], tmp_path: Path, number: int) -> None:
    folder, chance = tmp_path / "run", random.Random(number)
    result = under_torchrun(folder, searching, chance.randrange(PROCESSES), chance.uniform(0.01, 0.9 * whole[1]))
    survived = result.returncode == 0 and "Traceback" not in result.stderr and found(folder) == whole[0]
    tally("one of four processes killed", 1, survived)
    assert "Traceback" not in result.stderr, result.stderr[-3000:]
    assert result.returncode == 0, result.stderr[-3000:]
    assert found(folder) == whole[0]
    assert f"(exitcode: {-signal.SIGKILL})" in result.stderr, "it took less time than before"
