"""Detections drawn on their image: boxes with class and score, masks half transparent, one colour per class."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 640
"""Longer side of every picture in pixels, for which lines and letters are sized."""

FONT_SIZE, LINE_WIDTH, OPACITY = 15, 3, 0.45
GOLDEN = 0.618034
"""Steps of this share of the circle spread hues evenly, however many there are."""

SHADES = ((0.80, 1.0), (1.0, 0.78), (0.45, 1.0))
"""Saturation and value that classes take in turn."""

Rectangle: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""


@dataclass(frozen=True)
class Detection:
    """One object in an image: its box, label and score, and where known its mask, bool [H, W]."""

    box: Rectangle
    label: int
    score: float
    mask: np.ndarray | None = None


def colour(label: int) -> tuple[int, int, int]:
    """The colour of a label from 0 as RGB: the same in every picture, and distinct from the others'."""
    rgb = colorsys.hsv_to_rgb(label * GOLDEN % 1, *SHADES[label % len(SHADES)])
    return tuple(round(255 * part) for part in rgb)  # type: ignore[return-value]


def draw_detections(
    image: Image.Image, detections: Sequence[Detection], classes: Sequence[str], *, remark: str = ""
) -> Image.Image:
    """A copy of `image`, its longer side `SIDE` pixels, with `detections`.

    Args:
        image: any picture; it stays as it is.
        detections: boxes and masks in its pixels; what has a higher score is drawn later.
        classes: the names that labels index.
        remark: written along the lower edge.

    Example::

        found = [Detection(box=(10, 20, 110, 220), label=0, score=0.9)]
        draw_detections(Image.open(path), found, ["person"]).save("found.jpg")
    """
    scale = SIDE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    picture = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    rising = sorted(detections, key=lambda found: found.score)
    picture = _with_masks(picture, rising)
    draw = ImageDraw.Draw(picture)
    boxes = [tuple(scale * side for side in found.box) for found in rising]
    for found, box in zip(rising, boxes, strict=True):
        draw.rectangle(box, outline=(0, 0, 0), width=LINE_WIDTH + 2)
        draw.rectangle([box[0] + 1, box[1] + 1, *_inner(box)], outline=colour(found.label), width=LINE_WIDTH)
    names: list[tuple[str, Rectangle, int]] = []
    for found, box in reversed(list(zip(rising, boxes, strict=True))):  # the best gets the best place
        text = f"{classes[found.label]} {found.score:.2f}"
        names.append((text, _place(text, box, size, [place for _, place, _ in names]), found.label))
    for text, place, label in reversed(names):
        _write(draw, text, place, colour(label))
    if remark:
        _remark(draw, remark, size)
    return picture


def _inner(box: Sequence[float]) -> tuple[float, float]:
    """The lower right corner one pixel further in, never left of or above the upper left one."""
    return max(box[0] + 1, box[2] - 1), max(box[1] + 1, box[3] - 1)


def _with_masks(picture: Image.Image, detections: Sequence[Detection]) -> Image.Image:
    pixels = np.asarray(picture, dtype=np.float32).copy()
    for found in detections:
        if found.mask is not None:
            mask = Image.fromarray(np.where(found.mask, 255, 0).astype(np.uint8))
            inside = np.asarray(mask.resize(picture.size, Image.Resampling.BILINEAR)) > 127
            pixels[inside] += OPACITY * (np.array(colour(found.label), dtype=np.float32) - pixels[inside])
    return Image.fromarray(pixels.round().astype(np.uint8))


def _place(text: str, box: Sequence[float], size: tuple[int, int], taken: Sequence[Rectangle]) -> Rectangle:
    """The first place for `text` at `box` that overlaps no other name, else the first of all."""
    left, _, right, _ = ImageFont.load_default(FONT_SIZE).getbbox(text)
    width, height = right - left + 8, FONT_SIZE + 5
    limits = max(0.0, size[0] - width), max(0.0, size[1] - height)
    corners = [
        tuple(min(max(0.0, a), b) for a, b in zip(at, limits, strict=True)) for at in _corners(box, width, height)
    ]
    places = [(x, y, x + width, y + height) for x, y in corners]
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _write(draw: ImageDraw.ImageDraw, text: str, place: Rectangle, background: tuple[int, int, int]) -> None:
    draw.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=background)
    ink = (0, 0, 0) if np.dot(background, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)
    middle = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    draw.text(middle, text, fill=ink, font=ImageFont.load_default(FONT_SIZE), anchor="mm")


def _corners(box: Sequence[float], width: float, height: float) -> Iterator[tuple[float, float]]:
    """Upper left corners of a name: over and in the box's upper corners, under and in the lower ones, further down."""
    for y in (box[1] - height, box[1], box[3], box[3] - height):
        yield box[0], y
        yield box[2] - width, y
    for step in range(1, 8):
        yield box[0], box[1] + step * height


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _remark(draw: ImageDraw.ImageDraw, text: str, size: tuple[int, int]) -> None:
    font = ImageFont.load_default(FONT_SIZE + 3)
    height = 2 * FONT_SIZE + 4
    draw.rectangle((0, size[1] - height, *size), fill=(20, 24, 30))
    draw.text((size[0] / 2, size[1] - height / 2), text, fill=(255, 255, 255), font=font, anchor="mm")
