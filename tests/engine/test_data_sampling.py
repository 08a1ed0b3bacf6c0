"""Splits and epoch orders: partitions, balance, determinism, and independence of neighbouring seeds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.engine.sampling import EpochSampler, mix64, stratified_halves, stratified_split, stream_keys, uniforms
from compress.plan import UserError

seeds = st.integers(-(2**70), 2**70)
label_lists = st.lists(st.integers(-3, 6), min_size=2, max_size=60)


def test_mix64_is_splitmix64():
    # The first three outputs of the reference implementation from state 1234567.
    state = np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1234567)
    assert mix64(state).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_uniforms_of_neighbouring_keys_are_uniform_and_uncorrelated():
    n = 20_000
    rows = [uniforms(stream_keys(seed, 2, epoch, np.arange(n)), 2) for seed, epoch in ((0, 0), (1, 0), (0, 1))]
    columns = np.concatenate(rows, axis=1)
    columns = np.concatenate([columns, np.roll(columns[:, :1], 1, axis=0)], axis=1)  # and the next index
    assert columns.min() >= 0
    assert columns.max() < 1
    np.testing.assert_allclose(columns.mean(axis=0), 0.5, atol=5 / np.sqrt(12 * n))
    correlations = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    assert np.abs(correlations).max() < 5 / np.sqrt(n)


def test_a_key_does_not_depend_on_its_neighbours():
    together = uniforms(stream_keys(7, 2, np.array([3, 3, 4]), np.array([10, 11, 10])), 5)
    alone = uniforms(stream_keys(7, 2, 3, 11), 5)
    assert (together[1] == alone[0]).all()


@given(labels=label_lists, seed=seeds)
def test_halves_partition_and_balance(labels, seed):
    labels = np.array(labels)
    idx_p, idx_a = stratified_halves(labels, seed=seed)
    assert sorted([*idx_p, *idx_a]) == list(range(len(labels)))
    assert (np.diff(idx_p) > 0).all()
    assert (np.diff(idx_a) > 0).all()
    assert abs(len(idx_p) - len(idx_a)) <= 1
    for label in set(labels.tolist()):
        assert abs(int((labels[idx_p] == label).sum()) - int((labels[idx_a] == label).sum())) <= 1
    again = stratified_halves(labels, seed=seed)
    assert (again[0] == idx_p).all()
    assert (again[1] == idx_a).all()


@given(labels=label_lists, fraction=st.floats(0.01, 0.99), seed=seeds)
def test_split_gives_each_class_its_share(labels, fraction, seed):
    labels = np.array(labels)
    total = round(fraction * len(labels))
    if not 0 < total < len(labels):
        with pytest.raises(UserError, match="empty"):
            stratified_split(labels, fraction, seed=seed)
        return
    rest, part = stratified_split(labels, fraction, seed=seed)
    assert sorted([*rest, *part]) == list(range(len(labels)))
    assert len(part) == total
    for label in set(labels.tolist()):
        share = fraction * int((labels == label).sum())
        assert abs(int((labels[part] == label).sum()) - share) < 1 + 1e-6


def test_split_depends_on_the_seed_and_picks_members_evenly():
    labels = np.zeros(20, dtype=np.int64)
    parts = [stratified_split(labels, 0.25, seed=seed)[1] for seed in range(400)]
    picked = np.bincount(np.concatenate(parts), minlength=20)  # 100 expected each, standard deviation 8.7
    assert picked.min() > 60
    assert picked.max() < 140


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_split_refuses_fractions_out_of_range(fraction):
    with pytest.raises(UserError, match="fraction="):
        stratified_split([0, 1, 0, 1], fraction, seed=0)


@pytest.mark.parametrize("labels", [[[0, 1]], [0.5, 1.0], [], [3]])
def test_halves_refuse_bad_labels(labels):
    with pytest.raises(UserError, match=r"labels|empty"):
        stratified_halves(labels, seed=0)


@settings(max_examples=60)
@given(
    size=st.integers(1, 50),
    world_size=st.integers(1, 6),
    drop=st.booleans(),
    shuffle=st.booleans(),
    epoch=st.integers(0, 5),
    seed=seeds,
)
def test_ranks_share_an_epoch(size, world_size, drop, shuffle, epoch, seed):
    if drop and size < world_size:
        with pytest.raises(UserError, match="world_size"):
            EpochSampler(size, seed=seed, world_size=world_size, drop_uneven=True)
        return
    options = {"seed": seed, "shuffle": shuffle, "drop_uneven": drop}
    ranks = [EpochSampler(size, rank=rank, world_size=world_size, **options) for rank in range(world_size)]
    for sampler in ranks:
        sampler.set_epoch(epoch)
    drawn = [list(sampler) for sampler in ranks]
    assert {len(part) for part in drawn} == {len(ranks[0])}
    assert all(pair_epoch == epoch for part in drawn for _, pair_epoch in part)
    counts = np.bincount([index for part in drawn for index, _ in part], minlength=size)
    assert len(counts) == size
    if drop:
        assert counts.max() == 1
        assert size - counts.sum() < world_size
    else:
        assert counts.min() >= 1
        assert counts.sum() - size < world_size
    whole = EpochSampler(size, seed=seed, shuffle=shuffle)
    whole.set_epoch(epoch)
    assert [part[0] for part in drawn][: min(size, world_size)] == list(whole)[: min(size, world_size)]


def test_orders_are_repeatable_permutations_that_change_with_epoch_and_seed():
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1):
            sampler = EpochSampler(100, seed=seed)
            sampler.set_epoch(epoch)
            assert list(sampler) == list(sampler)
            orders[seed, epoch] = tuple(index for index, _ in sampler)
            assert sorted(orders[seed, epoch]) == list(range(100))
    assert len(set(orders.values())) == 4
    assert [i for i, _ in EpochSampler(5, seed=0, shuffle=False)] == [0, 1, 2, 3, 4]


def test_every_index_comes_first_equally_often():
    sampler = EpochSampler(8, seed=0)
    firsts = []
    for epoch in range(1600):
        sampler.set_epoch(epoch)
        firsts.append(next(iter(sampler))[0])
    counts = np.bincount(firsts, minlength=8)  # 200 expected, standard deviation 13
    assert np.abs(counts - 200).max() < 65


@pytest.mark.parametrize(
    ("options", "name"), [({"size": 0}, "size"), ({"rank": 2, "world_size": 2}, "rank"), ({"world_size": 0}, "rank")]
)
def test_sampler_refuses_bad_arguments(options, name):
    with pytest.raises(UserError, match=name):
        EpochSampler(**{"size": 4, "seed": 0, **options})


def test_global_random_states_stay():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(EpochSampler(10, seed=0))
    stratified_halves([0, 1, 0, 1], seed=0)
    assert (torch.get_rng_state() == torch_state).all()
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
