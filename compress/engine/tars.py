"""One tar shard: which members belong together, where images stand, and writing shards.

Nothing is unpickled or extracted, and a member's name is never a path: it tells which members belong together.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from typing_extensions import TypedDict

from ..plan import UserError, parse_stored, replacing
from ..plan.errors import reason, shown

IMAGES, LABELS = ("jpg", "jpeg", "png", "webp"), ("cls", "json")
"""Suffixes of the members that are read."""
BLOCK = 512
"""Bytes in which a tar file counts."""
MOST_LABEL = 1 << 20
"""Bytes of a member with a label."""
TAIL = 1 << 20
"""Bytes behind the last member that are looked at: writers fill up with zeros, to 10 KiB mostly."""
BROKEN = (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError, MemoryError)
"""What tarfile raises for files that are no tar archives, or damaged ones."""
AGAIN = "restore it, or write it anew"
HEADS = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp"}
"""First bytes of a file -> suffix."""
_OURS = re.compile(r"\w+-\d{4,}\.tar")
_NUMBER = re.compile(rb"\s*(\d{1,9})\s*")


class LabelFile(TypedDict):
    """What is read of a sample's .json."""

    label: int | str


@dataclass(frozen=True)
class Sample:
    """An image in a shard: the `name` of its member, where its bytes stand, and its label: a number or a name."""

    name: str
    offset: int
    size: int
    label: int | str


@dataclass
class Index:
    """What the headers of `shard` say."""

    shard: Path
    images: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    labels: dict[str, dict[str, bytes]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    def take(self, member: tarfile.TarInfo, descriptor: int) -> None:
        """Put one member where it belongs, and read it if it is a label."""
        folder, slash, name = member.name.rpartition("/")
        stem, _, suffix = name.partition(".")
        suffix = suffix.lower()
        if member.isdir():
            return
        if not stem or not member.isreg() or member.issparse() or suffix not in (*IMAGES, *LABELS):
            kind = f".{suffix}" if suffix else "no suffix"
            self.skipped["hidden" if not stem else kind if member.isreg() else "no files"] += 1
            return
        key = f"{folder}{slash}{stem}"
        if suffix in IMAGES:
            if key in self.images:
                raise UserError(f"{self.shard}: {shown(key)} has several images; give each a key of its own")
            self.images[key] = member.name, member.offset_data, member.size
            return
        if suffix in self.labels.setdefault(key, {}):
            raise UserError(f"{self.shard}: {shown(member.name)} is there twice; {AGAIN}")
        if member.size > MOST_LABEL:
            what = f"has {member.size} bytes, and a label at most {MOST_LABEL}"
            raise UserError(f"{self.shard}: {shown(member.name)} {what}; {AGAIN}")
        self.labels[key][suffix] = os.pread(descriptor, member.size, member.offset_data)

    def samples(self) -> list[Sample]:
        """In the order of the images; UserError for what is no sample."""
        if not self.images:
            raise UserError(f"{self.shard}: holds no images ({', '.join(IMAGES)}); remove it, or write it anew")
        if lost := sorted(self.images.keys() ^ self.labels.keys()):
            what = "an image and no label (.cls, .json)" if lost[0] in self.images else "a label and no image"
            raise UserError(f"{self.shard}: {shown(lost[0])} has {what}; every sample has both, so {AGAIN}")
        return [
            Sample(*place, label_of(f"{self.shard}/{shown(key)}", self.labels[key]))
            for key, place in self.images.items()
        ]


def index_of(shard: Path) -> Index:
    """Read the headers and labels of `shard`; UserError unless it is a whole tar archive without compression.

    Example::

        index_of(Path("shards/train-0000.tar")).samples()
    """
    found = Index(shard)
    try:
        with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            total = os.fstat(file.fileno()).st_size
            while (member := tar.next()) is not None:
                if member.size < 0 or member.offset_data + member.size > total:  # a negative size would lead back
                    raise UserError(f"{shard}: {shown(member.name)} ends beyond the file; {AGAIN}")
                found.take(member, file.fileno())
            _check_end(shard, file.fileno(), tar.offset)
    except UserError:
        raise
    except BROKEN as error:
        raise UserError(f"{shard}: no plain tar archive ({reason(error)}); {AGAIN}") from None
    return found


def _check_end(shard: Path, descriptor: int, start: int) -> None:
    """UserError unless zeros alone follow from byte `start` on, at least a block of them, as a whole archive ends.

    A damaged header looks like the end to tarfile, and so does the end of the first of several joined archives.
    """
    tail = os.pread(descriptor, TAIL, start)
    if len(tail) < BLOCK:
        raise UserError(f"{shard}: is cut off at byte {start + len(tail)}, where its end should be marked; {AGAIN}")
    if any(tail[:BLOCK]):
        raise UserError(f"{shard}: is damaged at byte {start}; {AGAIN}")
    if tail.strip(b"\0"):
        what = f"several archives in one file, and from byte {start} on none is read"
        raise UserError(f"{shard}: {what}; keep them apart, or write one")


def label_of(place: str, members: dict[str, bytes]) -> int | str:
    """The label in a sample's `members` {suffix: content}: a number, or a name; of both members the .cls counts."""
    if "cls" in members:
        number = _NUMBER.fullmatch(members["cls"])
        if number is None:
            raise UserError(f"{place}.cls: must hold the number of a class; write it like 7, or a name in a .json")
        return int(number[1])
    source, remedy = f"{place}.json", 'write it like {"label": 7}'
    label: int | str = parse_stored(members["json"], LabelFile, source=source, remedy=remedy)["label"]
    if label == "" or (isinstance(label, int) and label < 0):
        raise UserError(f"{source}: label = {label!r}: must be the number of a class, from 0 on, or a name; {remedy}")
    return label


def write_shards(
    folder: str | Path, part: str, samples: Iterable[tuple[bytes, int]], *, per_shard: int = 1000
) -> list[Path]:
    """Write encoded images and their class numbers as `folder/PART-0000.tar` and so on; shards of PART are replaced.

    Args:
        folder: of the shards.
        part: `train`, `val` or `test`.
        samples: bytes of a JPEG, PNG or WebP file and the class's number, one after the other.
        per_shard: samples in each, which are in memory at a time.

    Raises:
        UserError: an image is of another kind, or there is none.

    Example::

        images = [path.read_bytes() for path in Path("val").rglob("*.png")]
        write_shards("made", "val", ((image, 0) for image in images))
    """
    written: list[Path] = []
    stream = iter(samples)
    while block := list(islice(stream, per_shard)):
        path = Path(folder) / f"{part}-{len(written):04d}.tar"
        with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, (image, label) in enumerate(block, len(written) * per_shard):
                suffix = next((suffix for head, suffix in HEADS.items() if image.startswith(head)), None)
                if suffix is None:
                    raise UserError(f"samples: number {number} is no JPEG, PNG or WebP file; give encoded images")
                for kind, content in ((suffix, image), ("cls", b"%d" % label)):
                    member = tarfile.TarInfo(f"{number:08d}.{kind}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        written.append(path)
    if not written:
        raise UserError(f"samples: none, or none a shard (per_shard = {per_shard}); give encoded images with labels")
    for former in Path(folder).glob(f"{part}-*.tar"):
        if _OURS.fullmatch(former.name) and former not in written:
            former.unlink()
    return written
