"""What single values in stored files may be: types with ranges that every real run keeps far away from.

They bound what reading a file can cost: widths become tensors, and sides of images whole forward passes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from operator import lt
from typing import Annotated, Any

from annotated_types import Ge, Le, Len, MaxLen, MinLen

from .stored import Rule

EXTRA = {"extra": "allow"}
"""Files of these shapes may hold more keys, which are kept."""

_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def _line_fault(text: str) -> str | None:
    return "must be one line without control characters" if _BREAKS.search(text) else None


Line = Rule(_line_fault)
Name = Annotated[str, MinLen(1), MaxLen(500), Line]
"""Of a group, an operator, a space, a class, a backend."""
Text = Annotated[str, MaxLen(10_000), Line]
Count = Annotated[int, Ge(0), Le(10**17)]
"""Parameters, MACs, images, objects, samples."""
Channels = Annotated[int, Ge(1), Le(1 << 20)]
"""Of a group of an unpruned network."""
Width = Annotated[int, Ge(0), Le(1 << 20)]
"""Of a group that may be gone; also an index of a channel."""
Side = Annotated[int, Ge(1), Le(8192)]
"""Of an image in pixels; its number of channels, too."""
ImageSize = Annotated[list[Side], Len(3, 3)]
"""Channels, height, width."""
Number = Annotated[float, Ge(-1e30), Le(1e30)]
Amount = Annotated[float, Ge(0), Le(1e30)]
Percent = Annotated[float, Ge(0), Le(100)]
Share = Annotated[float, Ge(0), Le(1)]
Ratio = Annotated[float, Ge(1e-9), Le(1e9)]
"""Of two times."""
Milliseconds = Annotated[float, Ge(1e-9), Le(1e12)]
Seconds = Annotated[float, Ge(0), Le(1e12)]
Versions = dict[Name, Text]
"""Package -> version."""


def ascending(values: Sequence[Any]) -> str | None:
    """The fault of a list that is not strictly ascending."""
    rises = all(map(lt, values, islice(values, 1, None)))
    return None if rises else "must be ascending, without repeats"


def of_one_length(**lists: Sequence[Any]) -> str | None:
    """The fault of lists that belong together and are not equally long; named by their keys."""
    if len({len(values) for values in lists.values()}) > 1:
        return f"{', '.join(lists)} must be equally long, not {', '.join(str(len(v)) for v in lists.values())}"
    return None
