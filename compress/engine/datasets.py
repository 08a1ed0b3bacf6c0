"""Images in memory, or in files (`encoded`), shown augmented for training and plain for evaluation.

Shapes: B images of a batch, C channels (1 grey, 3 RGB, 4 RGBA), H x W pixels; N images of a split.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..plan import UserError
from .decoding import grey
from .sampling import AUGMENT, stream_keys, uniforms
from .transforms import Transform


class Source(Protocol):
    """Stored images and their labels; `read` returns uint8 batches [B, C, H, W], one for each run of equal sizes."""

    labels: NDArray[np.int64]

    @property
    def channels(self) -> int:
        """Of an image."""
        ...

    @property
    def keys(self) -> NDArray[np.int64]:
        """What identifies each image in the data set, int64 [N]."""
        ...

    def with_channels(self, channels: int | None) -> Source:
        """The same images with 1, 3 or 4 channels; None: those that they have, of files 3. UserError where they lack
        some."""
        ...

    def read(self, ids: NDArray[np.int64]) -> list[Tensor]:
        """The images `ids`, in order."""
        ...


class ArraySource:
    """Images in memory, from uint8 [N, H, W, C]."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.images = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        self.labels = labels

    @property
    def keys(self) -> NDArray[np.int64]:
        """The images' places."""
        return np.arange(len(self.labels))

    @property
    def channels(self) -> int:
        """Of an image."""
        return self.images.shape[1]

    def with_channels(self, channels: int | None) -> ArraySource:
        """Grey levels spread over three channels, or those of RGB; UserError for any other change."""
        if channels is None or channels == self.channels:
            return self
        other = copy(self)
        if (self.channels, channels) == (1, 3):
            other.images = self.images.expand(-1, 3, -1, -1)
        elif (self.channels, channels) == (3, 1):
            other.images = grey(self.images)
        else:
            rule = f"the images have {self.channels} channel{'s' if self.channels > 1 else ''}"
            raise UserError(rule, argument="channels", value=channels, remedy=f"set channels={self.channels}")
        return other

    def read(self, ids: NDArray[np.int64]) -> list[Tensor]:
        """One batch [B, C, H, W]."""
        return [self.images[torch.from_numpy(ids)]]


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Some images of a source, with the way they are shown.

    Args:
        source: stored images.
        ids: int64 [N], places in the source.
        transform: what evaluation and training make of a stored image.

    Example::

        images = split.eval_view()
        x_CHW, label = images[0]
    """

    source: Source
    ids: NDArray[np.int64]
    transform: Transform

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class numbers, int64 [N]; no image is decoded."""
        return self.source.labels[self.ids]

    def subset(self, indices: ArrayLike) -> ImageSplit:
        """The images at `indices` (integers, 0..N-1) of this split; UserError when none or out of range."""
        places = np.asarray(indices)
        if places.ndim != 1 or not len(places) or places.dtype.kind not in "iu":
            raise UserError(f"indices: {places.dtype} of shape {list(places.shape)}; give at least one integer index")
        if places.min() < 0 or places.max() >= len(self):
            raise UserError(
                f"indices {places.min()}..{places.max()}: must lie in 0..{len(self) - 1}, the split's range"
            )
        return ImageSplit(self.source, self.ids[places], self.transform)

    def train_view(self, seed: int) -> TrainView:
        """The split for training: `view[index, epoch]`."""
        return TrainView(self, seed)

    def eval_view(self) -> EvalView:
        """The split for evaluation: `view[index]`."""
        return EvalView(self)


class TrainView(Dataset[tuple[Tensor, int]]):
    """`view[index, epoch]`: (float32 [C, H, W], label), augmented by a pure function of (seed, epoch, stored image).

    The image's place in its source is hashed, not the place in the split, so an image is augmented alike whichever
    subset shows it. `__getitems__` fetches a batch at once, with the same results.

    Example::

        x_CHW, label = split.train_view(seed=0)[5, epoch]
    """

    def __init__(self, split: ImageSplit, seed: int) -> None:
        self.split, self.seed = split, seed

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, int]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> list[tuple[Tensor, int]]:
        places, epochs = np.array(items, dtype=np.int64).T
        ids = self.split.ids[places]
        transform = self.split.transform
        draws = uniforms(stream_keys(self.seed, AUGMENT, epochs, ids), transform.draws)
        images: list[Tensor] = []
        for x_BCHW in self.split.source.read(ids):
            images += transform.train(x_BCHW, draws[len(images) : len(images) + len(x_BCHW)])
        return list(zip(images, self.split.source.labels[ids].tolist(), strict=True))


class EvalView(Dataset[tuple[Tensor, int]]):
    """`view[index]`: (float32 [C, H, W], label), not augmented.

    Example::

        x_CHW, label = split.eval_view()[5]
    """

    def __init__(self, split: ImageSplit) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        ids = self.split.ids[np.array(indices, dtype=np.int64)]
        images: list[Tensor] = []
        for x_BCHW in self.split.source.read(ids):
            images += self.split.transform.evaluate(x_BCHW)
        return list(zip(images, self.split.source.labels[ids].tolist(), strict=True))
