"""Image files as 8-bit pixels: one rule for every kind of file, and a word for whatever was changed on the way.

8-bit RGB is taken as it is. Everything else becomes it: grey levels and palettes are spread over three channels, other
colour spaces converted, 16-bit integers scaled by their range, images turned as their EXIF orientation says,
transparent pixels put on white, and of several frames the first is taken. Floats and wider integers have no range that
a file would tell, so they are refused. Asked for one channel, images become grey levels; asked for four, they keep
their transparency, or the fourth channel of a TIFF.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..plan import UserError
from ..plan.errors import reason

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 89_478_485
"""Images with more are taken for decompression bombs, as Pillow warns of: a quarter of a gigabyte in memory."""
BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError,
    MemoryError, AssertionError, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's decoders raise for damaged files; a broken PNG chunk is a SyntaxError."""
ORIENTATION, BITS_PER_SAMPLE = 0x0112, 258
"""Tags of EXIF and of TIFF."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels -> Pillow's name."""

NOTES = {
    "frames": "have several frames (the first is taken)",
    "turned": "are turned as their EXIF orientation says",
    "transparent": "have transparent pixels (put on white)",
    "deep": "have 16 bits a channel (the upper 8 are taken)",
    "colours": "have other colours than RGB or grey levels (converted)",
    "exif": "have EXIF data that cannot be read (taken as they stand)",
}
"""What may be said of images that are not plain 8-bit ones; `decode` gives those that hold."""


def decode(path: str, channels: int = 3, *, encoded: bytes | None = None) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The image file `path` as uint8 [H, W, `channels`], and the keys of the NOTES that hold of it: RGB, grey levels
    (1) or RGBA (4).

    `encoded`: the file's bytes, where it stands in another one and `path` is its name alone.

    Raises UserError, naming the file, when it cannot be decoded, has more than MOST_PIXELS, or numbers without a range.

    Example::

        pixels_HWC, notes = decode("val/cat/1.png")
    """
    from PIL import Image

    notes: list[str] = []
    try:
        with Image.open(path if encoded is None else BytesIO(encoded)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels, at most {MOST_PIXELS}")
            if getattr(image, "is_animated", False):
                notes.append("frames")
            if _is_deep(image):
                notes.append("deep")
            image.load()
            pixels = _pixels(image, path, notes, channels)
            return pixels.reshape(*pixels.shape[:2], channels), tuple(notes)
    except UserError:
        raise
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image ({reason(error)}); restore or remove the file") from None


def _is_deep(image: Image) -> bool:
    """Whether the file has more than 8 bits a channel; of three channels Pillow's decoders take the upper 8."""
    layouts = [tile.args if isinstance(tile.args, tuple) else (tile.args,) for tile in getattr(image, "tile", ())]
    maxval = image.format == "PPM" and any(isinstance(arg, int) and arg > 255 for args in layouts for arg in args)
    return maxval or image.mode.startswith("I") or any(";16" in str(arg) for args in layouts for arg in args)


def _pixels(image: Image, path: str, notes: list[str], channels: int) -> NDArray[np.uint8]:
    from PIL import Image

    turn = _turn(image, notes)
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_upper_bits(image, path))
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        notes.append("colours")
    if image.has_transparency_data and channels != 4:
        image = _on_white(image, notes)
    if (image.mode, channels) != ("RGBX", 4):  # a TIFF's fourth channel, which is no transparency
        image = image.convert(MODES[channels])
    return np.array(image if turn is None else image.transpose(turn))


def grey(images_NCHW: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] as grey levels [N, 1, H, W]: ITU-R 601's luma, rounded as Pillow does it."""
    red, green, blue = images_NCHW.to(torch.int32).unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).to(torch.uint8)[:, None]


def _turn(image: Image, notes: list[str]) -> Any:
    """The transposition that brings `image` upright; None: it is."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(ORIENTATION, 1))
    except BROKEN:
        notes.append("exif")
        return None
    if turn is not None:
        notes.append("turned")
    return turn


def _upper_bits(image: Image, path: str) -> NDArray[np.uint8]:
    """The upper 8 of at most 16 bits of grey levels, [H, W]; UserError for numbers whose range no file tells."""
    bits = 16
    if hasattr(image, "tag_v2"):  # a TIFF: 12 bits also come as 16
        bits = max(image.tag_v2.get(BITS_PER_SAMPLE, (16,)))
    values = np.asarray(image)
    scaled = image.format in ("PPM", "PNG")  # Pillow gives them as 16 bits in wider numbers
    if not (image.mode.startswith("I;16") or (image.mode == "I" and scaled)) or not 8 < bits <= 16:
        what = "floats" if image.mode == "F" else "integers of more than 16 bits, or signed ones"
        raise UserError(f"{path}: its pixels are {what}, of which the file tells no range; save it with 8 or 16 bits")
    return (values >> (bits - 8)).clip(0, 255).astype(np.uint8)


def _on_white(image: Image, notes: list[str]) -> Image:
    from PIL import Image

    layered = image.convert("RGBA")
    if layered.getchannel("A").getextrema()[0] == 255:
        return layered
    notes.append("transparent")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
