"""Read the supported image data sets into sources: digits, CIFAR and .npz files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..plan import UserError, needs
from ..plan.errors import shown
from .archives import read_arrays
from .datasets import ArraySource, Source
from .sampling import stratified_split

CIFAR10_STATISTICS = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100_STATISTICS = ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DIGITS_STATISTICS = ((0.305,) * 3, (0.323,) * 3)  # of the training images below

KINDS = 8
"""Of files that are left out, as many are told."""
CHANNELS = ((), (1,), (3,), (4,))
"""What may stand behind [N, H, W]."""
_NPZ_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels", "classes")


@dataclass(frozen=True)
class Reading:
    """A data set as it was read.

    Args:
        name: of the data set.
        train: images to train on.
        test: images that judge the network; None: the data set brings none, and a part of `train` has to.
        classes: names, in the order of the labels.
        statistics: (mean, std) of the channels.
        val: images for the figures after an epoch, where the data set brings some beside `test`.
        skipped: files of a folder that are no images of it, {`hidden` or the suffix: number}.
    """

    name: str
    train: Source
    test: Source | None
    classes: tuple[str, ...]
    statistics: tuple[tuple[float, ...], tuple[float, ...]]
    val: Source | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def left_out(self) -> str:
        """What `skipped` has, in words: the most frequent kinds, for names with several dots make thousands of them."""
        most = sorted(Counter(self.skipped).most_common(KINDS))
        said = [f"{shown(kind)}: {count}" for kind, count in most]
        return ", ".join(said if len(self.skipped) <= KINDS else [*said, f"and {len(self.skipped) - KINDS} more kinds"])


def read_digits() -> Reading:
    """scikit-learn's 1,797 handwritten digits (8 x 8, 17 grey levels), scaled to 32 x 32 and three equal channels.

    The split into 1,437 training and 360 test images is stratified and always the same.

    Example::

        reading = read_digits()
        assert len(reading.test.labels) == 360
    """
    sklearn = needs("sklearn.datasets", package="scikit-learn", extra="demo", what="data.type = digits")
    digits = sklearn.load_digits()
    grey = torch.from_numpy(digits.images).float()[:, None] * (255 / 16)
    grey = F.interpolate(grey, size=(32, 32), mode="bilinear", align_corners=False).round().to(torch.uint8)
    images = grey.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    labels = digits.target.astype(np.int64)
    train, test = stratified_split(labels, 360 / len(labels), seed=0)
    return Reading(
        name="digits",
        train=ArraySource(images[train], labels[train]),
        test=ArraySource(images[test], labels[test]),
        classes=tuple(str(name) for name in digits.target_names),
        statistics=DIGITS_STATISTICS,
    )


def read_cifar(name: str, root: str, *, download: bool = False) -> Reading:
    """CIFAR-10 or CIFAR-100 as torchvision stores them.

    Args:
        name: `cifar10` or `cifar100`.
        root: folder that holds the extracted batches or the archive (which is then extracted there).
        download: fetch the archive when it is absent.

    Raises:
        UserError: the data are absent, corrupt, or cannot be downloaded.

    Example::

        reading = read_cifar("cifar10", "data", download=True)
    """
    from http.client import HTTPException

    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    archive = Path(root) / kind.filename
    fetch = download or check_integrity(str(archive), kind.tgz_md5)  # an intact archive is extracted, not downloaded
    remedy = f"pass download=True, or put {kind.filename} ({kind.url}) there"
    try:
        train = kind(root, train=True, download=fetch)
        test = kind(root, train=False)
    except (OSError, RuntimeError, HTTPException) as error:
        if fetch:
            reason = f"could not be downloaded or extracted ({error})"
            remedy = f"check the connection and the free space, or put {kind.filename} ({kind.url}) there"
        elif archive.exists():
            reason = f"{kind.filename} is incomplete or altered (its MD5 is not {kind.tgz_md5})"
        else:
            reason = f"no intact {kind.base_folder} and no {kind.filename} there"
        raise UserError(f"{root}: {name}: {reason}; {remedy}") from None
    return Reading(
        name=name,
        train=ArraySource(train.data, np.array(train.targets, dtype=np.int64)),
        test=ArraySource(test.data, np.array(test.targets, dtype=np.int64)),
        classes=tuple(train.classes),
        statistics=CIFAR10_STATISTICS if name == "cifar10" else CIFAR100_STATISTICS,
    )


def read_npz(path: str | Path) -> Reading:
    """A NumPy archive with uint8 `train_images`, `test_images`, integer `*_labels` [N] and `classes`.

    Images are [N, H, W, C] with 1, 3 or 4 channels, or [N, H, W].

    No pickled object is ever loaded. 32 x 32 images are normalised as CIFAR-10, others as ImageNet.

    Raises:
        UserError: the file is absent or no such archive, an array is missing, empty or of the wrong shape or type,
            or a label has no class.

    Example::

        reading = read_npz("cifar10.npz")
    """
    path = Path(path)
    arrays = read_arrays(path, _NPZ_ARRAYS)
    classes = arrays["classes"]
    if classes.ndim != 1 or not len(classes) or classes.dtype.kind not in "UiuS":
        raise UserError(
            f"{path}: classes has shape {list(classes.shape)}, {classes.dtype}; store a list of class names"
        )
    names = tuple(class_name(path, name) for name in classes)
    sources = {split: _npz_source(path, split, arrays=arrays, n_classes=len(names)) for split in ("train", "test")}
    shapes = [[*source.images.shape[2:], source.channels] for source in sources.values()]
    if shapes[0] != shapes[1]:
        raise UserError(f"{path}: train_images are {shapes[0]} and test_images {shapes[1]}; store images of one shape")
    statistics = CIFAR10_STATISTICS if shapes[0][:2] == [32, 32] else IMAGENET_STATISTICS
    return Reading(path.stem, sources["train"], sources["test"], classes=names, statistics=statistics)


def class_name(path: Path, name: Any) -> str:
    """A class's name as text; UserError where it is none."""
    try:
        text = name.decode() if isinstance(name, bytes) else str(name)
        text.encode()
        return text
    except UnicodeError:
        raise UserError(f"{path}: class {shown(repr(name))} is not UTF-8; store the names as text") from None


def _npz_source(path: Path, split: str, *, arrays: dict[str, NDArray], n_classes: int) -> ArraySource:
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in CHANNELS:
        raise UserError(
            f"{path}: {split}_images is {images.dtype} {list(images.shape)}; store uint8 [N, H, W, 3]; "
            "1 and 4 channels are read, too"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise UserError(
            f"{path}: {split}_labels is {labels.dtype} {list(labels.shape)} for {len(images)} images; "
            f"store integers [{len(images)}]"
        )
    if not images.size:
        raise UserError(f"{path}: {split}_images is empty, {list(images.shape)}; store at least one image")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise UserError(
            f"{path}: {split}_labels span {labels.min()}..{labels.max()}, but there are {n_classes} classes; "
            f"number them 0..{n_classes - 1}"
        )
    return ArraySource(images if images.ndim == 4 else images[..., None], labels.astype(np.int64))
