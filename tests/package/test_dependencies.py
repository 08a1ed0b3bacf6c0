"""The package asks for what it uses: every dependency and extra has an import of the library behind it."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {
    "onedl-mmcv": "mmcv",
    "onedl-mmdetection": "mmdet",
    "onedl-mmengine": "mmengine",
    "opencv-python-headless": "cv2",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
"""Name of a distribution -> the module in it, where it is another one."""
OF_OTHERS = {"onnxscript": "torch.onnx exports with it", "opencv-python-headless": "MMEngine's hooks import it"}
"""What the library needs without importing it, and why. The extra `dev` is what `make check` starts."""


def asked_for(names: list[str]) -> list[str]:
    """The distributions in a list of requirements."""
    return [re.match(r"[\w-]+", name)[0] for name in names]


def imported() -> set[str]:
    """Top-level modules that the library imports, or names as text for `needs` and `import_module`."""
    found = set()
    for path in (ROOT / "compress").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value} if re.fullmatch(r"[\w.]+", node.value) else set()
    return {name.partition(".")[0] for name in found}


EXTRAS = {name: listed for name, listed in PROJECT["optional-dependencies"].items() if name != "dev"}


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_what_is_asked_for_is_imported(extra: str) -> None:
    wanted = [name for name in asked_for(EXTRAS[extra] if extra else PROJECT["dependencies"]) if name not in OF_OTHERS]
    assert wanted
    known = imported()
    assert [name for name in wanted if MODULES.get(name, name.replace("-", "_")) not in known] == []


def test_readme_lists_the_extras() -> None:
    (listed,) = re.findall(r"# extras: (.*)", (ROOT / "README.md").read_text())
    assert listed.split(", ") == [*PROJECT["optional-dependencies"]]


def test_a_module_named_nowhere_is_found_out() -> None:
    assert {"torch", "mmdet", "tensorrt_rtx"} <= imported()
    assert imported().isdisjoint({"tensorflow", "mkdocs"})
