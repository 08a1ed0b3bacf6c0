"""No test asserts on how long something took: a busy machine would fail it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
CLOCKS = {
    f"{name}{unit}"
    for name in ("time", "perf_counter", "monotonic", "process_time", "thread_time")
    for unit in ("", "_ns")
}


MENTIONED = re.compile(r"\btime\.|perf_counter|monotonic|process_time|thread_time")
"""What a file that reads a clock has somewhere."""


def reads_clock(node: ast.AST, timed: set[str]) -> bool:
    """Whether the value of `node` holds a clock's, or one of the names `timed`."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call):
            function = part.func
            if isinstance(function, ast.Attribute) and function.attr in CLOCKS:
                if isinstance(function.value, ast.Name) and function.value.id == "time":
                    return True
            elif isinstance(function, ast.Name) and function.id in CLOCKS - {"time"}:
                return True
        if isinstance(part, ast.Name) and part.id in timed:
            return True
    return False


def timed_names(function: ast.AST) -> set[str]:
    """Names that hold times of a clock, or what is computed of them."""
    timed: set[str] = set()
    for _ in range(3):  # as deep as a chain of assignments goes
        for node in ast.walk(function):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr) else None
            if value is not None and reads_clock(value, timed):
                timed |= {target.id for target in targets if isinstance(target, ast.Name)}
    return timed


def clocked(text: str) -> Iterator[tuple[str, int]]:
    """(function, line) of every assertion in `text` that depends on a clock."""
    if not MENTIONED.search(text):
        return
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef):
            timed = timed_names(function)
            for node in ast.walk(function):
                if isinstance(node, ast.Assert) and reads_clock(node.test, timed):
                    yield function.name, node.lineno


def test_no_test_asserts_on_a_clock() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}, line {line}"
        for path in sorted(ROOT.rglob("*.py"))
        for name, line in clocked(path.read_text())
    ]
    assert found == []


def test_an_assertion_on_a_clock_is_found() -> None:
    direct = "def test_a():\n    start = time.perf_counter()\n    work()\n    assert time.perf_counter() - start < 1\n"
    named = "def test_b():\n    begin = perf_counter_ns()\n    took = (end() - begin) / 1e9\n    assert 0 < took < 2\n"
    harmless = "def test_c():\n    start = time.monotonic()\n    log(start)\n    assert time() is work()\n"
    assert [[*clocked(text)] for text in (direct, named, harmless)] == [[("test_a", 4)], [("test_b", 4)], []]
