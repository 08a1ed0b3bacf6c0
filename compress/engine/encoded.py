"""Images in files, decoded when they are read: one file for each image, or members of tar shards."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..plan import UserError
from .decoding import decode


class EncodedSource(ABC):
    """Images in encoded form, decoded as `decoding` says.

    Args:
        paths: what each image is called in messages and records, below `folder`.
        labels: class numbers, int64 [N].
        folder: of the data set.
    """

    channels = 3

    def __init__(self, paths: Sequence[str], labels: NDArray[np.int64], *, folder: Path) -> None:
        self.paths = tuple(paths)
        self.labels = labels
        self.folder = folder

    @abstractmethod
    def encoded(self, i: int) -> bytes | None:
        """The bytes of the image `i` where it is no file of its own; None: `paths[i]` is."""

    @abstractmethod
    def stamp(self, i: int) -> list[int]:
        """Bytes, and time of the last change in ns, of the image `i`; UserError where it cannot be found."""

    def with_channels(self, channels: int | None) -> Self:
        """Files are decoded to any number of channels."""
        other = copy(self)
        other.channels = channels or self.channels
        return other

    @property
    def keys(self) -> NDArray[np.int64]:
        """Hashes of the images' paths below `folder`: they stay when the folder moves, or other images come and go."""
        names = [os.fsencode(os.path.relpath(path, self.folder)) for path in self.paths]
        return np.frombuffer(b"".join(hashlib.blake2b(name, digest_size=8).digest() for name in names), dtype="<i8")

    def read(self, ids: NDArray[np.int64]) -> list[Tensor]:
        """One batch [1, C, H, W] for each image; UserError naming the one that cannot be decoded."""
        found = (decode(self.paths[i], self.channels, encoded=self.encoded(i))[0] for i in ids.tolist())
        return [torch.from_numpy(pixels).permute(2, 0, 1)[None] for pixels in found]


class FileSource(EncodedSource):
    """Images in files of their own.

    Example::

        source.read(np.arange(2))
    """

    def __init__(self, paths: Sequence[Path], labels: NDArray[np.int64], *, folder: Path) -> None:
        super().__init__([str(path) for path in paths], labels, folder=folder)

    def encoded(self, i: int) -> None:
        """They are files."""

    def stamp(self, i: int) -> list[int]:
        """Of the file."""
        return stamp_of(self.paths[i])


def stamp_of(path: str) -> list[int]:
    """Bytes, and time of the last change in ns, of the file `path`; UserError where it cannot be found."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); restore or remove the file") from None
    return [status.st_size, status.st_mtime_ns]
