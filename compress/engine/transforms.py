"""From stored pixels to what the network sees: resizing, cropping, augmentation, normalisation.

Shapes: B images of a batch, C channels (1 grey, 3 RGB, 4 RGBA), H x W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..plan import UserError

Augmentation = Literal["crop_flip", "crop", "resized_crop", "none"]

_ATTEMPTS = 10  # at drawing a resized crop that fits, as torchvision
_DRAWS = {"none": 0, "crop": 2, "crop_flip": 3, "resized_crop": 4 * _ATTEMPTS + 1}


@dataclass(frozen=True)
class Transform:
    """From stored pixels to what the network sees.

    Evaluation: resize the shorter side to `resize`, crop the centre, normalise. Training: `crop` pads the (resized)
    image with `padding` black pixels all round and crops at random; `crop_flip` also mirrors half of the images
    (NetSlim's recipe, with 4 pixels at 32 x 32); `resized_crop` takes 8 to 100 % of the area at an aspect ratio of 3/4
    to 4/3, scales it to `input_size` and mirrors half of the images (Inception's recipe, as in torchvision). Whatever
    it does, `cutout` comes last: a square around any pixel becomes the mean colour (arXiv 1708.04552).

    Args:
        input_size: of what the network sees, in pixels: the side of a square, or (height, width).
        resize: side in pixels to which the shorter side is scaled (bilinear, antialiased), or None: the image must
            already be of `input_size`, except under `resized_crop` in training.
        augment: what training does.
        padding: pixels added on every side by `crop` and `crop_flip`.
        mean: of the channels, in units of `uint8 / 255`.
        std: of the channels, likewise.
        cutout: side in pixels of the square that training erases, less what of it lies outside; None: none.

    Example::

        transform = Transform(32, None, "crop_flip", 4, mean=(0.5,) * 3, std=(0.25,) * 3)
        x_BCHW = transform.evaluate(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    """

    input_size: int | tuple[int, int]
    resize: int | None
    augment: Augmentation
    padding: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    cutout: int | None = None

    def __post_init__(self) -> None:
        if self.resize is not None or self.augment == "resized_crop":
            import torchvision.transforms.v2  # noqa: F401  (once, here: worker processes inherit it)

    @property
    def sides(self) -> tuple[int, int]:
        """(height, width) of what the network sees, in pixels."""
        return sides_of(self.input_size)

    @property
    def draws(self) -> int:
        """How many uniform numbers `train` needs for each image."""
        return _DRAWS[self.augment] + (0 if self.cutout is None else 2)

    def evaluate(self, x_BCHW: Tensor) -> Tensor:
        """uint8 images of one size -> float32 [B, C, *sides]; UserError when the size does not fit."""
        x_BCHW, (height, width) = self._resized(x_BCHW), self.sides
        top, left = round((x_BCHW.shape[-2] - height) / 2), round((x_BCHW.shape[-1] - width) / 2)
        return self._normalised(x_BCHW[..., top : top + height, left : left + width])

    def train(self, x_BCHW: Tensor, draws_BK: NDArray[np.float64]) -> Tensor:
        """As `evaluate`, augmented by the uniform numbers [B, draws]; an image's result depends on its own row only."""
        own = _DRAWS[self.augment]
        x_BCHW = self._augmented(x_BCHW, draws_BK[:, :own])
        return x_BCHW if self.cutout is None else _cut_out(x_BCHW, draws_BK[:, own:], self.cutout)

    def _augmented(self, x_BCHW: Tensor, draws_BK: NDArray[np.float64]) -> Tensor:
        """What `augment` says."""
        if self.augment == "none":
            return self.evaluate(x_BCHW)
        if self.augment == "resized_crop":
            crops = [_resized_crop(x, u, self.sides) for x, u in zip(x_BCHW, draws_BK, strict=True)]
            return self._normalised(torch.stack(crops))
        padded = F.pad(self._resized(x_BCHW), [self.padding] * 4)
        return self._normalised(_random_crop(padded, draws_BK, self.sides))

    def check_size(self, height: int, width: int, image: str = "an image") -> None:
        """UserError, naming `image`, unless it has `sides`, or holds them when it is resized as `resize` says."""
        pixels, wanted = f"{image} has {height} x {width} pixels", self.sides
        if self.resize is None:
            if (height, width) != wanted:
                raise UserError(
                    f"{pixels} and is not resized",
                    argument="input_size",
                    value=self.input_size,
                    remedy=f"set resize (for instance {round(max(wanted) * 8 / 7)}) or another input_size",
                )
            return
        scaled = tuple(self.resize * side // min(height, width) for side in (height, width))
        if scaled[0] < wanted[0] or scaled[1] < wanted[1]:
            raise UserError(
                f"{pixels}, {scaled[0]} x {scaled[1]} when resized: fewer than {wanted[0]} x {wanted[1]}",
                argument="resize",
                value=self.resize,
                remedy=f"choose {max(wanted)} or more, or another input_size",
            )

    def _resized(self, x_BCHW: Tensor) -> Tensor:
        self.check_size(*x_BCHW.shape[-2:])
        if self.resize is None:
            return x_BCHW
        from torchvision.transforms.v2 import functional

        return functional.resize(x_BCHW, [self.resize], antialias=True)

    def _normalised(self, x_BCHW: Tensor) -> Tensor:
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return x_BCHW.float().div_(255).sub_(mean).div_(std)


def sides_of(input_size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of images of `input_size`: the side of a square, or both."""
    return (input_size, input_size) if isinstance(input_size, int) else input_size


def _random_crop(x_BCHW: Tensor, draws_BK: NDArray[np.float64], sides: tuple[int, int]) -> Tensor:
    """Crop `sides` at (row, column) from the first two draws; a third below 1/2 mirrors the image."""
    x = x_BCHW.numpy()
    span = np.array(x.shape[-2:]) - sides + 1
    corners = (draws_BK[:, :2] * span).astype(np.int64).tolist()
    flips = (draws_BK[:, 2] < 0.5).tolist() if draws_BK.shape[1] > 2 else [False] * len(x)
    out = np.empty((*x.shape[:2], *sides), dtype=np.uint8)
    for i, ((top, left), flip) in enumerate(zip(corners, flips, strict=True)):
        crop = x[i, :, top : top + sides[0], left : left + sides[1]]
        out[i] = crop[:, :, ::-1] if flip else crop
    return torch.from_numpy(out)


def _cut_out(x_BCHW: Tensor, draws_BK: NDArray[np.float64], side: int) -> Tensor:
    """Zeros, in place, in the square of `side` pixels around (row, column) from two draws, as far as it is inside."""
    centres = (draws_BK * np.array(x_BCHW.shape[-2:])).astype(np.int64)
    for x, (row, column) in zip(x_BCHW, (centres - side // 2).tolist(), strict=True):
        x[:, max(row, 0) : max(row + side, 0), max(column, 0) : max(column + side, 0)] = 0
    return x_BCHW


def _resized_crop(x_CHW: Tensor, draws_K: NDArray[np.float64], sides: tuple[int, int]) -> Tensor:
    """torchvision's RandomResizedCrop and horizontal flip, with the given draws instead of the global generator."""
    from torchvision.transforms.v2 import functional

    _, full_height, full_width = x_CHW.shape
    top, left, height, width = _crop_box(full_height, full_width, draws_K[1:].reshape(_ATTEMPTS, 4))
    crop = functional.resized_crop(x_CHW, top, left, height, width, list(sides), antialias=True)
    return functional.horizontal_flip(crop) if draws_K[0] < 0.5 else crop


def _crop_box(height: int, width: int, draws: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the first drawn box that fits, else of the largest allowed box in the centre."""
    for u_area, u_aspect, u_top, u_left in draws.tolist():
        area = height * width * (0.08 + 0.92 * u_area)
        aspect = (4 / 3) ** (2 * u_aspect - 1)  # log-uniform in 3/4 .. 4/3
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(u_top * (height - h + 1)), int(u_left * (width - w + 1)), h, w
    h, w = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w
