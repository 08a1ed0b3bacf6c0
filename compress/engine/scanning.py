"""Decode every image of a data set once, before hours of training find the broken one; what was seen is remembered.

The record lies in the user's cache folder, a file for each folder of images. An image is looked at again when its size
or time has changed, or the decoder.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import distributed

from ..plan import UserError, read_stored, write_json
from .decoding import decode

if TYPE_CHECKING:
    from .encoded import EncodedSource
    from .hooks import Progress

T = TypeVar("T")
FORMAT = 1
MANY = 500
"""From so many new images on there is a bar, and more than one thread."""
MOST_THREADS = 8
BLOCK = 1024
"""Images that wait for a thread at a time."""

Seen = list[Any]
"""Of an image: bytes, time of its last change in ns, height and width in pixels, and keys of `decoding.NOTES`."""
Stored = tuple["EncodedSource", int]
"""A source of images, and the place of one in it."""


def scan(images: Sequence[Stored], *, progress: Progress | None = None) -> list[Seen]:
    """Decode those of `images` that are new or changed, and return what is known of each, in order.

    The processes of a launcher, all of which call it, share the new ones. Raises UserError naming the first, in order,
    that cannot be read, with the number of others. What was seen until then, or until a stop, is remembered.

    Example::

        sizes = {(height, width) for _, _, height, width, _ in scan([(source, i) for i in range(8)])}
    """
    paths = [source.paths[i] for source, i in images]
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    record = _record(folder)
    known = _read(record)
    stamps = [source.stamp(i) for source, i in images]
    names = [os.path.relpath(os.path.abspath(path), folder) for path in paths]
    new = [i for i, name in enumerate(names) if known.get(name, [])[:2] != stamps[i]]
    new = sorted(set().union(*_from_all(new)))  # a machine's cache may lack what another one's has
    rank, processes = _place()
    mine = new[rank::processes]
    found: dict[int, Seen | UserError] = {}
    try:
        for i, seen in zip(mine, _looked_at([images[i] for i in mine], progress), strict=True):
            found[i] = seen
        found = {i: seen for part in _from_all(found) for i, seen in part.items()}
    finally:
        known |= {names[i]: [*stamps[i], *seen] for i, seen in found.items() if not isinstance(seen, UserError)}
        if new and rank == 0:
            _write(record, known)
    if broken := [seen for _, seen in sorted(found.items()) if isinstance(seen, UserError)]:
        others = f"; {len(broken) - 1} more images cannot be read" if len(broken) > 1 else ""
        raise UserError(f"{broken[0]}{others}")
    return [known[name] for name in names]


def _from_all(value: T) -> list[T]:
    """The value of every process, in their order."""
    if _place() == (0, 1):
        return [value]
    from mmengine.dist import all_gather_object  # brings much with it, which a process alone needs not

    return list(all_gather_object(value))


def _place() -> tuple[int, int]:
    """Which process this is, of how many."""
    here = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if here else (0, 1)


def _looked_at(images: Sequence[Stored], progress: Progress | None) -> Iterator[Seen | UserError]:
    many = len(images) >= MANY
    threads = min(MOST_THREADS, os.cpu_count() or 1) if many else 1
    show = progress if many else None
    if show is not None:
        show.announce("images")
        show.start("images", len(images), 0)
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # Pillow's, of images that `decode` refuses or mends
        try:
            for start in range(0, len(images), BLOCK):
                for seen in pool.map(_look, images[start : start + BLOCK]):
                    if show is not None:
                        show.advance()
                    yield seen
        finally:
            pool.shutdown(cancel_futures=True)
    if show is not None:
        show.done("images", {})


def _look(image: Stored) -> Seen | UserError:
    source, i = image
    try:
        pixels, notes = decode(source.paths[i], encoded=source.encoded(i))
    except UserError as error:
        return error
    return [*pixels.shape[:2], list(notes)]


def _record(folder: str) -> Path:
    """The file that remembers the images in `folder`, whether it is there or not."""
    base = os.environ.get("COMPRESS_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "compress"
    )
    return Path(base) / "images" / f"{hashlib.sha256(folder.encode(errors='surrogateescape')).hexdigest()[:16]}.json"


def _decoder() -> str:
    from PIL import __version__

    return f"pillow {__version__}"


def _read(record: Path) -> dict[str, Seen]:
    """What is remembered; nothing where the record is absent, of another decoder, or damaged: it is made again."""
    from .scanned import Record

    try:
        value = read_stored(record, Record)
    except UserError:
        return {}
    fits = value["format"] == FORMAT and value["decoder"] == _decoder()
    return {name: list(seen) for name, seen in value["images"].items()} if fits else {}


def _write(record: Path, known: dict[str, Seen]) -> None:
    try:
        write_json(record, {"format": FORMAT, "decoder": _decoder(), "images": known})
    except (OSError, UserError, UnicodeError):
        return  # no place for a cache: the images are looked at again next time
