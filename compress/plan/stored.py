"""Typed reading of stored files: their shape is declared once, beside what writes them, and checked whole.

Shapes are pydantic's: a TypedDict or a dataclass whose annotations carry the rules (`Annotated[int, Ge(1)]`, and
`Rule` for what no annotation says). A shape takes `typing_extensions` and `annotated_types` alone, so declaring one
loads nothing heavy. What a file holds is data: it is never executed, and nothing it names is imported or opened here.
"""

from __future__ import annotations

import codecs
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import UserError

MOST_BYTES = 256 << 20
"""Larger stored files are refused unread: none that is written here comes near."""

AGAIN = "restore it or run the stage that writes it again"
"""What helps against most damaged files."""

MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""What editors put before a text, and JSON may not have."""

_SUSPECT = re.compile(rb"\d{19}|[eE]\+?\d{3}")
"""In the text of every number that a float or 64 bits cannot hold, and hardly elsewhere."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 3


@dataclass(frozen=True)
class Rule:
    """A rule in a shape that no annotation says: `fault` gives what is wrong with a value of the right types, or None.

    Example::

        Widths = Annotated[list[int], Rule(lambda found: None if sorted(found) == found else "must be ascending")]
    """

    fault: Callable[[Any], str | None]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """What pydantic asks an annotation for."""
        from pydantic_core import PydanticCustomError, core_schema

        def check(value: Any) -> Any:
            if fault := self.fault(value):
                raise PydanticCustomError("rule", "{fault}", {"fault": fault})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))


def read_json(path: str | Path, *, remedy: str = AGAIN, most_bytes: int = MOST_BYTES) -> Any:
    """Plain values from the JSON file `path`: numbers finite and whole ones of 64 bits, at most some 200 brackets deep.

    Raises UserError when it is missing, unreadable, of more than `most_bytes`, or not such JSON; `remedy` ends the
    message.
    """
    return _parsed(_bytes(Path(path), remedy, most_bytes), path, remedy)


def read_stored(
    path: str | Path, shape: Any, *, version: int | None = None, remedy: str = AGAIN, most_bytes: int = MOST_BYTES
) -> Any:
    """The JSON file `path` as a value of `shape`, types taken strictly; keys that `shape` does not know are left out.

    Args:
        path: the file.
        shape: a type that pydantic validates: a TypedDict, a dataclass, a list of such.
        version: what its key `format` must be, which is looked at first, so that a newer file says that it is newer.
        remedy: what messages tell the user to do.
        most_bytes: of the file; a larger one is refused.

    Raises UserError as `read_json` does, and where the file breaks a rule: it names file, key, value and rule.

    Example::

        stages = read_stored("runs/demo/stages.json", Stages)
    """
    return parse_stored(_bytes(Path(path), remedy, most_bytes), shape, source=path, version=version, remedy=remedy)


def parse_stored(
    text: bytes, shape: Any, *, source: str | Path, version: int | None = None, remedy: str = AGAIN
) -> Any:
    """`read_stored` for JSON that is already here, such as one line of a file; messages begin with `source`.

    Args:
        text: JSON.
        shape: as `read_stored` takes it.
        source: where it comes from: messages begin with it.
        version, remedy: as `read_stored` takes them.
    """
    value = _parsed(text, source, remedy)
    if version is not None:
        _check_version(value, version, source, remedy)
    return _validated(text, shape, source, remedy)


def read_lines(path: str | Path, shape: Any, *, remedy: str = AGAIN) -> list[Any]:
    """The lines of a file, each the JSON of a `shape`; a last one that a kill cut short is left out.

    Raises UserError as `read_stored` does; it names the line.
    """
    lines = _bytes(Path(path), remedy, MOST_BYTES).splitlines(keepends=True)
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(parse_stored(line, shape, source=f"{path}: line {number}", remedy=remedy))
        except UserError:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise
    return found


def check_stored(value: Any, shape: Any, *, source: str | Path, version: int | None = None, remedy: str = AGAIN) -> Any:
    """Plain values, as JSON gives them, as a value of `shape`; UserError, beginning with `source`, as `read_stored`.

    Args:
        value: as JSON gives it.
        shape: as `read_stored` takes it.
        source: where it comes from: messages begin with it.
        version, remedy: as `read_stored` takes them.
    """
    from pydantic_core import to_json

    if version is not None:
        _check_version(value, version, source, remedy)
    return _validated(to_json(value), shape, source, remedy)


def _parsed(text: bytes, source: str | Path, remedy: str) -> Any:
    from pydantic_core import from_json

    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        if text.startswith(MARKS):
            raise UserError(f"{source}: begins with a byte order mark; save it as UTF-8 without one") from None
        raise UserError(f"{source}: not valid JSON ({error}); {remedy}") from None
    if _SUSPECT.search(text) and (odd := _odd_number(value)):
        raise UserError(f"{source}: holds a number that is {odd}; {remedy}")
    return value


def _odd_number(value: Any) -> str | None:
    """What is wrong with a number somewhere in plain values: infinite, or a whole one of more than 64 bits."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += item.values()
        elif isinstance(item, list):
            left += item
        elif isinstance(item, float) and item - item != 0:
            return "not finite"
        elif isinstance(item, int) and not -(2**63) <= item < 2**64:
            return "whole and of more than 64 bits"
    return None


def _check_version(value: Any, version: int, source: str | Path, remedy: str) -> None:
    found = value.get("format") if isinstance(value, dict) else None
    if isinstance(found, int) and not isinstance(found, bool) and found != version:
        newer = "use the version of compress that wrote it, or " if found > version else ""
        raise UserError(f"{source}: format = {found}: this version reads format {version}; {newer}{remedy}")
    if found is None or type(found) is not int:
        shown = "is missing" if found is None else f"= {_shown(found)}"
        raise UserError(f"{source}: format {shown}: must be {version}; {remedy}")


def _validated(text: bytes, shape: Any, source: str | Path, remedy: str) -> Any:
    from pydantic import ValidationError

    try:
        return _validator(shape).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(_named(part) for part in first["loc"])
    if first["type"] == "missing":
        raise UserError(f"{source}: {key} is missing; {remedy}")
    rule = re.sub(r"^(Input|Value|List|Tuple|Dictionary|String|Text) should", "must", first["msg"])
    rule = rule.replace(" after validation", "")
    # A broken rule between several keys names them itself.
    whole = first["type"] == "rule" and isinstance(first["input"], dict)
    shown = key if whole else f"{key or 'the whole file'} = {_shown(first['input'])}"
    raise UserError(f"{source}: {f'{shown}: ' if shown else ''}{rule}; {remedy}")


def _shown(value: Any) -> str:
    text = _SHORT.repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _named(part: str | int) -> str:
    """A key of a path in a message: one that is long or would break the line as a short quoted text."""
    text = str(part)
    return text if text.isprintable() and len(text) <= 80 else _SHORT.repr(text)


def _bytes(path: Path, remedy: str, most_bytes: int) -> bytes:
    try:
        if not path.is_file():
            what = "is a folder, not a file" if path.is_dir() else "no such file"
            raise UserError(f"{path}: {what}; {remedy}")
        if (size := path.stat().st_size) > most_bytes:
            raise UserError(f"{path}: {size} bytes, the most is {most_bytes}; {remedy}")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from None


@cache
def _validator(shape: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(shape)
