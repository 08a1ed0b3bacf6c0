"""Plain values of recipes, and the overrides of --cfg-options that are merged into them."""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..plan import UserError, brief

WORDS = {"true": True, "false": False, "none": None}
"""Further spellings that --cfg-options takes for Python's."""
DELETE = "_delete_"
"""In a dict of settings, as in MMEngine's configs: it takes the place of the present one instead of joining it."""
MOST_DEEP, MOST_VALUES, MOST_KEY = 32, 100_000, 200
LARGEST = 2**63


def plain(values: Any, name: str, path: str = "") -> Any:
    """A copy of `values` that shares nothing with them: dicts, lists, tuples, text, finite numbers, True, False, None.

    Raises UserError, beginning with `name`, for anything else, and for what recipe.json cannot hold. `path` is the key
    of `values` in the recipe.
    """
    return _copied(values, name, path, iter(range(MOST_VALUES)), 0)


def _copied(value: Any, name: str, path: str, left: Iterator[int], depth: int) -> Any:
    where = f"{name}: {path}" if path else name
    if next(left, None) is None:
        raise UserError(f"{name}: has more than {MOST_VALUES} values; give a recipe")
    if depth > MOST_DEEP:
        raise UserError(f"{name}: {path[:40]}... is nested more than {MOST_DEEP} deep; give a recipe")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or not key.isprintable() or len(key) > MOST_KEY:
                raise UserError(f"{where}: has the key {_odd(key)}; keys must be printable text, {MOST_KEY} characters")
        at = f"{path}." if path else ""
        return {key: _copied(item, name, f"{at}{key}", left, depth + 1) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_copied(v, name, f"{path}[{i}]", left, depth + 1) for i, v in enumerate(value))
    if value is None or type(value) is bool:
        return value
    if type(value) not in (int, float, str):
        raise UserError(f"{where} = {_odd(value)} must be a plain value, not a {type(value).__name__}; write it out")
    if type(value) is str and (odd := _unwritable(value)):
        raise UserError(f"{where} = {brief(value)} must be text without {odd}; correct it")
    if type(value) is float and not math.isfinite(value):
        raise UserError(f"{where} = {value!r} must be a finite number; correct it")
    if type(value) is int and not -LARGEST < value < LARGEST:
        raise UserError(f"{where} = {brief(value)} must be a number of at most 64 bits; correct it")
    return value


def _unwritable(text: str) -> str | None:
    """What keeps `text` from standing in a path, in a message or in a JSON file."""
    if any(c < " " or "\x7f" <= c <= "\x9f" for c in text):
        return "control characters"
    return "halves of characters" if any("\ud800" <= c <= "\udfff" for c in text) else None


def _odd(value: Any) -> str:
    """A value that is not plain: its own repr may do anything."""
    return brief(value) if type(value) in (int, float, str, bytes, complex) else f"<{type(value).__name__}>"


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Overrides as --cfg-options has them, "search.epochs=4": key -> plain value.

    Raises UserError for a malformed one, for keys of MMEngine's own, and for a key that is given twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name = f"--cfg-options {brief(text)}"
        key, sign, written = text.partition("=")
        parts = key.split(".")
        if not sign or not all(parts) or not key.isprintable() or len(key) > MOST_KEY:
            raise UserError(f"{name}: must read key=value, for example search.epochs=4")
        if any(part.startswith("_") for part in parts):
            raise UserError(f"{name}: names with a leading underscore are no settings; give one such as search.epochs")
        value = plain(_value(written), "recipe", key)
        for other, there in found.items():
            if other == key and there == value and type(there) is type(value):
                continue
            if f"{other}.".startswith(f"{key}.") or f"{key}.".startswith(f"{other}."):
                raise UserError(f"{name}: given beside {other} = {brief(there)}, which it would change; keep one")
        found[key] = value
    return found


def merge_options(values: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`values` of a recipe with `options` of `parse_options` in them; dicts join those that stand there."""
    merged = dict(values)
    for key, value in options.items():
        *way, last = key.split(".")
        section = merged
        for part in way:
            inner = section.get(part, {})
            if not isinstance(inner, dict):
                raise UserError(
                    f"--cfg-options {key}={brief(value)}: {part} = {brief(inner)} on the way to {key} is not a dict; "
                    "correct the key, or give it whole"
                )
            section[part] = dict(inner)
            section = section[part]
        section[last] = _joined(section.get(last), value)
    return merged


def _joined(there: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    own = {key: item for key, item in value.items() if key != DELETE}
    if not isinstance(there, dict) or value.get(DELETE):
        there = {}
    return {**there, **{key: _joined(there.get(key), item) for key, item in own.items()}}


def _value(written: str) -> Any:
    """The value that `written` is in Python, a list whose quotes a shell has taken away, or the text itself."""
    if written in WORDS:
        return WORDS[written]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes and literals: what is no value is text
            return ast.literal_eval(written)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        bare = re.fullmatch(r"\[([^][(){}'\"]+)\]", written)
        return written if bare is None else [_value(item.strip()) for item in bare[1].split(",")]
