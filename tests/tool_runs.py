"""Tiny runs of the real tools: fixtures of all tests, by tests/conftest.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"
SIZED = ["data.input_size=32", "data.resize=None"]
"""Images of 32 x 32, as made-up tables and baselines are of, whatever the recipe shows."""
TINY = {
    **dict(each.split("=") for each in SIZED),
    "space.depth": 11,
    "data.limit": 60,
    "train.epochs": 1,
    "train.batch_size": 20,
    "train.warmup_epochs": 0,
    "search.epochs": 2,
    "search.batch_size": 10,
    "search.warmup_epochs": 0,
    "finetune.epochs": 2,
    "finetune.batch_size": 20,
    "finetune.warmup_epochs": 0,
    "select.ranking": "global",
    "select.floor": 1,
    "select.round_to": 1,
    "measure.repeats": 3,
    "measure.warmup_seconds": 0.01,
    "measure.before_finetune": False,
    "measure.layers": False,
    "export.parity_images": 20,
}
"""Overrides under which a whole run takes seconds."""


@dataclass(frozen=True)
class Result:
    """What a tool left behind: exit code and output."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Running:
    """A tool that has been started."""

    server: Server
    pid: int
    output: list[Path]

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = 600.0) -> None:
        """Poll `condition` until it holds; one that never does ends some day."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds:g} s")
            time.sleep(0.005)

    def wait(self) -> Result:
        code = self.server.ask({"wait": self.pid})["code"]
        return Result(code, *(path.read_text() if path.exists() else "" for path in self.output))


@dataclass
class Server:
    """Starts tools in forked processes; see fork_server.py."""

    scratch: Path
    process: subprocess.Popen
    count: int = field(default=0)

    def ask(self, request: dict) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self, tool: str, *arguments: object, cwd: Path | None = None, terminal: Path | None = None, **env: str
    ) -> Running:
        """Start tools/`tool`.py; with `terminal`, the device is its standard output."""
        self.count += 1
        output = [self.scratch / f"{self.count}.{name}" for name in ("stdout", "stderr")]
        request = {
            "start": [str(ROOT / "tools" / f"{tool}.py"), *map(str, arguments)],
            "cwd": str(cwd or self.scratch),
            "stdout": str(terminal or output[0]),
            "stderr": str(output[1]),
            "env": env,
        }
        return Running(self, self.ask(request)["pid"], output)

    def __call__(self, tool: str, *arguments: object, cwd: Path | None = None, **env: str) -> Result:
        return self.start(tool, *arguments, cwd=cwd, **env).wait()


def quiet_environment() -> dict[str, str]:
    """One thread: faster for tiny work, and what bit-identical results need."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "100"}


@pytest.fixture(scope="session")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`tool("prune", RECIPE, "--work-dir", d)` runs tools/prune.py and returns its Result."""
    scratch = tmp_path_factory.mktemp("tools")
    command = [sys.executable, str(Path(__file__).with_name("fork_server.py"))]
    environment = {**quiet_environment(), "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with open(scratch / "server.stderr", "w") as log:
        process = subprocess.Popen(command, env=environment, stderr=log, text=True, **pipes)
        server = Server(scratch, process)
        assert process.stdout is not None
        assert process.stdin is not None
        assert "ready" in json.loads(process.stdout.readline())
        yield server
        process.stdin.close()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., list[str]]:
    """`tiny(search__epochs=3)`: the --cfg-options of a tiny run, with changes."""

    def options(**changes: object) -> list[str]:
        settings = TINY | {key.replace("__", "."): value for key, value in changes.items()}
        return ["--cfg-options", *(f"{key}={value}" for key, value in settings.items())]

    return options


@pytest.fixture(scope="session")
def baseline(tool: Server, tiny: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tools/train.py wrote."""
    folder = tmp_path_factory.mktemp("baseline") / "run"
    result = tool("train", RECIPE, "--work-dir", folder, *tiny())
    assert (result.code, result.stderr) == (0, "")
    return folder


