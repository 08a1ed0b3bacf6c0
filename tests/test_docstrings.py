"""Public docstrings: an `Args:` list where a function takes more than three parameters.

Public is what a room exports, and what shows an example.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST = 3
"""Parameters that a summary can name itself."""


def public_functions(
    body: list[ast.stmt], exported: set[str], prefix: str = ""
) -> Iterator[tuple[str, ast.FunctionDef]]:
    """(qualified name, function) of what is `exported`, or has an example, methods of such classes too."""
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        doc = ast.get_docstring(node) or ""
        public = prefix or node.name in exported or "Example::" in doc
        if isinstance(node, ast.ClassDef):
            if public:
                yield from public_functions(node.body, exported, f"{node.name}.")
        elif doc and public:
            yield f"{prefix}{node.name}", node


def exports(room: Path) -> set[str]:
    """The names in `__all__` of a room and of the folders in it."""
    names = set()
    for path in room.rglob("__init__.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names |= set(ast.literal_eval(node.value))
    return names


def parameters(function: ast.FunctionDef) -> list[str]:
    """Names of all parameters but `self` and `cls`."""
    given = function.args
    names = [arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    names += [given.vararg.arg] if given.vararg else []
    return [name for name in names if name not in ("self", "cls")]


def described(doc: str) -> list[str]:
    """The names that the `Args:` list of a docstring has, in its order."""
    lines = iter(doc.split("\n"))
    if "Args:" not in doc.split("\n"):
        return []
    for line in lines:
        if line == "Args:":
            break
    names = []
    for line in lines:
        if not line.startswith("    "):
            break
        if line[4:5].strip():
            names += [name.strip() for name in line.partition(":")[0].split(",")]
    return names


def wanting(room: str) -> list[str]:
    """Public functions of a room with more than MOST parameters, whose list is missing or is of other parameters."""
    folder = ROOT / "compress" / room
    found, exported = [], exports(folder)
    for path in sorted(folder.rglob("*.py")):
        for name, function in public_functions(ast.parse(path.read_text()).body, exported):
            names, doc = parameters(function), ast.get_docstring(function) or ""
            listed = described(doc)
            if (len(names) > MOST and listed != names) or not set(listed) <= set(names):
                found.append(f"{path.relative_to(ROOT)}: {name}({', '.join(names)}), its Args: {listed}")
    return found


ROOMS = sorted(path.parent.name for path in (ROOT / "compress").glob("*/__init__.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_functions_with_many_parameters_list_them(room: str) -> None:
    assert wanting(room) == []


def test_a_list_is_read_by_its_names() -> None:
    doc = "Summary.\n\nArgs:\n    a: one\n        line more: with a colon.\n    b, c: two.\n\nRaises UserError: no.\n"
    assert described(doc) == ["a", "b", "c"]
    assert described("Summary of Args: none") == []
