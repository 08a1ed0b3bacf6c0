"""Views and loaders: the same images whatever the workers, the order of access or the subset; nothing global moves."""

import multiprocessing
import random

import numpy as np
import pytest
import torch
from PIL import Image

from compress.engine.data import DataConfig, load_data
from compress.engine.datasets import ArraySource, ImageSplit
from compress.engine.encoded import FileSource
from compress.engine.loaders import PairLoader, eval_loader, train_loader
from compress.engine.sampling import AUGMENT, stratified_halves, stream_keys, uniforms
from compress.engine.transforms import Transform, _crop_box
from compress.plan import UserError

AUGMENTATIONS = ["crop", "crop_flip", "resized_crop", "none"]


def array_split(augment: str = "crop_flip", *, n: int = 50, resize: int | None = None, size: int = 32) -> ImageSplit:
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    transform = Transform(size, resize, augment, size // 8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    return ImageSplit(ArraySource(images, np.arange(n) % 5), np.arange(n), transform)


@pytest.fixture
def file_split(tmp_path) -> ImageSplit:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 256, (20 + 4 * i, 40, 3), dtype=np.uint8)).save(path)
    transform = Transform(16, 18, "resized_crop", 2, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    return ImageSplit(FileSource(paths, np.arange(6), folder=tmp_path), np.arange(6), transform)


def epoch_of(loader, epoch: int) -> list:
    loader.set_epoch(epoch)
    return [tensor for batch in loader for tensor in batch]


def assert_equal(left: list, right: list) -> None:
    assert len(left) == len(right) > 0
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@pytest.mark.parametrize("resize", [None, 40])
def test_a_batch_equals_its_images_one_by_one(augment, resize):
    view = array_split(augment, resize=resize, size=32).train_view(3)
    items = [(7, 0), (3, 0), (7, 1), (49, 5), (0, 2)]
    batch = view.__getitems__(items)
    singles = [view[item] for item in reversed(items)][::-1]
    assert_equal([x for x, _ in batch], [x for x, _ in singles])
    assert [y for _, y in batch] == [y for _, y in singles] == [2, 3, 2, 4, 0]
    assert batch[0][0].dtype == torch.float32
    assert torch.equal(batch[0][0], batch[2][0]) == (augment == "none")


def test_file_batches_equal_their_images_one_by_one(file_split):
    for augment in AUGMENTATIONS:
        split = ImageSplit(file_split.source, file_split.ids, Transform(16, 18, augment, 2, (0.5,) * 3, (0.5,) * 3))
        view, plain = split.train_view(0), split.eval_view()
        items = [(5, 0), (0, 0), (5, 1)]
        assert_equal([x for x, _ in view.__getitems__(items)], [view[item][0] for item in items])
        assert_equal([x for x, _ in plain.__getitems__([4, 1])], [plain[4][0], plain[1][0]])
        assert plain[0][0].shape == view[0, 0][0].shape == (3, 16, 16)


def test_crop_flip_is_pad_crop_mirror_normalise():
    split = array_split()
    view = split.train_view(9)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (split.transform.mean, split.transform.std))
    corners, flips = set(), 0
    for index in range(50):
        for epoch in range(8):
            u = uniforms(stream_keys(9, AUGMENT, epoch, index), 3)[0]
            top, left, flip = int(u[0] * 9), int(u[1] * 9), bool(u[2] < 0.5)
            canvas = torch.zeros(3, 40, 40)
            canvas[:, 4:36, 4:36] = split.source.images[index] / 255
            crop = canvas[:, top : top + 32, left : left + 32]
            expected = ((crop.flip(-1) if flip else crop) - mean) / std
            torch.testing.assert_close(view[index, epoch][0], expected)
            corners |= {("top", top), ("left", left)}
            flips += flip
    assert corners == {(side, i) for side in ("top", "left") for i in range(9)}
    assert 150 < flips < 250


def test_crop_boxes_fit_and_have_the_stated_sizes():
    draws = uniforms(stream_keys(0, np.arange(500)), 40).reshape(500, 10, 4)
    boxes = np.array([_crop_box(60, 90, u) for u in draws])
    top, left, height, width = boxes.T
    assert (boxes[:, :2] >= 0).all()
    assert (top + height <= 60).all()
    assert (left + width <= 90).all()
    areas, aspects = height * width / 5400, width / height
    assert 0.07 < areas.min() < 0.12
    assert areas.max() > 0.75
    assert 0.7 < aspects.min() < 0.8
    assert 1.25 < aspects.max() < 1.4
    assert (top == 0).any()
    assert (top + height == 60).any()


def test_crop_box_falls_back_to_the_centre():
    never = np.full((10, 4), 0.999999)  # the whole area of a strip, at 4/3: does not fit
    assert _crop_box(10, 100, never) == (0, 43, 10, 13)
    assert _crop_box(100, 10, never) == (43, 0, 13, 10)


