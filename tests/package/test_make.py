"""Which Python `make` takes: the newest that runs, and no shim of one that is not installed. And what it installs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNS, SHIM = "#!/bin/sh\nexit 0\n", "#!/bin/sh\necho 'command not found' >&2\nexit 127\n"


def made(tmp_path: Path, pythons: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """`make` beside a Makefile of its own, with the programs of `pythons` alone on the path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "echo", "touch"):
        (programs / name).symlink_to(shutil.which(name) or name)
    for name, text in pythons.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in ("Makefile", "setup.py", "pyproject.toml", *(path.name for path in ROOT.glob("requirements*.txt"))):
        shutil.copy(ROOT / name, tmp_path / name)
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make")
    environment = {"PATH": str(programs), **{key: os.environ[key] for key in ("LANG",) if key in os.environ}}
    return subprocess.run(
        [make, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3.11": RUNS}, "python3.11"),
        ({"python3.11": RUNS, "python3.12": RUNS, "python3.13": SHIM}, "python3.12"),
        ({"python3.11": RUNS, "python3.12": RUNS, "python3.13": RUNS, "python3.14": RUNS}, "python3.13"),
    ],
)
def test_the_newest_that_runs(pythons: dict[str, str], chosen: str, tmp_path: Path) -> None:
    done = made(tmp_path, pythons, "--dry-run", "install")
    assert f"\n{chosen} -m venv .venv\n" in done.stdout


@pytest.mark.parametrize(
    ("pythons", "arguments", "says"),
    [
        ({"python3.13": SHIM}, [], "error: python3.11 to python3.13 does not run, "),
        ({"python3.11": RUNS, "mine": SHIM}, ["PYTHON=mine"], "error: mine does not run, "),
    ],
)
def test_none_that_runs(pythons: dict[str, str], arguments: list[str], says: str, tmp_path: Path) -> None:
    done = made(tmp_path, pythons, "install", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(says)
    assert not (tmp_path / ".venv").exists()


CPU_WHEELS = "--extra-index-url https://download.pytorch.org/whl/cpu"


@pytest.mark.parametrize(
    ("arguments", "has", "lacks"),
    [
        (["GPU=no", "demo"], [CPU_WHEELS, "-r requirements.txt"], ["-dev.txt", "-tensorrt.txt", "-detection.txt"]),
        (["GPU=yes", "demo"], ["-r requirements.txt"], [CPU_WHEELS, "-tensorrt.txt"]),
        (["GPU=no", "test"], [CPU_WHEELS, "-dev.txt", "-tensorrt.txt", "-detection.txt", "-openvino.txt"], []),
    ],
)
def test_each_target_installs_what_it_needs(
    arguments: list[str], has: list[str], lacks: list[str], tmp_path: Path
) -> None:
    steps = made(tmp_path, {"python3.11": RUNS}, "--dry-run", *arguments).stdout
    assert [text for text in has if text not in steps] == []
    assert [text for text in lacks if text in steps] == []


def test_a_driver_of_nvidia_brings_its_libraries(tmp_path: Path) -> None:
    steps = made(tmp_path, {"python3.11": RUNS, "nvidia-smi": RUNS}, "--dry-run", "demo").stdout
    assert "(GPU=yes)" in steps


def test_a_wheelhouse_takes_the_networks_place(tmp_path: Path) -> None:
    steps = made(tmp_path, {"python3.11": RUNS}, "--dry-run", "WHEELHOUSE=w", "GPU=no", "docs").stdout
    installs = [line for line in steps.splitlines() if "-m pip " in line]
    assert len(installs) >= 5
    assert [line for line in installs if " --no-index --find-links w " not in line or "http" in line] == []
