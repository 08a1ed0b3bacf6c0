"""Typed reading of stored files: their shape is declared once, beside what writes them, and checked whole.

Shapes are pydantic's: a TypedDict or a dataclass whose annotations carry the rules (`Annotated[int, Field(ge=1)]`).
What a file holds is data: it is never executed, and nothing it names is imported or opened here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from .errors import UserError

MOST_BYTES = 256 << 20
"""Larger stored files are refused unread: none that is written here comes near."""


def read_json(path: str | Path, *, remedy: str = "restore it or run the stage that writes it again") -> Any:
    """Plain values from the JSON file `path`: no NaN or infinity, at most some 200 brackets deep.

    Raises UserError when it is missing, unreadable or not such JSON; `remedy` ends the message.
    """
    from pydantic_core import from_json

    try:
        return from_json(_bytes(Path(path), remedy), allow_inf_nan=False)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); {remedy}") from None


def read_stored(
    path: str | Path, shape: Any, *, remedy: str = "restore it or run the stage that writes it again"
) -> Any:
    """The JSON file `path` as a value of `shape`, types taken strictly; keys that `shape` does not know are left out.

    Raises UserError as `read_json` does, and where the file breaks a rule: it names file, key, value and rule.

    Example::

        stages = read_stored("runs/demo/stages.json", Stages)
    """
    return check_stored(read_json(path, remedy=remedy), shape, source=path, remedy=remedy)


def check_stored(value: Any, shape: Any, *, source: str | Path, remedy: str) -> Any:
    """Plain values, as JSON gives them, as a value of `shape`; UserError, beginning with `source`, as `read_stored`."""
    from pydantic import ValidationError
    from pydantic_core import to_json

    try:
        return _validator(shape).validate_json(to_json(value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(map(str, first["loc"])) or "the whole file"
        shown = repr(first["input"])
        shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
        rule = first["msg"][:1].lower() + first["msg"][1:]
        what = f"{key} is missing" if first["type"] == "missing" else f"{key} = {shown}: {rule}"
        raise UserError(f"{source}: {what}; {remedy}") from None


def _bytes(path: Path, remedy: str) -> bytes:
    try:
        if not path.is_file():
            what = "is a folder, not a file" if path.is_dir() else "no such file"
            raise UserError(f"{path}: {what}; {remedy}")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise UserError(f"{path}: {size} bytes, the most is {MOST_BYTES}; {remedy}")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from None


@cache
def _validator(shape: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(shape)
