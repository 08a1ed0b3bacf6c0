"""Which images a run trains and is judged on: the typed configuration, and loading it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from ..plan import Count, Range, UserError, Workers, check_settings
from ..plan.errors import shown
from .datasets import ImageSplit, Source
from .decoding import NOTES
from .encoded import EncodedSource
from .folders import read_imagefolder
from .lists import read_csv
from .readers import Reading, read_cifar, read_digits, read_npz
from .sampling import stratified_split
from .scanning import scan
from .shards import read_shards
from .transforms import Augmentation, Transform, sides_of

if TYPE_CHECKING:
    from .hooks import Progress

DataType = Literal["digits", "cifar10", "cifar100", "npz", "imagefolder", "csv", "shards"]
AugmentChoice = Literal["auto", "crop_flip", "crop", "resized_crop", "none"]

Side = Annotated[int, Range(at_least=1, at_most=16384)]
Mean = Annotated[float, Range(at_least=-10, at_most=10, remedy="it is in units of pixel / 255, such as 0.485")]
Deviation = Annotated[float, Range(at_least=1e-6, at_most=1e3, remedy="it divides the pixels / 255, such as 0.229")]

_AUTO: dict[DataType, Augmentation] = {
    "digits": "crop",
    "cifar10": "crop_flip",
    "cifar100": "crop_flip",
    "npz": "crop_flip",
    "imagefolder": "resized_crop",
    "csv": "resized_crop",
    "shards": "resized_crop",
}


@dataclass(frozen=True)
class DataConfig:
    """A data set and how its images are shown.

    Args:
        type: `digits` (ships with scikit-learn), `cifar10`, `cifar100` (as torchvision stores them), `npz`,
            `imagefolder`, `csv` or `shards` (tar files); see `readers`, `folders`, `lists` and `shards`.
        root: folder of cifar10, cifar100, imagefolder, csv and shards, file of npz; unused by digits.
        train: of csv, the list in `root` of the images to train on.
        val: of csv, the list in `root` of the images to evaluate on; None: `holdout` sets some aside.
        input_size: of what the network sees, in pixels: the side of a square, or [height, width].
        resize: side in pixels to which an image's shorter side is scaled before cropping; None: no scaling.
        augment: of the training images, see `Transform`. `auto`: `crop` for digits (they have a handedness),
            `resized_crop` for image files, `crop_flip` otherwise.
        cutout: side in pixels of a square that is erased in every training image, 16 is usual for CIFAR; None: none.
        holdout: share of the training images that is set aside and evaluated on instead of the test images, the same
            ones whatever the run's seed; 0: none. A data set without test images needs it.
        limit: at most this many images of each split, in the classes' proportions, for short runs; None: all.
        channels: of the images that the network sees: 1 (grey levels), 3 (RGB) or 4 (RGBA, or a TIFF's four); None:
            those of an npz file, else 3.
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
    train: str | None = None
    val: str | None = None
    input_size: Side | tuple[Side, Side] = 32
    resize: Side | None = None
    augment: AugmentChoice = "auto"
    cutout: Side | None = None
    holdout: Annotated[float, Range(at_least=0, below=1, remedy="it is a share of the images; choose 0.1")] = 0.0
    limit: Count | None = None
    channels: Literal[1, 3, 4] | None = None
    mean: tuple[Mean, ...] | None = None
    std: tuple[Deviation, ...] | None = None
    num_workers: Workers = 0
    download: bool = False

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.root and self.type != "digits":
            what = "the path of an .npz file" if self.type == "npz" else "a folder"
            rule = f"type={self.type} reads its images from disk"
            raise UserError(rule, argument="root", value=self.root, remedy=f"set root to {what}")
        if self.train is None and self.type == "csv":
            rule = "type=csv reads a list of images and labels"
            raise UserError(
                rule, argument="train", value=None, remedy="set train to the list's name, such as train.csv"
            )
        if self.resize is not None and self.resize < min(sides_of(self.input_size)):
            rule = "must be at least input_size"
            raise UserError(rule, argument="resize", value=self.resize, remedy="choose a larger value")
        if (self.mean is None) != (self.std is None):
            rule = f"belongs together with std = {self.std}"
            raise UserError(rule, argument="mean", value=self.mean and list(self.mean), remedy="give both or neither")
        self._warn_unused()

    def _warn_unused(self) -> None:
        unused = []
        if self.root is not None and self.type == "digits":
            unused.append("root")
        if self.download and self.type not in ("cifar10", "cifar100"):
            unused.append("download")
        unused += [name for name in ("train", "val") if getattr(self, name) is not None and self.type != "csv"]
        for name in unused:
            warnings.warn(f"{name} has no effect with type={self.type}", stacklevel=4)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A loaded data set.

    Args:
        train: images to train on.
        test: images to evaluate on, at the end of a stage.
        classes: names, in the order of the labels.
        preprocessing: of evaluation, as the model card records it (docs/formats.md).
        evaluated_on: what `test` is: `test`, or `holdout` (a part of the training data).
        name: of the data set.
        val: images for the figures after an epoch: the part set aside, or what the data set brings for it; None: none,
            because test images are not looked at while a network is trained.
        seen: what was special of image files, {key of `decoding.NOTES`: images, `skipped`: files}; empty: nothing.
    """

    train: ImageSplit
    test: ImageSplit
    classes: tuple[str, ...]
    preprocessing: dict[str, Any]
    evaluated_on: str
    name: str
    val: ImageSplit | None = None
    seen: Mapping[str, int] = field(default_factory=dict)


def load_data(config: DataConfig, *, seed: int, progress: Progress | None = None) -> ImageData:
    """Read a data set and divide it into training and evaluation images.

    Image files are decoded once, before anything is computed from them (`scanning`); one warning says what is left
    out, and what is not plain 8-bit RGB or grey levels.

    Args:
        config: which data, and how they are shown.
        seed: of `limit`'s choice; without a limit no part depends on it.
        progress: is told of a long look at image files.

    Returns:
        Splits whose images are float32 [channels, height, width], normalised.

    Raises:
        UserError: the data are absent or not as they should be, are of one class alone, do not fit `input_size`, are
            too few for `holdout`, or bring no test images and there is no `holdout`.

    Example::

        data = load_data(DataConfig(type="digits"), seed=0)
        x_CHW, label = data.train.train_view(seed=0)[0, 0]
    """
    reading = _in_channels(_read(config), config.channels)
    if len(reading.classes) < 2:
        only = f"{config.root}: has one class alone, {shown(reading.classes[0])}, and nothing to tell it from"
        raise UserError(f"{only}; give images of two classes or more")
    transform = _transform(config, reading)
    splits = _splits(config, reading, transform)
    if config.limit is not None:
        splits = {name: _limited(split, config.limit, seed=seed) for name, split in splits.items()}
    return ImageData(
        train=splits["train"],
        test=splits["test"],
        classes=reading.classes,
        preprocessing={
            "input_size": [len(transform.mean), *transform.sides],
            "resize": config.resize,
            "interpolation": "bilinear",
            "mean": list(transform.mean),
            "std": list(transform.std),
        },
        evaluated_on="holdout" if config.holdout else "test",
        name=reading.name,
        val=splits["test"] if config.holdout else splits.get("val"),
        seen=_seen(config, reading, splits, progress),
    )


def _splits(config: DataConfig, reading: Reading, transform: Transform) -> dict[str, ImageSplit]:
    """`train`, `test` and, where the data set brings one, `val`; UserError without images for `test`."""
    train = _whole(reading.train, transform)
    if config.holdout:
        # The seed is not the run's: a network trained under another one must not be judged by what it has learnt.
        rest, held_out = stratified_split(train.labels, config.holdout, seed=0, keys=train.source.keys)
        return {"train": train.subset(rest), "test": train.subset(held_out)}
    if reading.test is None:
        lacks = {"csv": f"only {config.train}", "shards": "no val-*.tar"}.get(config.type, "no val/ or test/")
        usual = "add val/ beside train/, with a folder for each class"
        add = {"csv": "give a list of others as val", "shards": "add some"}.get(config.type, usual)
        raise UserError(
            f"no image would judge the network: {config.root} has {lacks}",
            argument="holdout",
            value=config.holdout,
            remedy=f"{add}, or set holdout=0.1 to set aside a tenth of the images",
        )
    parts = {"val": reading.val, "test": reading.test}
    return {"train": train, **{name: _whole(source, transform) for name, source in parts.items() if source is not None}}


def _seen(
    config: DataConfig, reading: Reading, splits: Mapping[str, ImageSplit], progress: Progress | None
) -> dict[str, int]:
    """Look at every image file of `splits`; what is special of them, said in one warning.

    UserError for one that cannot be read, or has another size than a network takes that nothing is resized for.
    """
    chosen = [
        (split.source, i, name != "train" or split.transform.augment != "resized_crop", split.transform)
        for name, split in splits.items()
        if isinstance(split.source, EncodedSource)
        for i in split.ids.tolist()
    ]
    if not chosen:
        return {}
    found = scan([image[:2] for image in chosen], progress=progress)
    for (source, i, fits, transform), (_, _, height, width, _) in zip(chosen, found, strict=True):
        if fits:
            transform.check_size(height, width, source.paths[i])
    kept = {"transparent"} if config.channels == 4 else set()
    counts = Counter(key for *_, keys in found for key in keys if key not in kept)
    skipped = sum(reading.skipped.values())
    said = [f"{counts[key]} of {len(found)} images {words}" for key, words in NOTES.items() if counts[key]]
    if skipped:
        said.append(f"files that are no images are left out ({reading.left_out})")
    if said:
        warnings.warn(f"data.root = {config.root}: {'; '.join(said)}", stacklevel=3)
    return {**counts, **({"skipped": skipped} if skipped else {})}


def _read(config: DataConfig) -> Reading:
    root = str(config.root)
    readers = {
        "digits": read_digits, "npz": lambda: read_npz(root), "imagefolder": lambda: read_imagefolder(root),
        "csv": lambda: read_csv(root, str(config.train), config.val), "shards": lambda: read_shards(root),
    }  # fmt: skip
    return readers.get(config.type, lambda: read_cifar(config.type, root, download=config.download))()


def _in_channels(reading: Reading, channels: int | None) -> Reading:
    """The images of `reading` with `channels`, or with their own."""
    parts = {name: getattr(reading, name) for name in ("train", "val", "test")}
    changed = {name: part.with_channels(channels) for name, part in parts.items() if part is not None}
    return replace(reading, **changed)


def _of_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Statistics of RGB for grey levels or a fourth channel: their mean."""
    mean = round(sum(values) / len(values), 4)
    return (mean,) if channels == 1 else (*values, mean)[:channels]


def _transform(config: DataConfig, reading: Reading) -> Transform:
    channels = reading.train.channels
    mean, std = (_of_channels(values, channels) for values in reading.statistics)
    if config.mean is not None and config.std is not None:
        mean, std = config.mean, config.std
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            rule = f"must be a list of {channels} values, one for each channel"
            raise UserError(rule, argument=name, value=list(values), remedy="correct it, or set channels")
    # An eighth of the side is NetSlim's 4 pixels at 32 x 32; digits fill their frame, half of it keeps them whole.
    padding = min(sides_of(config.input_size)) // (16 if config.type == "digits" else 8)
    augment = _AUTO[config.type] if config.augment == "auto" else config.augment
    size, resize, cutout = config.input_size, config.resize, config.cutout
    return Transform(size, resize, augment, padding, mean=tuple(mean), std=tuple(std), cutout=cutout)


def _whole(source: Source, transform: Transform) -> ImageSplit:
    split = ImageSplit(source, np.arange(len(source.labels)), transform)
    split.eval_view()[0]  # raises at once, before any training, when images do not fit input_size
    return split


def _limited(split: ImageSplit, limit: int, *, seed: int) -> ImageSplit:
    if limit >= len(split):
        return split
    return split.subset(stratified_split(split.labels, limit / len(split), seed=seed)[1])
