"""Two processes share one run: files are written once, the first process talks, results are one network's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import compress

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"


def ranks() -> list[dict[str, str]]:
    """The environment that torchrun gives each of two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]


def check_run(folder: Path, finished: Path) -> None:
    """The folder holds what one process would write, and its network answers as reported."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.parent == folder}
    assert names == {path.name for path in finished.iterdir() if path.is_file()}
    assert not list(folder.rglob(".*"))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        *(("search", 1), ("search", 2), ("finetune", 1), ("finetune", 2))
    ]
    from compress.engine.data import DataConfig, load_data
    from compress.engine.loaders import eval_loader
    from compress.engine.training import evaluate_top1

    test = load_data(DataConfig(limit=60), seed=0).test
    top1 = evaluate_top1(compress.load(folder), eval_loader(test, batch_size=20))["top1"]
    assert top1 == json.loads((folder / "summary.json").read_text())["top1"]["after"]


def test_train_and_prune(tool, tiny, finished, tmp_path: Path) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    pairs = {
        "train": ["--work-dir", base],
        "prune": ["--checkpoint", base, "--pruning-ratio", 0.4, "--work-dir", run],
    }
    for name, arguments in pairs.items():
        options = [RECIPE, *tiny(), *arguments, "--launcher", "pytorch"]
        first, second = [process.wait() for process in [tool.start(name, *options, **rank) for rank in ranks()]]
        assert (first.code, first.stderr) == (0, "")
        assert (second.code, second.stderr, second.stdout) == (0, "", "")
        assert first.stdout.count("done in") == {"train": 1, "prune": 8}[name]
    check_run(run, finished[0])


def test_bad_input_is_told_once(tool, tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [RECIPE, *tiny(), "--checkpoint", tmp_path / "no.pth", "--work-dir", run, "--launcher", "pytorch"]
    first, second = [tool.start("prune", *options, **rank) for rank in ranks()]
    result = first.wait()
    assert result.code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "no such file" in result.stderr
    second.send(signal.SIGTERM)  # as torchrun does when one process ends
    result = second.wait()
    assert (result.code, result.stdout, result.stderr) == (-signal.SIGTERM, "", "")
    assert not run.exists()


@pytest.mark.slow
def test_torchrun(tiny, baseline: Path, finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    options = [*tiny(), "--checkpoint", baseline, "--pruning-ratio", "0.4", "--work-dir", folder]
    command = [*launch, ROOT / "tools/prune.py", RECIPE, *options, "--launcher", "pytorch"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("done in") == 8
    assert result.stdout.count("Report:") == 1
    check_run(folder, finished[0])
