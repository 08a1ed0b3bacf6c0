"""Which images which network sees: halves of D that share nothing, and statistics that count every batch once."""

import pytest
import torch
from quiet import Quiet

from compress.engine.data import DataConfig, load_data
from compress.engine.searchers import SearchModel
from compress.engine.searching import search
from compress.engine.settings import SearchConfig
from compress.engine.tasks import Classification
from compress.engine.training import Job
from compress.spaces import PreResNetSpace

SPACE = PreResNetSpace(11, 10)
EPOCHS, BATCH = 2, 8


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig(limit=65, augment="none"), seed=0)


def job(folder):
    return Job(folder / "search", folder / "metrics.jsonl", "search", 3, Quiet())


def names(images):
    """A name of each of `images` [B, C, H, W]."""
    return [hash(image.numpy().tobytes()) for image in images]


class Watched(Classification):
    """Writes down which network saw which images."""

    def __init__(self, data):
        super().__init__(data)
        self.seen = []

    def loss(self, network, batch, *, label_smoothing=0.0):
        self.seen.append((network, names(batch[0])))
        return super().loss(network, batch, label_smoothing=label_smoothing)


def test_halves_are_disjoint_and_cover_all_images_but_one(tmp_path, data):
    half_p, half_a = Classification(data).halves(BATCH, job(tmp_path))
    shown = []
    for half in (half_p, half_a):
        half.set_epoch(0)
        shown.append([name for images, _ in half for name in names(images)])
        assert len(half) == 4
    every = set(names(next(iter(Classification(data).loader(65, job(tmp_path))))[0]))
    assert [len(set(part)) for part in shown] == [32, 32]
    assert len(set(shown[0]) & set(shown[1])) == 0
    assert len(every - set(shown[0]) - set(shown[1])) == 1, "of an odd number one stays out"
    assert not set(shown[0]) - every


@pytest.mark.parametrize("order", ["gauss-seidel", "fused"])
def test_u_sees_one_half_and_w_the_other(tmp_path, data, order):
    task = Watched(data)
    config = SearchConfig(epochs=EPOCHS, batch_size=BATCH, method={"type": "rarts", "order": order}, weights="u")
    search(SPACE.build(), SPACE, task, config, job(tmp_path), evaluate=lambda _: {})
    networks = list(dict.fromkeys(network for network, _ in task.seen))
    assert len(networks) == 2
    halves = [{name for network, part in task.seen if network is own for name in part} for own in networks]
    assert [len(half) for half in halves] == [32, 32], "in both epochs the same images"
    assert not halves[0] & halves[1]


@pytest.mark.parametrize(
    ("kind", "passes"), [("darts1", "ap"), ("milenas1", "apa"), ("darts2", "apaaa"), ("tas", "ap")]
)
def test_training_and_validation_losses_see_a_half_each(tmp_path, data, kind, passes):
    task = Watched(data)
    config = SearchConfig(epochs=EPOCHS, batch_size=BATCH, method={"type": kind})
    search(SPACE.build(), SPACE, task, config, job(tmp_path), evaluate=lambda _: {})
    halves = {
        half: {name for i, (_, part) in enumerate(task.seen) if passes[i % len(passes)] == half for name in part}
        for half in "ap"
    }
    assert len(task.seen) == EPOCHS * 4 * len(passes)
    assert {half: len(found) for half, found in halves.items()} == {"a": 32, "p": 32}
    assert not halves["a"] & halves["p"]


def stepped(method, **changes):
    """A search model after one iteration on two fixed batches, or on the one."""
    torch.manual_seed(0)
    network, config = SPACE.build(), SearchConfig(epochs=1, method=method, **changes)
    model = SearchModel(network, SPACE, config, input_size=(3, 32, 32))
    batches = {half: (torch.randn(4, 3, 32, 32), torch.arange(4)) for half in "pa"}
    model.train_step(batches if model.method.halves else batches["a"], model.optimizers())
    return model


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("method", "batches"),
    [
        ({"type": "rarts", "order": "gauss-seidel"}, {"u": 1, "w": 1}),
        ({"type": "rarts", "order": "fused"}, {"u": 1, "w": 1}),
        # One network that trains on D_a and is validated on D_p sees both; second-order DARTS validates at weights
        # that it does not keep.
        ({"type": "darts1"}, {"w": 2}),
        ({"type": "darts2"}, {"w": 1}),
        ({"type": "milenas1"}, {"w": 2}),
        ({"type": "tas"}, {"w": 2}),
        *(({"type": kind}, {"w": 1}) for kind in ("joint", "netslim", "rvsm", "grouplasso", "wdpruning")),
    ],
    ids=lambda x: "-".join(map(str, x.values())),
)
def test_statistics_count_every_batch_once(method, batches, accumulate):
    model = stepped(method, accumulate=accumulate)
    counted = {name: int(getattr(model, name).bn.num_batches_tracked) for name in batches}
    assert counted == {name: n * accumulate for name, n in batches.items()}


def test_both_orders_leave_the_statistics_of_the_first_pass():
    models = [stepped({"type": "rarts", "order": order}) for order in ("gauss-seidel", "fused")]
    buffers = [dict(model.named_buffers()) for model in models]
    means = [name for name in buffers[0] if name.endswith("running_mean")]
    assert {name.partition(".")[0] for name in means} == {"u", "w"}
    assert all(torch.equal(buffers[0][name], buffers[1][name]) for name in means)
    assert all(buffers[0][name].any() for name in means)
