"""Damaged, odd and malicious image files: 8-bit RGB by one rule, or refused in one line before anything is trained."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from campaign import obeys, tally
from damage import campaign, in_little_memory
from PIL import Image, ImageOps

from compress.engine.data import DataConfig, load_data
from compress.engine.decoding import decode
from compress.plan import UserError

RGB = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
DEEP = np.random.default_rng(0).integers(0, 65536, (9, 7, 4), dtype=np.uint16)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *, before: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_png(channels: int, *, height: int = 9) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP[:height, :, :channels])
    return png(7, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decoded(tmp_path, content: bytes):
    (tmp_path / "image").write_bytes(content)
    return decode(str(tmp_path / "image"))


@pytest.mark.parametrize(
    "count", [pytest.param(30, id="sample"), pytest.param(300, id="all", marks=pytest.mark.faults)]
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_damaged_images(tmp_path, kind, count):
    options = {"exif": Image.Exif().tobytes()} if kind in ("PNG", "JPEG", "WEBP") else {}
    content = saved(Image.fromarray(RGB), kind, **options)
    campaign(f"damaged {kind}", tmp_path / "image", content, count, lambda file: decode(str(file)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM", "JPEG"])
def test_plain_images_are_what_pillow_gives(tmp_path, kind):
    for image in (Image.fromarray(RGB), Image.fromarray(RGB).convert("L"), Image.fromarray(RGB).convert("P")):
        if image.mode != "P" or kind not in ("PPM", "JPEG"):
            content = saved(image, kind)
            pixels, notes = decoded(tmp_path, content)
            assert (pixels == np.array(Image.open(io.BytesIO(content)).convert("RGB"))).all()
            assert notes == ()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_of_16_bits_the_upper_8_are_taken(tmp_path, channels):
    pixels, notes = decoded(tmp_path, deep_png(channels))
    eight = (DEEP[..., :channels] >> 8).astype(np.float64)
    colours = eight[..., :1].repeat(3, 2) if channels < 3 else eight[..., :3]
    if channels in (2, 4):
        alpha = eight[..., -1:] / 255
        colours = alpha * colours + (1 - alpha) * 255
    assert np.abs(pixels - colours).max() <= 1
    assert notes == (("deep", "transparent") if channels in (2, 4) else ("deep",))


def test_12_and_16_bits_in_other_files(tmp_path):
    grey = DEEP[..., 0]
    for content, expected in (
        (saved(Image.fromarray(grey), "TIFF"), grey >> 8),
        (b"P5 7 9 65535\n" + grey.astype(">u2").tobytes(), grey >> 8),
        (b"P5 7 9 4095\n" + (grey >> 4).astype(">u2").tobytes(), ((grey >> 4) * (65535 / 4095)).astype(int) >> 8),
    ):
        pixels, notes = decoded(tmp_path, content)
        assert np.abs(pixels[..., 0].astype(int) - expected).max() <= 1
        assert notes == ("deep",)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_images_are_turned_upright(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(RGB), kind, exif=exif.tobytes(), **({"lossless": True} if kind == "WEBP" else {}))
    pixels, notes = decoded(tmp_path, content)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert (pixels == np.array(upright.convert("RGB"))).all()
    assert notes == (() if orientation == 1 else ("turned",))


def test_transparent_pixels_become_white(tmp_path):
    image = Image.fromarray(RGB).convert("RGBA")
    assert decoded(tmp_path, saved(image, "PNG"))[1] == ()  # opaque throughout
    image.putalpha(Image.fromarray(np.where(np.arange(63).reshape(9, 7) < 30, 0, 255).astype(np.uint8)))
    clear = np.arange(63).reshape(9, 7) < 30
    pixels, notes = decoded(tmp_path, saved(image, "PNG"))
    assert (pixels[clear] == 255).all()
    assert (pixels[~clear] == RGB[~clear]).all()
    assert notes == ("transparent",)
    keyed = saved(Image.fromarray(RGB), "PNG", transparency=tuple(RGB[0, 0].tolist()))
    assert decoded(tmp_path, keyed)[0][0, 0].tolist() == [255, 255, 255]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert (decoded(tmp_path, saved(palette, "PNG", transparency=1))[0] == 255).all()


def test_frames_and_colours(tmp_path):
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 255, 0))
    for kind in ("GIF", "WEBP", "TIFF", "PNG"):
        pixels, notes = decoded(tmp_path, saved(first, kind, save_all=True, append_images=[second]))
        assert np.abs(pixels.astype(int) - (255, 0, 0)).max() < 3
        assert notes == ("frames",)
    for mode in ("CMYK", "YCbCr", "LAB"):
        pixels, notes = decoded(tmp_path, saved(Image.fromarray(RGB).convert(mode), "TIFF"))
        assert np.abs(pixels.astype(int) - RGB).max() <= 20  # LAB has no place for every colour
        assert notes == ("colours",)


BOMBS = {
    "900 million pixels": (png(30000, 30000, 8, 2, bytes(100)), "not a readable image"),
    "100 million pixels": (png(10000, 10000, 8, 2, bytes(100)), "at most 89478485"),
    "text": (
        png(4, 4, 8, 2, bytes(52), before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26)))),
        "not a readable",
    ),
    "floats": (saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "its pixels are floats"),
    "NaN": (saved(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), "its pixels are floats"),
    "32 bits": (saved(Image.fromarray(np.ones((4, 4), np.int32)), "TIFF"), "integers of more than 16 bits"),
    "float map": (b"Pf 2 2 -1.0\n" + bytes(16), "its pixels are floats"),
    "text file": (b"hello", "not a readable image"),
    "nothing": (b"", "not a readable image"),
    "archive": (b"PK\x03\x04" + bytes(100), "not a readable image"),
}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_images_without_a_range_or_an_end_are_refused(tmp_path, kind):
    content, says = BOMBS[kind]
    (tmp_path / "image.png").write_bytes(content)
    assert says in in_little_memory(lambda: decode(str(tmp_path / "image.png")), source="image.png")
    tally("images without a range or an end", 1, 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    for place in ("train/ape", "train/bee", "val/ape", "val/bee"):
        (tmp_path / "pets" / place).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(RGB[:7]).save(tmp_path / "pets" / place / f"{i}.png")
    return tmp_path / "pets"


def load(folder):
    return load_data(DataConfig(type="imagefolder", root=str(folder), input_size=7, augment="none"), seed=0)


def test_what_is_special_is_said_once_and_recorded(folder):
    (folder / "train/ape/0.png").write_bytes(deep_png(4, height=7))
    (folder / "train/bee/1.png").write_bytes(deep_png(3, height=7))
    (folder / "train/bee/._1.png").write_bytes(b"")
    for _ in range(2):  # from the images, and from the record
        with pytest.warns(UserWarning, match="pets") as said:
            data = load(folder)
        assert len(said) == 1
        text = str(said[0].message)
        assert "1 of 12 images have transparent pixels (put on white)" in text
        assert "2 of 12 images have 16 bits a channel (the upper 8 are taken)" in text
        assert "files that are no images are left out (hidden: 1)" in text
        assert data.seen == {"deep": 2, "transparent": 1, "skipped": 1}


def test_images_are_looked_at_once_until_they_change(folder, monkeypatch):
    looked = []

    def counted(path, *, encoded):
        looked.append(path)
        return decode(path)

    monkeypatch.setattr("compress.engine.scanning.decode", counted)
    load(folder)
    assert len(looked) == 12
    load(folder)
    assert len(looked) == 12
    (folder / "val/bee/2.png").write_bytes(b"broken")
    (folder / "train/ape/1.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"train/ape/1\.png: not a readable image .*; 1 more images cannot be read$"):
        load(folder)
    assert looked[12:] == [str(folder / "train/ape/1.png"), str(folder / "val/bee/2.png")]
    (folder / "val/bee/2.png").unlink()
    (folder / "train/ape/1.png").unlink()
    (record,) = (folder.parent / "cache" / "images").iterdir()
    for damaged in ("[]", "{", '{"format": 1, "decoder": 3, "images": {"a": [1]}}'):
        record.write_text(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(folder)
    assert len(looked) == 14 + 3 * 10


def test_a_place_where_nothing_can_be_remembered_does_not_matter(folder, monkeypatch):
    (folder.parent / "file").write_text("")
    monkeypatch.setenv("COMPRESS_CACHE", str(folder.parent / "file"))
    assert len(load(folder).train) == 6


def test_an_image_of_another_size_is_named_before_training(folder):
    Image.fromarray(RGB).save(folder / "val/bee/1.png")
    message = obeys(lambda: load(folder), source="val/bee/1.png")
    assert message.startswith("input_size = 7: ")
    assert "has 9 x 7 pixels" in message
