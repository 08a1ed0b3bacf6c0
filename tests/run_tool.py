"""A tool as a user calls it, but in this process, which has everything imported already."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """`folder` first on `sys.path`.

    What libraries add to it meanwhile stays, unlike with `monkeypatch.syspath_prepend`: they do it once, when they are
    imported (onnxruntime.transformers), and without it their later imports fail.
    """
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        own = {*before, str(folder)}
        sys.path[:] = [*before, *(entry for entry in sys.path if entry not in own)]


def run_tool(name: str, *arguments: object) -> int:
    """Run tools/`name`.py and return its exit code."""
    with pytest.MonkeyPatch.context() as patch, importable(TOOLS):
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        try:
            runpy.run_path(str(TOOLS / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
    return 0
