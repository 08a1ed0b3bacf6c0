"""load_data: the digits, held-out parts, limits, preprocessing, and what DataConfig refuses."""

import numpy as np
import pytest
import torch

from compress.engine.data import DataConfig, load_data
from compress.engine.datasets import ImageSplit
from compress.plan import UserError


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig(), seed=0)


def pixels(split: ImageSplit) -> torch.Tensor:
    return torch.stack([x for x, _ in split.eval_view().__getitems__(range(len(split)))])


def test_digits_are_complete_and_balanced(digits):
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    assert digits.classes == tuple("0123456789")
    assert (digits.name, digits.evaluated_on) == ("digits", "test")
    for split in (digits.train, digits.test):
        assert split.labels.dtype == np.int64
        shares = np.bincount(split.labels, minlength=10) / len(split)
        assert shares.min() > 0.095
        assert shares.max() < 0.105


def test_digits_are_normalised_by_their_own_statistics(digits):
    x = pixels(digits.train)
    assert x.shape == (1437, 3, 32, 32)
    assert x.dtype == torch.float32
    assert (x[:, 0] == x[:, 2]).all()
    assert abs(float(x.mean())) < 0.01
    assert abs(float(x.std()) - 1) < 0.01
    mean, std = digits.preprocessing["mean"][0], digits.preprocessing["std"][0]
    assert x.min() == pytest.approx(-mean / std, abs=1e-5)
    assert x.max() == pytest.approx((1 - mean) / std, abs=1e-5)


def test_digits_can_be_told_apart(digits):
    # Nearest class mean: labels and images belong together, in both splits.
    train, test = (pixels(split)[:, 0].flatten(1) for split in (digits.train, digits.test))
    means = torch.stack([train[torch.from_numpy(digits.train.labels) == label].mean(0) for label in range(10)])
    guesses = torch.cdist(test, means).argmin(1)
    assert (guesses == torch.from_numpy(digits.test.labels)).float().mean() > 0.85


def test_digits_move_a_little_and_are_not_mirrored(digits):
    view, plain = digits.train.train_view(0), digits.train.eval_view()
    black = plain[0][0].min()
    for index in range(30):
        x, label = plain[index]
        moved, moved_label = view[index, 0]
        assert label == moved_label
        canvas = torch.nn.functional.pad(x, [2] * 4, value=float(black))
        crops = [canvas[:, i : i + 32, j : j + 32] for i in range(5) for j in range(5)]
        assert any(torch.equal(crop, moved) for crop in crops)


def test_test_images_do_not_depend_on_the_seed(digits):
    other = load_data(DataConfig(), seed=5)
    assert torch.equal(other.test.source.images, digits.test.source.images)


def test_holdout_is_a_balanced_part_of_the_training_images(digits):
    held = load_data(DataConfig(holdout=0.2), seed=0)
    assert held.evaluated_on == "holdout"
    assert sorted([*held.train.ids, *held.test.ids]) == list(range(1437))
    assert len(held.test) == 287
    counts = np.bincount(held.test.labels)
    assert counts.max() - counts.min() <= 3
    assert torch.equal(held.test.source.images, digits.train.source.images)
    assert held.val is held.test
    assert digits.val is None  # the test images are not looked at along the way


def test_the_held_out_part_is_the_data_sets_and_not_the_runs():
    parts = [load_data(DataConfig(holdout=share), seed=seed).test.ids for share, seed in ((0.2, 0), (0.2, 7), (0.1, 3))]
    assert (parts[0] == parts[1]).all()
    assert set(parts[2]) < set(parts[0])


def test_limit_keeps_the_balance():
    data = load_data(DataConfig(limit=100), seed=0)
    assert (len(data.train), len(data.test)) == (100, 100)
    assert np.bincount(data.train.labels).tolist() == [10] * 10
    assert len(load_data(DataConfig(limit=400), seed=0).test) == 360


def test_preprocessing_describes_what_evaluation_does():
    data = load_data(DataConfig(input_size=40, resize=48, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)), seed=0)
    card = data.preprocessing
    assert card == {
        "input_size": [3, 40, 40],
        "resize": 48,
        "interpolation": "bilinear",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.5, 0.6, 0.7],
    }
    stored = data.test.source.images[:1].float()
    scaled = torch.nn.functional.interpolate(stored, size=(48, 48), mode="bilinear", antialias=True)
    expected = (scaled[0, :, 4:44, 4:44] / 255 - torch.tensor(card["mean"]).view(3, 1, 1)) / torch.tensor(
        card["std"]
    ).view(3, 1, 1)
    assert (data.test.eval_view()[0][0] - expected).abs().max() < 1.01 / 255 / 0.5  # the pixels are rounded to uint8


def test_auto_augmentation_is_visible_only_where_asked():
    plain = load_data(DataConfig(augment="none"), seed=0).train
    assert all(torch.equal(plain.train_view(0)[i, 3][0], plain.eval_view()[i][0]) for i in range(5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "mnist"}, "type = 'mnist'.*imagefolder"),
        ({"augment": "flip"}, "augment = 'flip'.*crop_flip"),
        ({"type": "npz"}, r"root = None.*\.npz"),
        ({"type": "cifar10"}, "root = None.*folder"),
        ({"type": "imagefolder", "root": ""}, "root = ''.*folder"),
        ({"input_size": 0}, "input_size = 0"),
        ({"resize": 31}, "resize = 31.*input_size"),
        ({"limit": 0}, "limit = 0"),
        ({"num_workers": -1}, "num_workers = -1"),
        ({"holdout": 1.0}, "holdout = 1.0"),
        ({"holdout": -0.1}, "holdout = -0.1"),
        ({"mean": (0.5, 0.5, 0.5)}, "std = None"),
        ({"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.0, 0.5)}, r"std\[1\] = 0.0.*1e-06"),
    ],
)
def test_config_refuses(options, message):
    with pytest.raises(UserError, match=message) as caught:
        DataConfig(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"root": "somewhere"}, {"download": True}])
def test_config_warns_of_options_without_effect(options):
    with pytest.warns(UserWarning, match=f"{next(iter(options))} has no effect") as caught:
        DataConfig(**options)
    assert caught[0].filename == __file__


def test_a_size_that_does_not_fit_is_refused_at_once():
    with pytest.raises(UserError, match=r"input_size = 48: an image has 32 x 32 pixels.*set resize"):
        load_data(DataConfig(input_size=48), seed=0)


def test_a_holdout_of_nothing_is_refused():
    with pytest.raises(UserError, match="empty"):
        load_data(DataConfig(holdout=1e-5), seed=0)