@pytest.fixture(scope="session")
def finished(
    tool: Server, tiny: Callable[..., list[str]], baseline: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    """A whole run of tools/prune.py at a pruning ratio of 0.4: its folder and what it printed. Only read it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    result = tool("prune", RECIPE, "--checkpoint", baseline, "--pruning-ratio", 0.4, "--work-dir", folder, *tiny())
    assert (result.code, result.stderr) == (0, "")
    return folder, result


VOLATILE = ("seconds", "latency_ms", "latency_ratio", "latency_spread", "drifted")


TUNED = ("search", "select", "slice", "finetune")
"""The stages that decide what a run's network is: exports and reports are made of it, whoever made it."""


def _assert_same_network(a: Path, b: Path) -> None:
    """What the stages up to the fine-tuning wrote is equal, but for the clock."""
    for name in ("baseline", "scores", "searched", "sliced", "model"):
        assert (a / f"{name}.safetensors").read_bytes() == (b / f"{name}.safetensors").read_bytes(), name
    for name in ("plan.json", "complexity.json", "model.json", "recipe.json"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    rows = [[json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (a, b)]
    first, second = ([{**row, "seconds": 0} for row in run] for run in rows)
    assert first == second


def _assert_same_run(a: Path, b: Path) -> None:
    """Bytes equal where no clock is involved, the rest equal but for the clock."""
    _assert_same_network(a, b)
    for name in ("parity.json", "baseline.onnx", "model.onnx"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (a, b)]
    assert [s.pop(key) is not None for s in summaries for key in VOLATILE] == [True] * 2 * len(VOLATILE)
    assert summaries[0] == summaries[1]


@pytest.fixture(scope="session")
def same_run() -> Callable[[Path, Path], None]:
    """`same_run(a, b)` asserts that two run folders hold the same results."""
    return _assert_same_run


@pytest.fixture(scope="session")
def same_network() -> Callable[[Path, Path], None]:
    """`same_network(a, b)`: as `same_run`, of the stages up to the fine-tuning."""
    return _assert_same_network


@pytest.fixture(scope="session")
def tuned(tool: Server) -> Callable[..., None]:
    """`tuned(RECIPE, "--work-dir", d)` does what a run has left to do up to its fine-tuning, a stage at a time.

    The exports behind it take most of a tiny run's time.
    """

    def go_on(*arguments: object, stages: Sequence[str] = TUNED) -> None:
        for stage in stages:
            result = tool("prune", *arguments, "--stage", stage)
            assert (result.code, result.stderr) == (0, "")

    return go_on


def _snapshot(folder: Path) -> dict[str, bytes]:
    """Every file under `folder`, relative."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def refused(tool: Server, tmp_path: Path) -> Callable[..., str]:
    """Run a tool that must refuse: checks the contract and returns the message."""

    def run(name: str, *arguments: object, says: tuple[str, ...], work_dir: Path | None = None) -> str:
        folder = work_dir or tmp_path / "work"
        existed, before = folder.exists(), _snapshot(folder)
        result = tool(name, *arguments, "--work-dir", folder)
        lines = result.stderr.splitlines()
        assert result.code == 2, result.stderr
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("error: ")
        assert result.stdout == ""
        assert [part for part in says if part not in lines[0]] == [], lines[0]
        assert folder.exists() == existed
        assert _snapshot(folder) == before
        return lines[0]

    return run


@pytest.fixture
def prune(refused: Callable[..., str], tiny: Callable[..., list[str]], baseline: Path) -> Callable[..., str]:
    """`prune("--macs-ratio", 0.5, says=...)`: a run that is right in all that is not changed by arguments."""

    def run(
        *arguments: object,
        recipe: Path = RECIPE,
        checkpoint: Path = baseline,
        options: dict | None = None,
        **keywords: Any,
    ) -> str:
        cfg = tiny(**(options or {}))
        return refused("prune", recipe, *cfg, "--checkpoint", checkpoint, *arguments, **keywords)

    return run
