"""How many images a data set has, looked up or listed: no image is read."""

from __future__ import annotations

from dataclasses import dataclass

from ..plan import UserError
from .archives import read_arrays
from .data import DataConfig
from .folders import read_imagefolder
from .lists import read_csv
from .readers import Reading
from .shards import read_shards

KNOWN = {"digits": (1437, 360, 10), "cifar10": (50_000, 10_000, 10), "cifar100": (50_000, 10_000, 100)}
"""Training images, test images, classes."""


@dataclass(frozen=True)
class DataSize:
    """Numbers of images of a run.

    Args:
        train: that are trained on.
        judged: that judge the network.
        classes: of them.
        watched: that are evaluated after every epoch.

    Example::

        DataSize(train=26000, judged=1000, classes=20)
    """

    train: int
    judged: int
    classes: int
    watched: int = 0


def data_size(config: DataConfig) -> DataSize:
    """Of the data that `config` names, of which names and labels are read at most.

    Raises UserError as `load_data` does where they are absent.

    Example::

        data_size(DataConfig(type="cifar10", root="nowhere yet")).train  # 50000
    """
    root, watched = str(config.root), 0
    if config.type in KNOWN:
        train, judged, classes = KNOWN[config.type]
    elif config.type == "npz":
        from pathlib import Path

        labels = read_arrays(Path(root), ("train_labels", "test_labels", "classes"))
        train, judged, classes = (len(labels[name]) for name in ("train_labels", "test_labels", "classes"))
    else:
        reading = _listed(config, root)
        train, classes = len(reading.train.labels), len(reading.classes)
        judged, watched = (0 if part is None else len(part.labels) for part in (reading.test, reading.val))
    if config.holdout:
        judged = watched = round(config.holdout * train)
        train -= judged
    if not judged:
        rule = f"no image would judge the network: {root} has training images alone"
        raise UserError(rule, argument="holdout", value=config.holdout, remedy="add others, or set holdout=0.1")
    most = config.limit or train + judged
    return DataSize(min(train, most), min(judged, most), classes, min(watched, most))


def _listed(config: DataConfig, root: str) -> Reading:
    if config.type == "csv":
        return read_csv(root, str(config.train), config.val)
    return read_shards(root) if config.type == "shards" else read_imagefolder(root)
