"""The wheel: what is in it, its command and recipes from anywhere, and a short demo in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from tool_runs import TINY

from compress import __version__

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "width/preresnet20_digits_rarts"
SOURCES = ("compress", "recipes", "pyproject.toml", "setup.py", "README.md", "LICENSE")


def run(*command: object, cwd: Path) -> str:
    """What `command` prints, far from the checkout and with a quiet warning filter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves folders beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    sources.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, sources / name)
    run(
        sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})", cwd=sources
    )
    (built,) = folder.glob("*.whl")
    return built


def test_everything_travels_in_the_wheel(wheel: Path) -> None:
    assert wheel.name == f"nncompress-{__version__}-py3-none-any.whl"
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        info = f"nncompress-{__version__}.dist-info"
        entries = archive.read(f"{info}/entry_points.txt").decode()
        metadata = archive.read(f"{info}/METADATA").decode()
    for top in ("compress", "recipes"):
        sources = {path.relative_to(ROOT) for path in (ROOT / top).rglob("*.py")}
        inside = {Path("compress", path) if top == "recipes" else path for path in sources}
        assert sorted(str(path) for path in inside if str(path) not in names) == []
    assert {"compress/py.typed", f"{info}/licenses/LICENSE"} <= set(names)
    assert "nncompress = compress.commands:main" in entries
    assert "License-Expression: Apache-2.0" in metadata
    for extra in ("demo", "detection", "tensorrt", "tensorrt-rtx", "dev"):
        assert f"Provides-Extra: {extra}\n" in metadata
    assert {name.partition("/")[0] for name in names} == {"compress", info}


def test_the_package_finds_its_recipes_inside(wheel: Path, tmp_path: Path) -> None:
    """Unpacked, which is what installing it does, beside this environment's other packages."""
    ZipFile(wheel).extractall(tmp_path / "place")
    start = f"import sys; sys.path.insert(0, {str(tmp_path / 'place')!r}); from compress.commands import main; main()"
    assert f"\n{RECIPE} " in run(sys.executable, "-c", start, "recipes", cwd=tmp_path)
    folder = run(sys.executable, "-c", start, "recipes", "--path", cwd=tmp_path)
    assert folder == f"{tmp_path}/place/compress/recipes\n"


@pytest.mark.slow
def test_an_empty_environment_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    """Minutes, most of them PyTorch's installation: the demo's two commands, with shorter trainings."""
    venv.create(tmp_path / "env", with_pip=True)
    python, command = tmp_path / "env/bin/python", tmp_path / "env/bin/nncompress"
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[demo]", "-c", ROOT / "requirements.txt", cwd=tmp_path)
    options = ["--cfg-options", *(f"{key}={value}" for key, value in TINY.items())]
    run(command, "train", RECIPE, "--work-dir", "base", *options, cwd=tmp_path)
    pruning = ["--checkpoint", "base", "--pruning-ratio", 0.4, "--work-dir", "demo", *options]
    run(command, "prune", RECIPE, *pruning, cwd=tmp_path)
    summary = json.loads((tmp_path / "demo/summary.json").read_text())
    assert summary["macs"]["after"] < summary["macs"]["before"]
    assert "<html" in (tmp_path / "demo/report.html").read_text()
    loaded = "import compress; print(len(compress.load('demo').card.classes))"
    assert run(python, "-c", loaded, cwd=tmp_path) == "10\n"
