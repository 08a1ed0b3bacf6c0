"""Tar shards: every image once an epoch whatever the processes and workers, labels by number or name, bad archives."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compress.engine.data import DataConfig, load_data
from compress.engine.loaders import eval_loader, train_loader
from compress.engine.shards import read_shards
from compress.engine.tars import write_shards
from compress.plan import UserError

SIDE, PER_SHARD = 8, 8


def image(number: int, kind: str = "PNG") -> bytes:
    """One whose colour is its number, without loss."""
    file = io.BytesIO()
    pixels = np.full((SIDE, SIDE, 3), number, dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def put(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def load(root: Path, **options):
    config = DataConfig(type="shards", root=str(root), input_size=SIDE, augment="none", **options)
    return load_data(config, seed=0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """20 shards of 8 training images, and 2 of 5 that judge."""
    root = tmp_path_factory.mktemp("shards")
    write_shards(root, "train", ((image(i), i % 4) for i in range(160)), per_shard=PER_SHARD)
    write_shards(root, "val", ((image(200 + i), i % 4) for i in range(10)), per_shard=5)
    return root


def numbers(loader) -> list[int]:
    """Of the images that a loader shows, in order; their labels are checked."""
    shown = []
    for images, labels in loader:
        found = (images[:, 0, 0, 0] * 0.229 + 0.485).mul(255).round().int()
        assert torch.equal(found % 4, labels)
        shown += found.tolist()
    return shown


def test_every_image_once_an_epoch_in_one_order_whatever_the_processes_and_workers(shards):
    assert len(list(shards.glob("train-*.tar"))) == 20
    split = load(shards).train
    orders = {}
    for world, workers in ((1, 0), (1, 2), (2, 2), (4, 2)):
        ranks: dict[int, list[list[int]]] = {0: [], 1: []}
        for rank in range(world):
            sharing = {"num_workers": workers, "rank": rank, "world_size": world}
            loader = train_loader(split, batch_size=5, seed=3, **sharing)
            for epoch, shown in ranks.items():
                loader.set_epoch(epoch)
                shown.append(numbers(loader))
        for epoch, shown in ranks.items():
            # The processes take turns in the one order.
            order = [number for turn in zip(*shown, strict=True) for number in turn]
            assert sorted(order) == list(range(160))
            assert orders.setdefault(epoch, order) == order
    assert orders[0] != orders[1]
    others = train_loader(split, batch_size=5, seed=4)
    others.set_epoch(0)
    assert numbers(others) != orders[0]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_evaluation_reads_every_image_once_over_all_processes(shards, world):
    split = load(shards).test
    ranks = [list(eval_loader(split, batch_size=4, rank=rank, world_size=world)) for rank in range(world)]
    batches = [batches[turn] for turn in range(len(ranks[0])) for batches in ranks if turn < len(batches)]
    alone = list(eval_loader(split, batch_size=4))
    assert [labels.tolist() for _, labels in batches] == [labels.tolist() for _, labels in alone]
    assert all(torch.equal(one, other) for (one, _), (other, _) in zip(batches, alone, strict=True))


def test_the_part_set_aside_stays_where_other_shards_come(shards, tmp_path):
    def held_out(root: Path) -> set[str]:
        part = load(root, holdout=0.1).test
        return {str(Path(part.source.paths[i]).relative_to(root)) for i in part.ids.tolist()}

    for path in shards.glob("train-*.tar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert held_out(tmp_path) == held_out(shards)
    (tmp_path / "train-0000.tar").unlink()
    fewer = held_out(tmp_path)
    assert len(fewer) == 15
    assert len(fewer & held_out(shards)) >= 13


def test_labels_by_number_or_by_name_and_what_else_lies_there(tmp_path):
    extra = {"a.txt": b"a caption", "sub/._a.jpg": b"", "a.seg.png": b"", "sub/b.json": b'{"label": 9}'}
    first = {"a.PNG": image(0), "a.cls": b"0\n", "sub/b.webp": image(1, "WEBP"), "sub/b.cls": b"1", **extra}
    put(tmp_path / "set-train-00.tar", first)
    put(tmp_path / "set-validation-00.tar", {"a.png": image(2), "a.json": b'{"label": 1, "more": [2]}'})
    (tmp_path / "classes.txt").write_text("ape\nbee\n")
    reading = read_shards(tmp_path)
    assert reading.classes == ("ape", "bee")
    assert reading.train.labels.tolist() == [0, 1]
    assert reading.test.labels.tolist() == [1]
    assert reading.skipped == {".txt": 1, "hidden": 1, ".seg.png": 1}
    assert [int(x.float().mean()) for x in reading.train.read(np.arange(2))] == [0, 1]
    put(tmp_path / "set-train-00.tar", {"a.png": image(0), "a.json": b'{"label": "cat"}'})
    put(tmp_path / "set-train-01.tar", {"a.png": image(0), "a.json": b'{"label": "ape"}'})
    put(tmp_path / "set-validation-00.tar", {"a.png": image(2), "a.json": b'{"label": "cat"}'})
    reading = read_shards(tmp_path)
    assert (reading.classes, reading.train.labels.tolist()) == (("ape", "cat"), [1, 0])


GOOD = {"a.png": b"", "a.cls": b"0"}
BAD = {
    "train-0.tar: a has an image and no label": {"a.png": b""},
    "train-0.tar: a has a label and no image": {"b.png": b"", "b.cls": b"0", "a.cls": b"0"},
    "train-0.tar: a has several images": {**GOOD, "a.jpg": b""},
    "train-0.tar: holds no images": {"a.txt": b""},
    "a.cls: must hold the number of a class": {"a.png": b"", "a.cls": b"-1"},
    "a.cls has 1048577 bytes": {"a.png": b"", "a.cls": b"0" * ((1 << 20) + 1)},
    "a.json: label": {"a.png": b"", "a.json": b'{"label": -1}'},
    "a.json: label.*True": {"a.png": b"", "a.json": b'{"label": true}'},
    "a.json: .*JSON": {"a.png": b"", "a.json": b"[" * 9999},
    "class 0 has no image, and labels go up to 7": {"a.png": b"", "a.cls": b"7"},
    "some labels are numbers and some names": {**GOOD, "b.png": b"", "b.json": b'{"label": "b"}'},
}


@pytest.mark.parametrize("says", BAD)
def test_what_is_no_sample_is_refused_in_a_line(tmp_path, says):
    put(tmp_path / "train-0.tar", BAD[says])
    with pytest.raises(UserError, match=says) as caught:
        read_shards(tmp_path)
    assert "\n" not in str(caught.value)


def header(shard: bytes, **changes: bytes) -> bytes:
    """`shard` with other bytes in its first header, whose checksum fits."""
    places = {"size": (124, 12), "kind": (156, 1)}
    block = bytearray(shard[:512])
    for name, value in changes.items():
        start, length = places[name]
        block[start : start + length] = value.ljust(length, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + shard[512:]


def test_damaged_and_malicious_archives_are_refused_in_a_line(tmp_path):
    whole = put(tmp_path / "train-0.tar", {"a.png": image(0), "a.cls": b"0", "../../b.png": b"", "../../b.cls": b"0"})
    good = whole.read_bytes()
    assert read_shards(tmp_path).train.paths[1] == f"{whole}/..:..:b.png", "a name, and no path"
    negative = (b"\xff" * 11 + b"\x00").ljust(12)
    for bad in (
        b"",
        b"no tar",
        good[:600],
        good[:1024] + b"\1" * 512 + good[1536:],
        header(good, size=negative),
        header(good, size=b"77777777777\0"),
        header(good, size=negative, kind=b"L"),
        header(good, size=b"77777777777\0", kind=b"x"),
    ):
        whole.write_bytes(bad)
        with pytest.raises(UserError, match=rf"^{whole}: ") as caught:
            read_shards(tmp_path)
        assert "\n" not in str(caught.value)
    with tarfile.open(whole, "w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(UserError, match="holds no images"):
        read_shards(tmp_path)


@pytest.mark.parametrize(
    ("says", "damaged"),
    [
        ("is cut off at byte 2048, where its end should be marked", lambda one: one[:2048]),
        ("several archives in one file, and from byte 2048 on none is read", lambda one: one + one),
    ],
)
def test_images_that_a_shard_would_lose_unseen_are_told(tmp_path, says, damaged):
    """Cut off behind a whole sample, and joined by `cat`: tarfile reads both without a word."""
    shard = put(tmp_path / "train-0.tar", {"a.png": image(0), "a.cls": b"0"})
    shard.write_bytes(damaged(shard.read_bytes()))
    with pytest.raises(UserError, match=rf"^{shard}: {says}"):
        read_shards(tmp_path)


def test_names_with_many_dots_make_no_endless_warning(tmp_path):
    odd = {f"b.{i}.jpg": b"" for i in range(20)}
    put(tmp_path / "train-0.tar", {"a.png": image(0), "a.cls": b"0", **odd, "c.txt": b"", "d.txt": b""})
    assert read_shards(tmp_path).left_out.count(": 1") == 7
    assert read_shards(tmp_path).left_out.endswith(", .txt: 2, and 13 more kinds")


def test_shards_of_a_part_that_were_there_before_are_replaced(tmp_path):
    for part in ("train", "val"):
        write_shards(tmp_path, part, [(image(i), 0) for i in range(3)], per_shard=1)
    (tmp_path / "train-mine.tar").touch()
    assert write_shards(tmp_path, "train", [(image(i), 0) for i in range(3)]) == [tmp_path / "train-0000.tar"]
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ["train-0000.tar", "train-mine.tar", *(f"val-000{i}.tar" for i in range(3))]
    for samples, per_shard in ([], 9), ([(image(0), 0)], 0):
        with pytest.raises(UserError, match="samples: none"):
            write_shards(tmp_path, "train", samples, per_shard=per_shard)
    assert (tmp_path / "train-0000.tar").exists()


def test_what_cannot_be_read_at_any_place_is_refused(tmp_path):
    for root, says in (
        ("s3://bucket/train-{0000..0019}.tar", "which a stream does not allow; give a folder of train-0000.tar"),
        (str(tmp_path / "no"), "no such folder"),
        (str(tmp_path), r"holds no train-\*.tar"),
    ):
        with pytest.raises(UserError, match=says):
            read_shards(root)
    (tmp_path / "train-0.tar.gz").touch()
    with pytest.raises(UserError, match="is compressed, so no image in it is found at once; unpack it"):
        read_shards(tmp_path)
    (tmp_path / "train-0.tar.gz").rename(tmp_path / "train-val.tar")
    with pytest.raises(UserError, match="its name must say one part"):
        read_shards(tmp_path)
    (tmp_path / "train-val.tar").rename(tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r'holds Parquet files, which is not read; .* tar shards \(type="shards"'):
        read_shards(tmp_path)


def test_a_broken_image_in_a_shard_is_named_before_training_and_good_ones_are_looked_at_once(tmp_path, monkeypatch):
    put(tmp_path / "train-0.tar", {"a.png": image(0), "a.cls": b"0", "b.png": b"broken", "b.cls": b"1"})
    put(tmp_path / "val-0.tar", {"a.png": image(0), "a.cls": b"0"})
    with pytest.raises(UserError, match=r"train-0\.tar/b\.png: not a readable image"):
        load(tmp_path)
    put(tmp_path / "train-0.tar", {"a.png": image(0), "a.cls": b"0", "b.png": image(1), "b.cls": b"1"})
    assert len(load(tmp_path).train) == 2
    monkeypatch.setattr("compress.engine.scanning.decode", None)
    assert len(load(tmp_path).train) == 2
