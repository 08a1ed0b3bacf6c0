"""The examples of docstrings, found by `Example::`, and how they run: with names and files that stand for theirs."""

from __future__ import annotations

import ast
import importlib
import math
import os
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from compress.plan import UserError

ROOT = Path(__file__).resolve().parents[1]
MARK = "Example::"
ELSEWHERE = ("errno", "json", "webbrowser", "numpy as np", "torch", "onnx", "onnxruntime", "rich", "rich.console")
"""What examples use of other libraries without saying so."""

OF_MACHINES = ("compress.measure.environment", "compress.export.tensorrt.device")
"""Modules whose examples say what one machine answered."""

Prepared = Mapping[str, Callable[[], Any]]
"""Name -> what makes the thing that an example calls so."""


@dataclass(frozen=True)
class Example:
    """The example of `name` ("function" or "Class.method") in `module`."""

    module: str
    name: str
    code: str

    def __str__(self) -> str:
        return f"{self.module.removeprefix('compress.')}:{self.name}"


@lru_cache
def examples(root: Path = ROOT) -> tuple[Example, ...]:
    """Every example in a docstring of the library, in a fixed order."""
    found: list[Example] = []
    for path in sorted((root / "compress").rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for name, doc in _docstrings(ast.parse(path.read_text()), ""):
            found += [Example(module, name, code) for code in _codes(doc)]
    return tuple(found)


def _docstrings(node: ast.AST, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        if doc := ast.get_docstring(node):
            yield prefix or "module", doc
        for child in node.body:
            yield from _docstrings(child, f"{prefix}.{child.name}".strip(".") if hasattr(child, "name") else prefix)


def _codes(doc: str) -> Iterator[str]:
    """The indented blocks behind each MARK."""
    for part in doc.split(MARK)[1:]:
        lines = part.strip("\n").split("\n")
        end = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("    ")), len(lines))
        yield textwrap.dedent("\n".join(lines[:end])).strip()


@lru_cache
def public_names() -> dict[str, Any]:
    """Name -> function or class, of every module of the library but detection's, whose imports take MMDetection."""
    names: dict[str, Any] = {}
    for path in sorted((ROOT / "compress").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if module.startswith("compress.detection") or module.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module)).items():
            if getattr(value, "__module__", None) == module and not name.startswith("_"):
                names.setdefault(name, value)
    return names


def namespace(example: Example, prepared: Prepared) -> dict[str, Any]:
    """What the names of `example` mean: prepared things, those of its module, those of the library and of others."""
    names: dict[str, Any] = {}
    for text in ELSEWHERE:
        exec(f"import {text}", names)
    names |= public_names() | {"Path": Path} | dict(vars(importlib.import_module(example.module)))
    used = {node.id for node in ast.walk(ast.parse(example.code)) if isinstance(node, ast.Name)}
    return names | {name: make() for name, make in prepared.items() if name in used}


def run_example(example: Example, prepared: Prepared, folder: Path) -> None:
    """Run `example` in `folder`, and compare what it says of the result in a comment behind its last line."""
    names = namespace(example, prepared)
    tree = ast.parse(example.code)
    last, says = tree.body[-1], _comment(example.code)
    with inside(folder):
        exec(compile(ast.Module(tree.body[:-1], []), str(example), "exec"), names)
        if isinstance(last, ast.Raise):
            with pytest.raises(UserError):
                exec(compile(ast.Module([last], []), str(example), "exec"), names)
            return
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([last], []), str(example), "exec"), names)
            return
        value = eval(compile(ast.Expression(last.value), str(example), "eval"), names)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if says is not None and example.module not in OF_MACHINES:
        alone = used.isdisjoint(prepared) and not re.search(r"\.(json|onnx)\"", example.code)
        assert same(value, says, exactly=alone), f"{example}: {value!r}, its comment says {says!r}"


def _comment(code: str) -> Any:
    """The value in the comment that ends `code`; None where it is none, or text."""
    _, mark, text = code.split("\n")[-1].partition("  # ")
    try:
        return ast.literal_eval(text) if mark else None
    except (ValueError, SyntaxError):
        return None


def same(value: Any, says: Any, *, exactly: bool) -> bool:
    """Whether `value` is what a comment says; unless `exactly`, numbers are of another network, and may differ."""
    if says is Ellipsis:
        return True
    if isinstance(says, Mapping):
        found = isinstance(value, Mapping) and value.keys() >= says.keys()
        return found and all(same(value[key], item, exactly=exactly) for key, item in says.items())
    if isinstance(says, list):
        found = isinstance(value, list) and (len(value) == len(says) or not exactly)
        return found and all(same(a, b, exactly=exactly) for a, b in zip(value, says, strict=False))
    if isinstance(says, float | int) and not isinstance(says, bool):
        return math.isclose(value, says, rel_tol=0.01, abs_tol=1e-9) if exactly else isinstance(value, float | int)
    return value == says if exactly else isinstance(value, type(says))


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """`folder` as the working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
