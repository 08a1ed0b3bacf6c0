"""Data sets in tar shards, as WebDataset writes them: an image and its label are two members of one name (`tars`).

The headers of all shards are read once, at the start, and say where every image stands. From then on shards are what
folders are: any image at any time. So shuffling, the halves of a search, images set aside, seeds, resuming and many
processes work as they do elsewhere: the order depends on (seed, epoch) alone, whatever the workers, and every image is
shown once an epoch. Streams in WebDataset's manner pass over whole shards and shuffle within a buffer: their order
depends on how many processes and workers there are, and halves of a search could not keep the classes' balance.

The price is a seek for each image, as in a folder of files, but without the millions of directory entries that make
folders slow on NFS. Local disks and NFS serve that. Storage that can only be streamed does not: copy the shards.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..plan import UserError
from ..plan.errors import reason, shown
from .encoded import EncodedSource, stamp_of
from .folders import PARTS, check_not_arrow
from .readers import IMAGENET_STATISTICS, Reading, class_name
from .tars import Sample, index_of

THREADS = 8
"""That read headers, which waits for the disk."""
COMPRESSED = re.compile(r"\.(tar\.\w+|tgz|txz|tbz2?)$")
SHARDS = "give a folder of train-0000.tar, val-0000.tar and so on"
Indexed = Mapping[Path, Sequence[Sample]]
"""Shard -> its samples."""


class ShardSource(EncodedSource):
    """Images in tar shards, each read where it stands; `folder` is the data set's.

    Example::

        source = read_shards("shards").train
        x_BCHW = source.read(np.arange(2))[0]
    """

    def __init__(self, indexed: Indexed, labels: NDArray[np.int64], *, folder: Path) -> None:
        # What members are called leads nowhere, whatever stands in it.
        names = [f"{shard}/{each.name.replace('/', ':')}" for shard, own in indexed.items() for each in own]
        super().__init__(names, labels, folder=folder)
        self.shards = [str(shard) for shard in indexed]
        self.changed = [stamp_of(shard)[1] for shard in self.shards]
        # Arrays, which worker processes share with their parent, as they do not share objects.
        self.shard_of = np.repeat(np.arange(len(indexed)), [len(own) for own in indexed.values()])
        places = [(each.offset, each.size) for own in indexed.values() for each in own]
        self.offsets, self.sizes = np.array(places, dtype=np.int64).T

    def encoded(self, i: int) -> bytes:
        """The bytes of the image `i`; UserError where its shard can no longer be read."""
        shard = self.shards[self.shard_of[i]]
        try:
            with open(shard, "rb") as file:
                file.seek(self.offsets[i])
                return file.read(self.sizes[i])
        except OSError as error:
            raise UserError(f"{shard}: cannot be read ({error.strerror}); restore it") from None

    def stamp(self, i: int) -> list[int]:
        """Bytes of the image, and time of its shard's last change in ns."""
        return [int(self.sizes[i]), self.changed[self.shard_of[i]]]


def read_shards(root: str | Path) -> Reading:
    """Tar shards `root/train-*.tar` and `root/val-*.tar`, whose members are `KEY.jpg` (or png, webp) and `KEY.cls`.

    The word for a part stands anywhere in a shard's name (`imagenet-train-0007.tar`); parts and their words are those
    of `folders.read_imagefolder`. A label is a class's number in `KEY.cls`, or what `KEY.json` has under `label`, a
    number or a name. Numbers go from 0 on without gaps; `root/classes.txt`, if it is there, names them, a line each.
    Other members are left out and counted.

    Raises:
        UserError: a shard is damaged, compressed or of no part, a sample lacks its image or its label, or classes are
            without training images.

    Example::

        reading = read_shards("shards")
    """
    root = Path(root)
    if not root.is_dir():
        streamed = re.match(r"\w+:", str(root)) is not None  # s3://, https://, pipe:
        why = "a shard is read at any place, which a stream does not allow" if streamed else "no such folder"
        raise UserError(f"{root}: {why}; {SHARDS}")
    check_not_arrow(root)
    skipped: Counter[str] = Counter()
    found: dict[str, Indexed] = {}
    for part, shards in _parts(root).items():
        with ThreadPoolExecutor(THREADS) as pool:
            indexed = list(pool.map(_indexed, shards))
        found[part] = {shard: samples for shard, (samples, _) in zip(shards, indexed, strict=True)}
        for _, others in indexed:
            skipped.update(others)
    classes, numbers = _classes(root, found)
    sources = {part: _source(indexed, numbers, root) for part, indexed in found.items()}
    return Reading(
        name=root.resolve().name,
        train=sources["train"],
        test=sources.get("test", sources.get("val")),
        val=sources.get("val") if "test" in sources else None,
        classes=classes,
        statistics=IMAGENET_STATISTICS,
        skipped=skipped,
    )


