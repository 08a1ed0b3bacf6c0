"""Damaged and malicious .npz archives: read, or refused in one line, without the memory that they claim."""

import io
import struct
import zipfile

import numpy as np
import pytest
from campaign import obeys, tally
from damage import campaign, in_little_memory

from compress.engine.readers import read_npz

RNG = np.random.default_rng(0)
ARRAYS = {
    "train_images": RNG.integers(0, 256, (4, 5, 5, 3), dtype=np.uint8),
    "train_labels": np.arange(4) % 2,
    "test_images": RNG.integers(0, 256, (2, 5, 5, 3), dtype=np.uint8),
    "test_labels": np.arange(2),
    "classes": np.array(["cat", "dog"]),
}


@pytest.mark.parametrize(
    "count", [pytest.param(40, id="sample"), pytest.param(400, id="all", marks=pytest.mark.faults)]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_archives(tmp_path, save, count):
    file = tmp_path / "data.npz"
    save(file, **ARRAYS)
    campaign(f"damaged npz ({save.__name__})", file, file.read_bytes(), count, read_npz)


def header(text: str) -> bytes:
    line = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line


def images(shape: object, descr: str = "'|u1'") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


def write(file, entry: bytes, *, name="train_images.npy", compression=zipfile.ZIP_STORED) -> None:
    """An archive whose array `name` is the bytes `entry`, right in all else."""
    with zipfile.ZipFile(file, "w", compression) as archive:
        for key, value in ARRAYS.items():
            stream = io.BytesIO()
            np.save(stream, value)
            archive.writestr(f"{key}.npy", entry if f"{key}.npy" == name else stream.getvalue())


CRAFTED = {
    "273 PiB": (images((10**11, 32, 32, 3)), "307200000000000 bytes, and 0 are stored"),
    "one more image": (images((5, 5, 5, 3)) + bytes(300), "375 bytes, and 300 are stored"),
    "negative": (images((-1, 5, 5, 3)), "and 0 are stored"),
    "twice negative": (images((-4, -5, 5, 3)) + bytes(300), "[-4, -5, 5, 3]"),
    "objects": (images((4,), "'|O'"), "Python objects"),
    "hidden objects": (images((4,), "[('a', '|O')]"), "Python objects"),
    "brackets": (header("(" * 5000), "not a plain .npz"),
    "truth as a size": (images("(True, 5, 5, 3)") + bytes(75), "not a plain .npz"),
    "code": (header("__import__('os').system('true')"), "not a plain .npz"),
    "version 3": (images((4, 5, 5, 3)).replace(b"\x01\x00", b"\x03\x00", 1), "version (3, 0)"),
    "no array": (b"text", "not a plain .npz"),
    "nothing": (b"", "not a plain .npz"),
    "an archive": (b"PK\x03\x04" + bytes(100), "not a plain .npz"),
}


@pytest.mark.parametrize("kind", CRAFTED)
def test_headers_that_lie(tmp_path, kind):
    content, says = CRAFTED[kind]
    write(tmp_path / "data.npz", content)
    assert says in in_little_memory(lambda: read_npz(tmp_path / "data.npz"), source="data.npz")
    tally("npz headers that lie", 1, 1)


def test_archives_that_lie(tmp_path):
    file = tmp_path / "data.npz"
    write(file, images((30_000, 32, 32, 3)) + bytes(30_000 * 3072), compression=zipfile.ZIP_DEFLATED)
    assert "such compression is no images'" in in_little_memory(lambda: read_npz(file), source="data.npz")
    np.savez(file, **ARRAYS)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(file, "a") as archive:
        archive.writestr("classes.npy", b"")
    assert "classes is stored 2 times" in obeys(lambda: read_npz(file))
    np.savez(file, **ARRAYS)
    locked = bytearray(file.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = locked.find(mark)
        while at >= 0:
            locked[at + flags] |= 1
            at = locked.find(mark, at + 4)
    file.write_bytes(locked)
    assert "is encrypted" in obeys(lambda: read_npz(file))


def odd_text() -> np.ndarray:
    names = np.array(["aaa", "bbb"])
    names.view(np.uint32)[0] = 0xD800
    return names


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": np.array([b"\xff\xfe", b"b"])}, "is not UTF-8"),
        ({"classes": odd_text()}, "is not UTF-8"),
        ({"classes": np.array([1.5, 2.5])}, "store a list of class names"),
        ({"classes": np.array([["a", "b"]])}, "store a list of class names"),
        ({"train_labels": np.array([0, 1, 0, np.nan])}, "train_labels is float64"),
        ({"train_labels": np.array([True, False, True, False])}, "train_labels is bool"),
        ({"train_labels": np.array([0, 1, 0, 1], "datetime64[s]")}, "train_labels is datetime64"),
        ({"train_labels": np.array([0, 1, 0, 2**64 - 1], np.uint64)}, "train_labels span 0..18446744073709551615"),
        ({"train_images": np.full((4, 5, 5, 3), np.nan)}, "train_images is float64"),
        ({"train_images": np.full((4, 5, 5, 3), 300)}, "train_images is int64"),
        ({"train_images": np.zeros((4, 5), np.uint8)}, "store uint8 [N, H, W, 3]"),
        ({"train_images": np.zeros((4, 5, 5), np.uint8)}, "store images of one shape"),
    ],
)
def test_arrays_of_wrong_kinds(tmp_path, changes, says):
    np.savez(tmp_path / "data.npz", **{**ARRAYS, **changes})
    assert says in obeys(lambda: read_npz(tmp_path / "data.npz"), source="data.npz")
