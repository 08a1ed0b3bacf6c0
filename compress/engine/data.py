"""Which images a run trains and is judged on: the typed configuration, and loading it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from ..plan import UserError, check_threads
from .datasets import Augmentation, ImageSplit, Source, Transform
from .readers import Reading, read_cifar, read_digits, read_imagefolder, read_npz
from .sampling import stratified_split

DataType = Literal["digits", "cifar10", "cifar100", "npz", "imagefolder"]
AugmentChoice = Literal["auto", "crop_flip", "crop", "resized_crop", "none"]

_AUTO: dict[DataType, Augmentation] = {
    "digits": "crop",
    "cifar10": "crop_flip",
    "cifar100": "crop_flip",
    "npz": "crop_flip",
    "imagefolder": "resized_crop",
}


@dataclass(frozen=True)
class DataConfig:
    """A data set and how its images are shown.

    Args:
        type: `digits` (ships with scikit-learn), `cifar10`, `cifar100` (as torchvision stores them), `npz` or
            `imagefolder`; see `readers`.
        root: folder of cifar10, cifar100 and imagefolder, file of npz; unused by digits.
        input_size: side of the square that the network sees, in pixels.
        resize: side in pixels to which an image's shorter side is scaled before cropping; None: no scaling.
        augment: of the training images, see `Transform`. `auto`: `crop` for digits (they have a handedness),
            `resized_crop` for imagefolder, `crop_flip` otherwise.
        holdout: share of the training images that is set aside and evaluated on instead of the test images; 0: none.
        limit: at most this many images of each split, in the classes' proportions, for short runs; None: all.
        mean: of the channels in units of `uint8 / 255`, where a checkpoint was trained with others than the data
            set's usual ones; None: the usual ones.
        std: of the channels, likewise; give both or neither.
        num_workers: processes that load the images; 0: the training process itself. Results do not depend on it.
        download: fetch cifar10 or cifar100 when absent.

    Raises:
        UserError: a value is out of its range, or root is missing.

    Example::

        config = DataConfig(type="npz", root="cifar10.npz", holdout=0.1)
    """

    type: DataType = "digits"
    root: str | None = None
    input_size: int = 32
    resize: int | None = None
    augment: AugmentChoice = "auto"
    holdout: float = 0.0
    limit: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    num_workers: int = 0
    download: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("type", DataType), ("augment", AugmentChoice)):
            if getattr(self, name) not in get_args(kind):
                raise UserError(
                    f"{name}={getattr(self, name)!r}: must be one of {', '.join(get_args(kind))}; choose one"
                )
        if self.root is None and self.type != "digits":
            what = "the path of an .npz file" if self.type == "npz" else "a folder"
            raise UserError(f"root=None: type={self.type} reads its images from disk; set root to {what}")
        for name, smallest in (("input_size", 1), ("resize", self.input_size), ("limit", 1)):
            value = getattr(self, name)
            if value is not None and value < smallest:
                bound = "input_size" if name == "resize" else ""
                raise UserError(f"{name}={value}: must be at least {bound or smallest}; choose a larger value")
        check_threads("num_workers", self.num_workers, at_least=0)
        if not 0 <= self.holdout < 1:
            raise UserError(f"holdout={self.holdout}: is a share of the training images, 0 <= holdout < 1; choose 0.1")
        self._check_statistics()
        self._warn_unused()

    def _check_statistics(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise UserError(f"mean={self.mean}, std={self.std}: belong together; give both or neither")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and (len(values) != 3 or not all(math.isfinite(value) for value in values)):
                raise UserError(f"{name}={values}: must be three finite numbers; give one for each of R, G and B")
        if self.std is not None and min(self.std) <= 0:
            raise UserError(f"std={self.std}: divides the pixels and must be positive; correct it")

    def _warn_unused(self) -> None:
        unused = []
        if self.root is not None and self.type == "digits":
            unused.append("root")
        if self.download and self.type not in ("cifar10", "cifar100"):
            unused.append("download")
        for name in unused:
            warnings.warn(f"{name} has no effect with type={self.type}", stacklevel=4)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A loaded data set.

    Args:
        train: images to train on.
        test: images to evaluate on.
        classes: names, in the order of the labels.
        preprocessing: of evaluation, as the model card records it (docs/formats.md).
        evaluated_on: what `test` is: `test`, or `holdout` (a part of the training data).
        name: of the data set.
    """

    train: ImageSplit
    test: ImageSplit
    classes: tuple[str, ...]
    preprocessing: dict[str, Any]
    evaluated_on: str
    name: str


def load_data(config: DataConfig, *, seed: int) -> ImageData:
    """Read a data set and divide it into training and evaluation images.

    Args:
        config: which data, and how they are shown.
        seed: of the held-out part and of `limit`'s choice; without a limit the test images never depend on it.

    Returns:
        Splits whose images are float32 [3, input_size, input_size], normalised.

    Raises:
        UserError: the data are absent or not as they should be, do not fit `input_size`, or are too few for `holdout`.

    Example::

        data = load_data(DataConfig(type="digits"), seed=0)
        x_CHW, label = data.train.train_view(seed=0)[0, 0]
    """
    reading = _read(config)
    transform = _transform(config, reading)
    splits = {"train": _whole(reading.train, transform), "test": _whole(reading.test, transform)}
    if config.holdout:
        rest, held_out = stratified_split(splits["train"].labels, config.holdout, seed=seed)
        splits = {"train": splits["train"].subset(rest), "test": splits["train"].subset(held_out)}
    if config.limit is not None:
        splits = {name: _limited(split, config.limit, seed=seed) for name, split in splits.items()}
    return ImageData(
        train=splits["train"],
        test=splits["test"],
        classes=reading.classes,
        preprocessing={
            "input_size": [3, config.input_size, config.input_size],
            "resize": config.resize,
            "interpolation": "bilinear",
            "mean": list(transform.mean),
            "std": list(transform.std),
        },
        evaluated_on="holdout" if config.holdout else "test",
        name=reading.name,
    )


def _read(config: DataConfig) -> Reading:
    if config.type == "digits":
        return read_digits()
    root = str(config.root)
    if config.type == "npz":
        return read_npz(root)
    if config.type == "imagefolder":
        return read_imagefolder(root)
    return read_cifar(config.type, root, download=config.download)


def _transform(config: DataConfig, reading: Reading) -> Transform:
    mean, std = reading.statistics
    if config.mean is not None and config.std is not None:
        mean, std = config.mean, config.std
    # An eighth of the side is NetSlim's 4 pixels at 32 x 32; digits fill their frame, half of it keeps them whole.
    padding = config.input_size // (16 if config.type == "digits" else 8)
    augment = _AUTO[config.type] if config.augment == "auto" else config.augment
    return Transform(config.input_size, config.resize, augment, padding, mean=tuple(mean), std=tuple(std))


def _whole(source: Source, transform: Transform) -> ImageSplit:
    split = ImageSplit(source, np.arange(len(source.labels)), transform)
    split.eval_view()[0]  # raises at once, before any training, when images do not fit input_size
    return split


def _limited(split: ImageSplit, limit: int, *, seed: int) -> ImageSplit:
    if limit >= len(split):
        return split
    return split.subset(stratified_split(split.labels, limit / len(split), seed=seed)[1])
