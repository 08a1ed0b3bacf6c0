"""Images of 1, 3 and 4 channels, and inputs that are no squares: what is read, cropped, and told of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compress.engine.data import DataConfig, load_data
from compress.engine.decoding import decode, grey
from compress.plan import UserError

RGB = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


def archive(path: Path, images: np.ndarray) -> str:
    labels = np.arange(len(images)) % 3
    arrays = {"train_images": images, "test_images": images, "train_labels": labels, "test_labels": labels}
    np.savez(path, classes=np.array(["a", "b", "c"]), **arrays)
    return str(path)


@pytest.mark.parametrize(
    ("images", "options", "size", "mean"),
    [
        (RGB[..., 0], {}, [1, 32, 32], [0.4734]),
        (RGB[..., :1], {}, [1, 32, 32], [0.4734]),
        (RGB[..., 0], {"channels": 3}, [3, 32, 32], [0.4914, 0.4822, 0.4465]),
        (RGB, {"channels": 1}, [1, 32, 32], [0.4734]),
        (np.concatenate([RGB, RGB[..., :1]], 3), {}, [4, 32, 32], [0.4914, 0.4822, 0.4465, 0.4734]),
        (RGB, {"channels": 1, "mean": (0.1,), "std": (0.2,)}, [1, 32, 32], [0.1]),
    ],
    ids=["[N, H, W]", "[N, H, W, 1]", "grey spread", "RGB as grey levels", "four", "own statistics"],
)
def test_archives(tmp_path, images, options, size, mean):
    data = load_data(
        DataConfig(type="npz", root=archive(tmp_path / "a.npz", images), augment="crop", **options), seed=0
    )
    assert (data.preprocessing["input_size"], data.preprocessing["mean"]) == (size, mean)
    x, _ = data.test.eval_view()[3]
    assert x.shape == data.train.train_view(0)[3, 1][0].shape == tuple(size)
    if images.ndim == 3 or images.shape[3] != 3:
        mean, std = (torch.tensor(data.preprocessing[key]).view(-1, 1, 1) for key in ("mean", "std"))
        stored = torch.from_numpy(images[3]).reshape(32, 32, -1).permute(2, 0, 1) / 255
        assert torch.allclose(x * std + mean, stored.expand(size[0], -1, -1), atol=1e-6)


def test_grey_levels_are_pillows():
    wanted = np.stack([np.array(Image.fromarray(image).convert("L")) for image in RGB])
    assert (grey(torch.from_numpy(RGB).permute(0, 3, 1, 2))[:, 0].numpy() == wanted).all()
    digits = load_data(DataConfig(channels=1), seed=0)
    assert digits.preprocessing["mean"] == [0.305]
    assert torch.equal(digits.test.eval_view()[0][0][0], load_data(DataConfig(), seed=0).test.eval_view()[0][0][0])


def test_files(tmp_path):
    coloured = Image.fromarray(RGB[0])
    clear = coloured.copy()
    clear.putalpha(Image.fromarray(RGB[1][..., 0]))
    clear.save(tmp_path / "clear.png")
    coloured.convert("L").save(tmp_path / "grey.png")
    assert (decode(str(tmp_path / "grey.png"), 1)[0][..., 0] == np.array(coloured.convert("L"))).all()
    pixels, notes = decode(str(tmp_path / "clear.png"), 4)
    assert (pixels == np.array(clear)).all()
    assert notes == ()
    assert decode(str(tmp_path / "clear.png"), 1)[1] == ("transparent",)
    opaque = decode(str(tmp_path / "grey.png"), 4)[0]
    assert opaque.shape == (32, 32, 4)
    assert (opaque[..., 3] == 255).all()


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (RGB, {"channels": 4}, "channels = 4: the images have 3 channels; set channels=3"),
        (
            RGB,
            {"channels": 1, "mean": (0.1,) * 3, "std": (0.2,) * 3},
            r"mean = .*: must be a list of 1 values, one for each",
        ),
        (RGB, {"mean": (0.1,) * 2, "std": (0.2,) * 2}, r"mean = .*: must be a list of 3 values, one for each channel"),
        (RGB[..., :2], {}, r"train_images is uint8 \[12, 32, 32, 2\]; store uint8 \[N, H, W, 3\]; 1 and 4 channels"),
        (RGB, {"channels": 2}, "channels = 2: must be one of 1, 3, 4"),
        (RGB, {"input_size": (32, 16)}, r"input_size = \(32, 16\): an image has 32 x 32 pixels and is not resized"),
        (
            RGB,
            {"input_size": (32, 64), "resize": 32},
            r"resize = 32: an image has 32 x 32 .*fewer than 32 x 64; choose 64",
        ),
        (RGB, {"input_size": (32, 64), "resize": 16}, "resize = 16: must be at least input_size"),
        (RGB, {"input_size": (32,)}, "input_size = .*must be a list of 2 values"),
        (RGB, {"input_size": (32, 0)}, r"input_size\[1\] = 0"),
    ],
)
def test_refused(tmp_path, images, options, message):
    with pytest.raises(UserError, match=message) as caught:
        load_data(DataConfig(type="npz", root=archive(tmp_path / "a.npz", images), **options), seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("augment", ["none", "crop", "crop_flip", "resized_crop"])
def test_inputs_that_are_no_squares(tmp_path, augment):
    images = np.repeat(RGB[:, :16], 2, axis=1)[:, :24]  # 24 x 32
    path = archive(tmp_path / "a.npz", images)
    options = {"input_size": (12, 20), "resize": 18, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    data = load_data(DataConfig(type="npz", root=path, augment=augment, **options), seed=0)
    assert data.preprocessing["input_size"] == [3, 12, 20]
    scaled = torch.from_numpy(np.array(Image.fromarray(images[0]).resize((24, 18), Image.Resampling.BILINEAR)))
    x, _ = data.test.eval_view()[0]
    assert (x - scaled[3:15, 2:22].permute(2, 0, 1) / 255).abs().max() <= 1.01 / 255
    assert data.train.train_view(0)[0, 1][0].shape == (3, 12, 20)
