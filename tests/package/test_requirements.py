"""The lists of exact versions: what pyproject.toml asks for is in them, once, and nothing is left for pip to choose."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LISTS = {
    "": "requirements.txt",
    "demo": "requirements.txt",
    "detection": "requirements-detection.txt",
    "openvino": "requirements-openvino.txt",
    "png": "requirements-dev.txt",
    "dev": "requirements-dev.txt",
    "tensorrt-rtx": "requirements-tensorrt.txt",
}
"""Extra -> the list that pins what it asks for; the others, `nats` and `tensorrt`, no test imports."""
FILES = sorted(path.name for path in ROOT.glob("requirements*.txt"))


def pins(file: str) -> dict[str, str]:
    """{name: version} of a list."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
    split = [line.split("==") for line in lines]
    assert all(len(parts) == 2 for parts in split), "a line is not NAME==VERSION"
    return {canonicalize_name(name): version for name, version in split}


@pytest.mark.parametrize("extra", LISTS)
def test_the_pin_of_what_is_asked_for_is_in_its_range(extra: str) -> None:
    pinned = pins(LISTS[extra])
    for text in PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]:
        wanted = Requirement(text)
        if wanted.name != "nncompress":
            assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), text


def test_every_extra_has_its_list_and_every_list_its_place() -> None:
    assert {*PROJECT["optional-dependencies"]} - {*LISTS} == {"nats", "tensorrt"}
    makefile, page = (ROOT / "Makefile").read_text(), (ROOT / "docs/installing.md").read_text()
    assert [file for file in FILES if f"-r {file}" not in makefile or f"-r {file}" not in page] == []
    assert {*re.findall(r"requirements[\w-]*\.txt", makefile + page)} == {*FILES}
    told = dict(re.findall(r"\b(torch(?:vision)?)==([\w.]+)", page))
    assert told == {name: pins("requirements.txt")[name] for name in ("torch", "torchvision")}


def test_no_package_is_in_two_lists() -> None:
    listed = [name for file in FILES for name in pins(file)]
    assert sorted({name for name in listed if listed.count(name) > 1}) == []


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt", "requirements-tensorrt.txt"])
def test_what_a_pinned_package_needs_is_pinned(file: str) -> None:
    """NVIDIA's libraries aside, which are torch's alone: they differ between its builds."""
    pinned = pins("requirements.txt") | pins(file)
    for name in pins(file):
        for text in (metadata.requires(name) or []) if name != "torch" else []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert needed.specifier.contains(pinned.get(canonicalize_name(needed.name), "none")), f"{name}: {text}"
