"""The shapes of what exported files say of themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

Classes = Annotated[list[str], Field(min_length=1)]
Side = Annotated[int, Field(ge=1, le=65536)]
Channels = Annotated[list[float], Field(min_length=1, max_length=4)]
Spreads = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=4)]


class Preprocessing(TypedDict, total=False):
    """How an image becomes the network's input; see docs/formats.md."""

    input_size: Annotated[list[Side], Field(min_length=3, max_length=3)]
    resize: Side | None
    interpolation: Literal["bilinear"]
    mean: Channels
    std: Spreads
    input: Literal["uint8 NHWC"]
