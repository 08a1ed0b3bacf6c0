"""The shape of the record of images that were looked at."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

Count = Annotated[int, Field(ge=0)]
Side = Annotated[int, Field(ge=1)]
Note = Literal["frames", "turned", "transparent", "deep", "colours", "exif"]


class Record(TypedDict):
    """Relative path -> bytes, time of the last change (ns), height, width, keys of `decoding.NOTES`."""

    format: int
    decoder: str
    images: dict[str, tuple[Count, int, Side, Side, list[Note]]]
