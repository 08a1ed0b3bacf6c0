"""Overrides and recipes in Python with anything in them: one line, or a recipe."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from audit import CANARIES
from campaign import obeys, places, spread, tally

from compress.pipeline.recipe import load_recipe

pytestmark = pytest.mark.filterwarnings("ignore:.* has no effect", "ignore:invalid escape:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"
SMALL = """
space = dict(type="preresnet", depth=11)
data = dict(type="digits")
train = dict(epochs=1)
search = dict(epochs=1)
finetune = dict(epochs=1)
"""
TEXTS = (
    "", "None", "none", "[]", "{}", "()", "True", "-1", "1e400", "-1e400", "nan", "1j", "b'x'", "{1, 2}", "10**30",
    "1" + "0" * 30, "9" * 5000, "1e300", "٣", "½", "1_000", "0x10", "[" * 3000, "-" * 3000 + "1", "'\\0'", "'\\ud800'",
    "{[]: 1}", "{'_base_': 'x.py'}", "{1: 2}", "...", "lambda: 1", "{{ fileDirname }}",
    "[[[[[1]]]]]", "{'a': {'b': {'c': 1}}}", "x" * 5000, "\x1b[2J", "a\nb", "=", "==1", "'a",
)  # fmt: skip
"""What may stand behind the sign of equality."""
CODE = [f"__import__('{CANARIES[0]}')", f"!!python/module:{CANARIES[0]}"]
KEYS = (
    "_base_", "__class__", "__dict__", "custom_imports", "", ".", "..", "seed.", ".seed", "seed..x", "a b", "\n", "é",
    "self", "type", "name", "space", "space.type.x", "data.mean.0", "search.method.type.x", "x" * 5000, "a." * 500,
)  # fmt: skip
RAISED = (
    "SystemExit", "SystemExit(0)", "KeyboardInterrupt", "RecursionError", "MemoryError", "Exception('a\\nb')",
    "GeneratorExit", "StopIteration", "UnicodeDecodeError('a', b'b', 0, 1, 'c')", "OSError(28, 'full')",
    "type('X', (BaseException,), {})",
)  # fmt: skip


def option_cases() -> list[str]:
    keys = [".".join(map(str, path)) for path in places(load_recipe(RECIPE).to_json()) if path]
    return [f"{key}={text}" for key in (*keys, *KEYS) for text in (*TEXTS, *CODE)] + [*KEYS, *TEXTS]


def try_options(cases: list[str], folder: Path) -> int:
    path = folder / "recipe.json"  # faster than Python
    path.write_text(json.dumps(load_recipe(RECIPE).to_json()))
    refused = 0
    for text in cases:
        try:
            refused += obeys(lambda text=text: load_recipe(path, [text]).to_json()) is not None
        except Exception as error:
            raise AssertionError(repr(text[:200])) from error
    return refused


def python_cases(n: int) -> list[str]:
    """`n` recipes in Python: broken text, values of every kind, things raised."""
    draw = random.Random(0)
    values = [
        *(text for text in TEXTS if text),
        "object()",
        "print",
        "type",
        "range(3)",
        "open",
        "10 ** 5000",
        "float('nan')",
    ]
    places_of = (
        "seed",
        "name",
        "space",
        "space['depth']",
        "data",
        "data['mean']",
        "train['optimizer']",
        "search['x']",
        "y",
    )
    cases = []
    for _ in range(n):
        kind = draw.randrange(4)
        if kind == 0:
            cases.append(SMALL + f"{draw.choice(places_of)} = {draw.choice(values)}\n")
        elif kind == 1:
            cases.append(SMALL + f"raise {draw.choice(RAISED)}\n")
        elif kind == 2:
            cut = draw.randrange(len(SMALL))
            cases.append(
                SMALL[:cut]
                + draw.choice(("(", "'", "\x00", "\ufeff", "\t", "{{ x }}", "\\", "=", "\u202e"))
                + SMALL[cut:]
            )
        else:
            cases.append(SMALL[: draw.randrange(len(SMALL))])
    return cases


def try_python(cases: list[str], folder: Path) -> int:
    refused = 0
    path = folder / "mine.py"
    for text in cases:
        path.write_text(text, encoding="utf-8")
        try:
            refused += obeys(lambda: load_recipe(path).to_json()) is not None
        except BaseException as error:
            raise AssertionError(repr(text[-300:])) from error
        assert [found.name for found in folder.iterdir()] == ["mine.py"]
    return refused


def test_some_options(tmp_path: Path) -> None:
    chosen = spread(option_cases(), 40)
    assert 30 <= try_options(chosen, tmp_path) <= 40


def test_some_recipes_in_python(tmp_path: Path) -> None:
    assert 20 < try_python(python_cases(40), tmp_path) <= 40


@pytest.mark.faults
def test_options(tmp_path: Path) -> None:
    cases = option_cases()
    refused = try_options(cases, tmp_path)
    tally("recipes: overrides of --cfg-options", len(cases), len(cases))
    assert len(cases) > 2000
    assert refused > 0.8 * len(cases)


@pytest.mark.faults
def test_recipes_in_python(tmp_path: Path) -> None:
    cases = python_cases(1000)
    assert try_python(cases, tmp_path) > 600
    tally("recipes: files in Python", len(cases), len(cases))
