"""Reading .npz files, folders of images and torchvision's CIFAR, and every way in which they can be wrong."""

import hashlib
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compress.engine.data import DataConfig, load_data
from compress.engine.folders import read_imagefolder
from compress.engine.readers import read_npz
from compress.plan import UserError


def arrays(*, n_train: int = 12, n_test: int = 6, side: int = 32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (n_train, side, side, 3), dtype=np.uint8),
        "train_labels": np.arange(n_train) % 3,
        "test_images": rng.integers(0, 256, (n_test, side, side, 3), dtype=np.uint8),
        "test_labels": np.arange(n_test) % 3,
        "classes": np.array(["cat", "dog", "owl"]),
    }


def save(path: Path, **changes: np.ndarray | None) -> Path:
    kept = {name: value for name, value in {**arrays(), **changes}.items() if value is not None}
    np.savez(path, **kept)
    return path


def test_npz_round_trip(tmp_path):
    path = save(tmp_path / "animals.npz")
    data = load_data(DataConfig(type="npz", root=str(path), augment="none"), seed=0)
    assert data.classes == ("cat", "dog", "owl")
    assert data.name == "animals"
    assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2]
    mean, std = (torch.tensor(data.preprocessing[name]).view(3, 1, 1) for name in ("mean", "std"))
    assert mean.flatten().tolist() == pytest.approx([0.4914, 0.4822, 0.4465])
    for index in range(6):
        x, label = data.test.eval_view()[index]
        pixels = ((x * std + mean) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        assert (pixels == arrays()["test_images"][index]).all()
        assert label == index % 3


def test_npz_of_another_size_uses_imagenet_statistics(tmp_path):
    path = tmp_path / "large.npz"
    np.savez(path, **arrays(side=40))
    data = load_data(DataConfig(type="npz", root=str(path), input_size=40), seed=0)
    assert data.preprocessing["mean"] == [0.485, 0.456, 0.406]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": None, "classes": None}, "no array train_labels, classes"),
        ({"train_images": np.zeros((12, 32, 32, 3))}, "train_images is float64"),
        ({"test_images": np.zeros((6, 3, 32, 32), np.uint8)}, r"test_images is uint8 \[6, 3, 32, 32\]"),
        ({"test_images": np.zeros((6, 16, 16, 3), np.uint8)}, "images of one shape"),
        ({"test_labels": np.zeros(5, np.int64)}, r"test_labels is int64 \[5\] for 6 images"),
        ({"test_labels": np.zeros(6)}, "test_labels is float64"),
        ({"train_labels": np.arange(12)}, r"train_labels span 0\.\.11.*0\.\.2"),
        ({"train_labels": np.full(12, -1)}, r"train_labels span -1"),
        (
            {"train_images": np.zeros((0, 32, 32, 3), np.uint8), "train_labels": np.zeros(0, int)},
            "train_images is empty",
        ),
        ({"classes": np.array([])}, "classes has shape"),
        ({"classes": np.array("cat")}, "classes has shape"),
        ({"classes": np.array(["cat", None, 3], dtype=object)}, "not a plain .npz"),
    ],
)
def test_npz_refuses(tmp_path, changes, message):
    path = save(tmp_path / "bad.npz", **changes)
    with pytest.raises(UserError, match=message) as caught:
        read_npz(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_npz_refuses_what_is_no_archive(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_npz(tmp_path / "absent.npz")
    with pytest.raises(UserError, match="not a plain"):
        read_npz(tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    whole = save(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "empty", "cut"):
        with pytest.raises(UserError, match=rf"{name}\.npz: not a plain"):
            read_npz(tmp_path / f"{name}.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(UserError, match="single array"):
        read_npz(tmp_path / "single.npy")


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for name in ("ape", "bee"):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(rng.integers(0, 256, (50, 40, 3), dtype=np.uint8))
                image.save(tmp_path / "pets" / split / name / f"{i}.png")
    return tmp_path / "pets"


def load_folder(root: Path, **options):
    return load_data(DataConfig(type="imagefolder", root=str(root), input_size=32, resize=36, **options), seed=0)


def test_imagefolder_reads_classes_in_order_and_ignores_other_files(folder):
    (folder / "train" / "ape" / "notes.txt").write_text("no image")
    (folder / "train" / ".cache").mkdir()
    for hidden in (".DS_Store", "._0.png", "Thumbs.db"):
        (folder / "val" / "bee" / hidden).write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"files that are no images are left out \(\.txt: 1, hidden: 3\)") as said:
        data = load_folder(folder)
    assert len(said) == 1
    assert data.seen == {"skipped": 4}
    assert data.classes == ("ape", "bee")
    assert data.name == "pets"
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    x, label = data.test.eval_view()[3]
    assert (x.shape, label) == ((3, 32, 32), 1)


def test_imagefolder_evaluation_is_resize_and_centre_crop(folder):
    data = load_folder(folder, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    with Image.open(folder / "val" / "ape" / "0.png") as image:
        scaled = torch.from_numpy(np.array(image.resize((36, 45), Image.Resampling.BILINEAR)))
    expected = scaled[6:38, 2:34].permute(2, 0, 1) / 255
    assert (data.test.eval_view()[0][0] - expected).abs().max() <= 1.01 / 255


def test_imagefolder_decodes_grey_and_palette_images(folder):
    Image.new("L", (40, 40), 128).save(folder / "val" / "ape" / "0.png")
    Image.new("P", (40, 40)).save(folder / "val" / "ape" / "1.png")
    view = load_folder(folder, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)).test.eval_view()
    assert torch.allclose(view[0][0], torch.full((3, 32, 32), 128 / 255))
    assert view[1][0].shape == (3, 32, 32)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_imagefolder_names_the_unreadable_image_before_training(folder, content):
    path = folder / "train" / "bee" / "1.png"
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    with pytest.raises(UserError, match=r"not a readable image") as caught:
        load_folder(folder)
    assert str(path) in str(caught.value)


def test_imagefolder_refuses_unequal_or_missing_folders(folder, tmp_path):
    with pytest.raises(UserError, match=r"no folder .*train"):
        read_imagefolder(tmp_path / "absent")
    (folder / "train" / "cat").mkdir()
    with pytest.raises(UserError, match="only in train: cat"):
        read_imagefolder(folder)
    (folder / "val" / "cat").mkdir()
    with pytest.raises(UserError, match="cat: no images"):
        read_imagefolder(folder)
    (folder / "train" / "cat").rmdir()
    with pytest.raises(UserError, match="only in val: cat"):
        read_imagefolder(folder)
    shutil.rmtree(folder / "val")
    with pytest.raises(
        UserError, match=r"holdout = 0.0: no image .* no val/ or test/.*add val/ .*, or set holdout=0.1"
    ):
        load_folder(folder)
    (folder / "val").mkdir()
    with pytest.raises(UserError, match="val: no class folders"):
        read_imagefolder(folder)


def test_imagefolder_without_resize_refuses_other_sizes(folder):
    with pytest.raises(UserError, match="50 x 40 pixels"):
        load_data(DataConfig(type="imagefolder", root=str(folder), input_size=32), seed=0)


@pytest.fixture
def cifar(tmp_path, monkeypatch) -> Path:
    """torchvision's CIFAR-10, redirected to a small archive in `tmp_path / cifar` and an address nobody answers."""
    from torchvision.datasets import CIFAR10

    root = tmp_path / "cifar"
    base = tmp_path / CIFAR10.base_folder
    base.mkdir()
    rng = np.random.default_rng(0)
    md5 = {}
    for name, count in (("data_batch_1", 20), ("test_batch", 10)):
        batch = {"data": rng.integers(0, 256, (count, 3072), dtype=np.uint8), "labels": list(range(10)) * (count // 10)}
        (base / name).write_bytes(pickle.dumps(batch))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {i}" for i in range(10)]}))
    for path in base.iterdir():
        md5[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    root.mkdir()
    with tarfile.open(root / CIFAR10.filename, "w:gz") as archive:
        archive.add(base, arcname=base.name)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5((root / CIFAR10.filename).read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]})
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    return root


def test_cifar_is_read_from_a_placed_archive(cifar):
    data = load_data(DataConfig(type="cifar10", root=str(cifar)), seed=0)
    assert (len(data.train), len(data.test), data.name) == (20, 10, "cifar10")
    assert data.classes[3] == "class 3"
    (cifar / "cifar-10-python.tar.gz").unlink()  # the extracted batches are enough
    again = load_data(DataConfig(type="cifar10", root=str(cifar)), seed=0)
    assert torch.equal(again.train.source.images, data.train.source.images)


def test_cifar_that_is_absent_or_altered_or_unreachable_is_a_user_error(cifar, tmp_path):
    with pytest.raises(UserError, match=r"no intact .*download=True, or put cifar-10-python.tar.gz"):
        load_data(DataConfig(type="cifar10", root=str(tmp_path / "absent")), seed=0)
    with pytest.raises(UserError, match="could not be downloaded"):
        load_data(DataConfig(type="cifar10", root=str(tmp_path / "absent"), download=True), seed=0)
    (cifar / "cifar-10-python.tar.gz").write_bytes(b"half an archive")
    with pytest.raises(UserError, match="incomplete or altered"):
        load_data(DataConfig(type="cifar10", root=str(cifar)), seed=0)


def shared_data(name: str) -> Path:
    default = Path(__file__).resolve().parents[2].parent / "shared/data"
    path = Path(os.environ.get("COMPRESS_DATA", default)) / name
    if not path.exists():
        pytest.skip(f"{name} is absent; set COMPRESS_DATA to the folder that holds it")
    return path


def test_real_cifar_has_the_usual_statistics():
    data = load_data(DataConfig(type="npz", root=str(shared_data("cifar10.npz")), limit=2000), seed=0)
    assert np.bincount(data.train.labels).tolist() == [200] * 10
    x = torch.stack([x for x, _ in data.train.eval_view().__getitems__(range(2000))])
    assert x.mean((0, 2, 3)).abs().max() < 0.05
    assert (x.std((0, 2, 3)) - 1).abs().max() < 0.05


def test_real_image_folder():
    config = DataConfig(type="imagefolder", root=str(shared_data("tiny-imagenet-20")), input_size=64)
    data = load_data(config, seed=0)
    assert (len(data.train), len(data.test), len(data.classes)) == (5000, 1000, 20)
    assert data.train.train_view(0)[17, 0][0].shape == (3, 64, 64)
