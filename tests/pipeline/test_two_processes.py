"""Two processes share one run: files are written once, the first process talks, results are one network's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tool_runs import Running

import compress
from compress.spaces import read_state

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"


def ranks() -> list[dict[str, str]]:
    """The environment that torchrun gives each of two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]


def under_torchrun(restarts: int, store: torch.distributed.TCPStore) -> list[dict[str, str]]:
    """The same where torchrun keeps `store` over `restarts`."""
    kept = {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    return [{**rank, **kept, "TORCHELASTIC_RESTART_COUNT": str(restarts)} for rank in ranks()]


def torchruns_store() -> torch.distributed.TCPStore:
    return torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def refused(first: Running, second: Running) -> str:
    """What the first process says of a user's error, and what launchers then do to the second."""
    result = first.wait()
    second.send(signal.SIGTERM)
    assert (result.code, second.wait().code != 0) == (2, True)
    return result.stderr


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
    # Whether it has heard of the error by then or not, and whatever PyTorch says of a connection that ends.
    assert result.code in (2, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert (result.stdout, "no such file" in result.stderr) == ("", False)
    assert not run.exists()


SHARED = {"train__epochs": 2, "train__batch_size": 10, "train__sync_bn": True, "train__optimizer__lr": 0.002}
"""Settings with which any number of processes trains alike; at high rates the noise of rounding grows fast."""


def begun(folder: Path, rows: int) -> Callable[[], bool]:
    """Whether the run in `folder` has so many rows."""
    return lambda: (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").read_text().count("\n") >= rows


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_state(folder / "model.safetensors")


def test_a_lost_process_ends_the_run_and_a_restart_goes_on(tool, tiny, tmp_path: Path) -> None:
    """As torchrun restarts it, without --resume, with the same two processes; or by hand with one."""
    whole, lost, alone = tmp_path / "whole", tmp_path / "lost", tmp_path / "alone"
    job, other_job = torchruns_store(), torchruns_store()

    def start(folder: Path, restarts: int = 0, *, store: torch.distributed.TCPStore = job) -> list[Running]:
        options = [RECIPE, *tiny(**SHARED), "--work-dir", folder, "--launcher", "pytorch"]
        return [tool.start("train", *options, **rank) for rank in under_torchrun(restarts, store)]

    undisturbed = start(whole, store=other_job)
    assert [process.wait().code for process in undisturbed] == [0, 0]

    first, second = start(lost)
    second.wait_until(begun(lost, 1))
    second.send(signal.SIGKILL)
    told = first.wait()
    assert (second.wait().code, told.code) == (-signal.SIGKILL, 2)
    assert told.stderr == (
        "error: one of the 2 processes has ended before the others; see what it said, then go on with --resume\n"
    )
    assert not (lost / ".lock").exists()
    shutil.copytree(lost, alone)

    said = refused(*start(lost, 1, store=other_job))
    assert "already holds a run; add --resume" in said, "another job has not begun this run"

    results = [process.wait() for process in start(lost, 1)]
    assert [(result.code, result.stderr) for result in results] == [(0, ""), (0, "")]
    assert (lost / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (lost / "recipe.json").read_bytes() == (whole / "recipe.json").read_bytes()
    rows = [[json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (whole, lost)]
    assert [{**row, "seconds": 0} for row in rows[0]] == [{**row, "seconds": 0} for row in rows[1]]

    result = tool("train", RECIPE, *tiny(**SHARED), "--work-dir", alone, "--resume")
    assert (result.code, result.stderr) == (0, "")
    moved = 0
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(alone)[name], value, rtol=1e-4, atol=1e-5)
        moved += not torch.equal(weights(alone)[name], value)
    assert moved > 0, "one process went on, in another order of sums"


def test_a_folder_that_the_processes_do_not_share_is_refused(tool, tiny, baseline: Path, tmp_path: Path) -> None:
    """The second machine, here another folder, sees nothing of the run that the first goes on with."""
    places = [tmp_path / "first", tmp_path / "second"]
    shutil.copytree(baseline, places[0] / "run")
    places[1].mkdir()
    options = [RECIPE, *tiny(), "--work-dir", "run", "--resume", "--launcher", "pytorch"]
    started = [tool.start("train", *options, cwd=cwd, **rank) for cwd, rank in zip(places, ranks(), strict=True)]
    assert refused(*started) == (
        "error: --work-dir run: the processes do not find the same run there; give a folder that all machines share, "
        "and see alike\n"
    )
    assert not any(places[1].iterdir())


def test_a_hung_process_ends_the_run_in_time(tool, tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [*tiny(**SHARED | {"train__epochs": 50}), "--work-dir", run, "--launcher", "pytorch", "--dist-timeout", 2]
    first, second = [tool.start("train", RECIPE, *options, **rank) for rank in ranks()]
    second.wait_until(begun(run, 1))
    second.send(signal.SIGSTOP)
    result = first.wait()
    assert result.code == 2
    assert result.stderr == (
        "error: one of the 2 processes did not answer within 2 s; see what it waits for, or raise --dist-timeout, then "
        "go on with --resume\n"
    )
    second.send(signal.SIGTERM)  # as torchrun does, which ends it by SIGKILL where that does not help
    second.send(signal.SIGCONT)
    assert second.wait().code != 0


def test_a_limit_without_processes_has_no_use(prune) -> None:
    prune("--dist-timeout", 5, "--pruning-ratio", 0.4, says=("--dist-timeout 5: there is one process",))


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
