"""Plain arrays out of .npz archives, whose headers are checked against the file before anything is allocated."""

from __future__ import annotations

import math
import tokenize
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from ..plan import UserError
from ..plan.errors import reason

BROKEN = (
    OSError, ValueError, EOFError, BadZipFile, KeyError, TypeError, NotImplementedError, RuntimeError, OverflowError,
    SyntaxError, tokenize.TokenError, zlib.error,
)  # fmt: skip
"""What NumPy and zipfile raise for files that are no archives of plain arrays, or damaged ones."""
SWELL, SLACK_BYTES = 200, 64 << 20
"""Arrays may take SWELL times their compressed size, and SLACK_BYTES more: blank images compress well."""
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
ENCRYPTED = 1
"""Bit of a zip entry's flags."""


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays `names` of the .npz archive `path`; no pickled object is ever loaded.

    Raises UserError when the file is absent or no such archive, when an array is missing, stored twice, encrypted, of
    objects, or of another size than its header claims, and when they do not fit into memory.
    """
    try:
        with path.open("rb") as file, ZipFile(file) as archive:
            entries = _entries(path, archive, names)
            for name, entry in entries.items():
                _check_claim(path, name, archive, entry)
            return {name: _array(archive, entry) for name, entry in entries.items()}
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the path of an .npz file") from None
    except MemoryError:
        raise UserError(f"{path}: its arrays do not fit into this machine's memory; store fewer images") from None
    except BROKEN as error:
        if _is_array(path):
            raise UserError(f"{path}: holds a single array; store {', '.join(names)} with numpy.savez") from None
        raise UserError(f"{path}: not a plain .npz archive ({reason(error)}); write it with numpy.savez") from None


def _is_array(path: Path) -> bool:
    """Whether the file is one array of NumPy's, an .npy under whatever name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX


def _entries(path: Path, archive: ZipFile, names: Sequence[str]) -> dict[str, ZipInfo]:
    found = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{path}: no array {', '.join(missing)}; it must hold {', '.join(names)}")
    counts = Counter(entry.filename.removesuffix(".npy") for entry in archive.infolist())
    if twice := [name for name in names if counts[name] > 1]:
        raise UserError(
            f"{path}: {twice[0]} is stored {counts[twice[0]]} times; write the archive anew, each array once"
        )
    if locked := [name for name in names if found[name].flag_bits & ENCRYPTED]:
        raise UserError(f"{path}: {locked[0]} is encrypted; write the archive with numpy.savez, without a password")
    return {name: found[name] for name in names}


def _check_claim(path: Path, name: str, archive: ZipFile, entry: ZipInfo) -> None:
    """UserError unless the array's header fits its entry, and its entry the file."""
    with archive.open(entry) as member, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers that Python 2 wrote are read all the same
        version = np.lib.format.read_magic(member)
        if version not in HEADERS:
            raise UserError(f"{path}: {name} has version {version} of NumPy's format; write it with numpy.savez")
        shape, _, dtype = HEADERS[version](member)
        header_bytes = member.tell()
    if dtype.hasobject:
        raise UserError(f"{path}: not a plain .npz archive ({name} holds Python objects); write it with numpy.savez")
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != entry.file_size - header_bytes or min(shape, default=0) < 0:
        raise UserError(
            f"{path}: {name} claims {dtype} {list(shape)}, {claimed} bytes, and {entry.file_size - header_bytes} are "
            "stored; the file is damaged or malicious; write it with numpy.savez"
        )
    if entry.file_size > SWELL * (size := path.stat().st_size) + SLACK_BYTES:
        raise UserError(
            f"{path}: {name} claims {entry.file_size} bytes, and the whole file has {size}; such compression is no "
            "images'; write it with numpy.savez"
        )


def _array(archive: ZipFile, entry: ZipInfo) -> NDArray[Any]:
    with archive.open(entry) as member, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.lib.format.read_array(member, allow_pickle=False)