def _indexed(shard: Path) -> tuple[list[Sample], Counter[str]]:
    """The samples of `shard`, and what else is there; what stands around labels in a .json is not kept."""
    index = index_of(shard)
    return index.samples(), index.skipped


def _source(indexed: Indexed, numbers: Mapping[int | str, int], root: Path) -> ShardSource:
    labels = [numbers[each.label] for own in indexed.values() for each in own]
    return ShardSource(indexed, np.array(labels, dtype=np.int64), folder=root)


def _parts(root: Path) -> dict[str, list[Path]]:
    """{`train`, `val`, `test`: shards, by name}."""
    parts: dict[str, list[Path]] = {}
    words: dict[str, str] = {}
    for path in sorted(path for path in root.iterdir() if path.is_file() and not path.name.startswith(".")):
        name = path.name.lower()
        if COMPRESSED.search(name):
            raise UserError(f"{path}: is compressed, so no image in it is found at once; unpack it to a plain .tar")
        if not name.endswith(".tar"):
            continue
        said = {word: part for part, known in PARTS.items() for word in re.split(r"[-_.]", name) if word in known}
        if len(said) != 1:
            raise UserError(f"{path}: its name must say one part; call shards train-0000.tar, val-0000.tar and so on")
        ((word, part),) = said.items()
        if words.setdefault(part, word) != word:
            raise UserError(f"{path}: other shards are called {words[part]!r}, which stands for {part}, too; keep one")
        parts.setdefault(part, []).append(path)
    if "train" not in parts:
        raise UserError(f"{root}: holds no train-*.tar; {SHARDS}")
    return parts


def _classes(root: Path, found: Mapping[str, Indexed]) -> tuple[tuple[str, ...], dict[int | str, int]]:
    """Names, and label -> number; UserError for labels of both kinds, and for classes without training images."""
    labels = {part: {each.label for own in indexed.values() for each in own} for part, indexed in found.items()}
    every = set().union(*labels.values())
    names = sorted(label for label in every if isinstance(label, str))
    if 0 < len(names) < len(every):
        raise UserError(f"{root}: some labels are numbers and some names, such as {shown(names[0])}; write one kind")
    if strange := sorted(map(str, every - labels["train"])):
        raise UserError(f"{root}: class {shown(strange[0])} has no training image; add some, or correct the label")
    if names:
        return tuple(class_name(root, name) for name in names), {name: i for i, name in enumerate(names)}
    numbers = {label: int(label) for label in every}
    if missing := set(range(len(every))) - every:
        raise UserError(
            f"{root}: class {min(missing)} has no image, and labels go up to {max(numbers.values())}; number the "
            "classes from 0 on, without gaps"
        )
    return _names(root / "classes.txt", len(every)), numbers


def _names(path: Path, count: int) -> tuple[str, ...]:
    """Of `count` classes: the lines of `path`, or their numbers where there is none."""
    if not path.exists():
        return tuple(map(str, range(count)))
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no list of names ({reason(error)}); write one in UTF-8") from None
    if len(names) != count or not all(names):
        raise UserError(f"{path}: has {len(names)} lines for {count} classes; write a name in each, in their order")
    return tuple(names)
