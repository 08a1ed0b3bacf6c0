"""One of two processes lost at any moment of a search: torchrun starts both again, and the numbers are the same.

FAULTS_LOSSES is the number of moments, 10 if it is not set.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from campaign import tally
from undisturbed import RECIPE, ROOT

LOSSES = int(os.environ.get("FAULTS_LOSSES", "10"))
WRITTEN = ("scores.safetensors", "searched.safetensors", "searched.json", "baseline.safetensors", "recipe.json")


def under_torchrun(folder: Path, arguments: list[str], victim: int, seconds: float) -> subprocess.CompletedProcess[str]:
    """Search in `folder` with two processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
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


@pytest.mark.faults
def test_a_search(tiny, baseline: Path, tmp_path: Path) -> None:
    arguments = [str(RECIPE), *tiny(search__epochs=4), "--checkpoint", str(baseline), "--pruning-ratio", "0.4"]
    arguments += ["--stage", "search"]
    whole, folder, chance, lost = tmp_path / "whole", tmp_path / "run", random.Random(0), []
    result = under_torchrun(whole, arguments, 1, 0)
    assert result.returncode == 0, result.stderr[-2000:]
    expected, took = found(whole), float(whole.with_suffix(".took").read_text())
    for _ in range(LOSSES):
        victim, seconds = chance.randrange(2), chance.uniform(0.01, took)
        shutil.rmtree(folder, ignore_errors=True)
        result = under_torchrun(folder, arguments, victim, seconds)
        if result.returncode != 0 or "Traceback" in result.stderr or found(folder) != expected:
            lost.append((victim, seconds, result.stderr[-2000:]))
    tally("one of two processes lost", LOSSES, LOSSES - len(lost))
    assert lost == []