def test_epochs_and_seeds_differ():
    split = array_split()
    views = [split.train_view(0)[3, 0][0], split.train_view(0)[3, 1][0], split.train_view(1)[3, 0][0]]
    assert not any(torch.equal(views[i], views[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_an_image_is_augmented_alike_in_every_subset():
    split = array_split()
    half = split.subset([40, 2, 17])
    assert half.labels.tolist() == [0, 2, 2]
    assert torch.equal(half.train_view(0)[1, 4][0], split.train_view(0)[2, 4][0])
    assert torch.equal(half.subset([2]).eval_view()[0][0], split.eval_view()[17][0])
    for bad in ([], [3], [-1], [0.5], [[0]]):
        with pytest.raises(UserError, match="indices"):
            half.subset(bad)


def test_workers_do_not_change_the_batches(file_split):
    for split, batch in ((array_split(), 16), (file_split, 2)):
        alone = train_loader(split, batch_size=batch, seed=1)
        helped = train_loader(split, batch_size=batch, seed=1, num_workers=2)
        first = epoch_of(alone, 0)
        assert_equal(first, epoch_of(helped, 0))
        assert_equal(epoch_of(alone, 1), epoch_of(helped, 1))
        assert_equal(first, epoch_of(helped, 0))  # and going back repeats the epoch
        assert_equal(
            [t for batch in eval_loader(split, batch_size=4) for t in batch],
            [t for batch in eval_loader(split, batch_size=4, num_workers=2) for t in batch],
        )


def test_a_resumed_run_sees_the_epochs_of_an_unbroken_one():
    loader = train_loader(array_split(), batch_size=16, seed=1)
    unbroken = [epoch_of(loader, epoch) for epoch in range(3)]
    resumed = epoch_of(train_loader(array_split(), batch_size=16, seed=1), 2)
    assert_equal(unbroken[2], resumed)
    assert not torch.equal(unbroken[1][0], unbroken[2][0])
    other = train_loader(array_split(), batch_size=16, seed=2)
    assert torch.equal(other.dataset[3, 0][0], array_split().train_view(2)[3, 0][0])
    assert not torch.equal(epoch_of(other, 2)[1], resumed[1])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_global_random_states_stay(num_workers):
    split = array_split("resized_crop")
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    for loader in (
        train_loader(split, batch_size=10, seed=0, num_workers=num_workers),
        eval_loader(split, batch_size=10, num_workers=num_workers),
    ):
        assert sum(len(labels) for _, labels in loader) == 50
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


def test_an_epoch_shows_every_image_once():
    split = array_split(n=50)
    for drop_last, expected in ((True, 48), (False, 50)):
        loader = train_loader(split, batch_size=16, seed=0, drop_last=drop_last)
        labels = torch.cat([labels for _, labels in loader])
        assert labels.dtype == torch.int64
        assert len(labels) == expected
        assert len(loader) == -(-expected // 16)
    assert torch.bincount(labels).tolist() == [10] * 5
    images, labels = zip(*eval_loader(split, batch_size=16), strict=True)
    assert torch.cat(labels).tolist() == split.labels.tolist()
    assert torch.equal(torch.cat(images)[20], split.eval_view()[20][0])


def test_ranks_train_on_disjoint_images():
    split = array_split(n=50)
    seen = []
    for rank in range(3):
        loader = train_loader(split, batch_size=8, seed=0, rank=rank, world_size=3)
        seen.append({index for index, _ in loader.sampler})
        assert len(loader) == 2
    assert len(set.union(*seen)) == 48 == sum(map(len, seen))


def test_batch_sizes_that_leave_nothing_are_refused():
    split = array_split(n=50)
    with pytest.raises(UserError, match="batch_size=51: more than the 50 training images"):
        train_loader(split, batch_size=51, seed=0)
    with pytest.raises(UserError, match=r"batch_size=30: more than the 25.*2 processes"):
        train_loader(split, batch_size=30, seed=0, world_size=2)
    assert len(train_loader(split, batch_size=51, seed=0, drop_last=False)) == 1
    for make in (lambda: train_loader(split, batch_size=0, seed=0), lambda: eval_loader(split, batch_size=0)):
        with pytest.raises(UserError, match="batch_size=0"):
            make()
    with pytest.raises(UserError, match="num_workers = -1"):
        eval_loader(split, batch_size=1, num_workers=-1)


def failure_of(loader) -> str:
    try:
        list(loader)
    except UserError as error:
        return str(error)
    return "none"


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_image_is_one_line_from_any_worker(file_split, num_workers):
    path = file_split.source.paths[3]
    with open(path, "w") as file:
        file.write("no image")
    others = set(multiprocessing.active_children())
    message = failure_of(eval_loader(file_split, batch_size=2, num_workers=num_workers))
    assert set(multiprocessing.active_children()) <= others  # no reference cycle keeps the workers alive
    assert message.startswith(f"{path}: not a readable image")
    assert "\n" not in message


@pytest.mark.parametrize("num_workers", [0, 1])
def test_pair_loader_steps_through_both_halves(num_workers):
    split = load_data(DataConfig(limit=81), seed=0).train
    idx_p, idx_a = stratified_halves(split.labels, seed=0)
    p, a = (
        train_loader(split.subset(idx), batch_size=size, seed=0, num_workers=num_workers)
        for idx, size in ((idx_p, 8), (idx_a, 16))
    )
    pair = PairLoader(p, a)
    assert (len(p), len(a), len(pair)) == (5, 2, 2)
    for epoch in (0, 1, 0):
        p.set_epoch(epoch)
        a.set_epoch(epoch)
        steps = list(pair)
        assert len(steps) == 2
        assert_equal([t for step in steps for t in step["p"]], epoch_of(p, epoch)[:4])
        assert_equal([t for step in steps for t in step["a"]], epoch_of(a, epoch)[:4])


def test_halves_of_one_split_get_unrelated_orders_from_one_seed():
    split = array_split(n=50)
    loaders = [train_loader(split.subset(idx), batch_size=5, seed=0) for idx in (range(25), range(25, 50))]
    orders = [[index for index, _ in loader.sampler] for loader in loaders]
    assert orders[0] != orders[1]
