"""Shape of a model card: the JSON beside a network's weights (docs/formats.md)."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Gt, Le, Len, MaxLen, MinLen
from typing_extensions import TypedDict

from ..plan import Rule
from ..plan.kinds import EXTRA, ImageSize, Name, Side, Text

FORMAT = 1
REMEDY = "restore it, or export the model again"


class Preprocessing(TypedDict):
    """How images become the network's input; detectors have other keys beside `input_size`."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    input_size: ImageSize
    scale: NotRequired[Annotated[list[Annotated[int, Ge(1), Le(1 << 20)]], Len(2, 2)] | None]
    exif: NotRequired[bool]
    resize: NotRequired[Side | None]
    interpolation: NotRequired[Name]
    mean: NotRequired[list[Annotated[float, Ge(-1e6), Le(1e6)]]]
    std: NotRequired[list[Annotated[float, Gt(1e-9), Le(1e6)]]]


def _preprocessing_fault(found: Preprocessing) -> str | None:
    for name in ("mean", "std"):
        if name in found and len(found[name]) != found["input_size"][0]:
            return f"{name} must have one number for each of the {found['input_size'][0]} channels of input_size"
    return None


def _card_fault(card: _Card) -> str | None:
    classes, given = card["arch"].get("num_classes"), len(card["classes"])
    if "num_classes" in card["arch"] and classes != given:
        return f"arch.num_classes = {classes!r:.40}: must be the number of classes, {given}"
    return None


class _Card(TypedDict):
    format: int
    space: Name
    arch: dict[Name, Any]
    classes: Annotated[list[Text], MinLen(1), MaxLen(1_000_000)]
    preprocessing: Annotated[Preprocessing, Rule(_preprocessing_fault)]
    plan_sha256: NotRequired[Text | None]


CardFile = Annotated[_Card, Rule(_card_fault)]
"""A card; its `arch` is checked by the space that it names."""
