"""What surrounds a call changes nothing of it, and it changes nothing of its surroundings; what it gives travels on."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import cv2
import pytest
import random_state
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from odd_networks import Plain
from torch.utils.data import TensorDataset

import compress
from compress.plan import UserError

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(32) % 4)
ONE_SHOT = {"method": "magnitude", "pruning_ratio": 0.4, "round_to": 1, "quiet": True}
LEARNED = {
    "pruning_ratio": 0.4,
    "search": {"epochs": 1, "batch_size": 8},
    "finetune": {"epochs": 1, "batch_size": 8},
    "round_to": 1,
    "quiet": True,
}


def made():
    torch.manual_seed(0)
    return Plain()


@contextmanager
def in_double():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def usual():
    """What a call at the top of a script gives."""
    return compress.prune(made(), X, DATA, **LEARNED)


ELSEWHERE = partial(torch.device, "meta")  # as torch.set_default_device("cuda") where there is one
CASTING = partial(torch.autocast, "cpu", torch.bfloat16)
AROUND = [torch.no_grad, torch.inference_mode, in_double, ELSEWHERE, CASTING, nullcontext]


@pytest.mark.parametrize("around", AROUND)
def test_a_call_gives_the_same_within_anything(around, usual):
    network = made()
    with around(), random_state.untouched("pruning"):
        pruned = compress.prune(network, X, DATA, **LEARNED)
    with around():
        assert compress.groups_of(network, X.clone()).groups
    assert all(
        torch.equal(a, b)
        for a, b in zip(pruned.model.state_dict().values(), usual.model.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("around", AROUND)
def test_so_do_its_parts_and_what_they_give_learns(around, usual, tmp_path):
    network = made()
    scored = compress.score(network, X, method="magnitude", quiet=True)
    folder = usual.save(tmp_path / "small")
    with around():
        plan = compress.select(scored, pruning_ratio=0.4, round_to=1)
        small, _ = compress.slice_model(scored.network, scored.space, plan)
        loaded = compress.load(folder, network=network)
        assert compress.compare(network, loaded, X, repeats=1)["macs"]["after"] == usual.after["macs"]
        assert usual.export(tmp_path / "small.onnx").stat().st_size
    for each in (small, loaded):
        assert {(value.dtype, value.device.type) for value in each.parameters()} == {(torch.float32, "cpu")}
        each(X).sum().backward()
    assert torch.equal(loaded(X), usual.model(X))


def test_many_calls_leave_no_open_files_and_nothing_of_mmengine():
    def left():
        kinds = (MMLogger, MessageHub, DefaultScope)
        open_files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        return open_files, [list(kind._instance_dict) for kind in kinds]

    compress.prune(made(), X, DATA, **LEARNED)  # the first one imports
    before, threads, method = left(), cv2.getNumThreads(), multiprocessing.get_start_method(allow_none=True)
    cv2.setNumThreads(3)
    try:
        compress.prune(made(), X, DATA, **LEARNED)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(threads)
    assert left() == before
    assert multiprocessing.get_start_method(allow_none=True) == method


def test_a_chosen_way_to_start_processes_stays():
    method = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        compress.prune(made(), X, DATA, **LEARNED)
        assert multiprocessing.get_start_method() == "spawn"
    finally:
        multiprocessing.set_start_method(method, force=True)


def test_a_result_can_be_pickled(usual):
    again = pickle.loads(pickle.dumps(usual))
    assert torch.equal(again.model(X), usual.model(X))
    assert again.space.build()(X).shape == (2, 4)


def test_scores_of_ones_own_choose_the_channels():
    scored = compress.score(made(), X, method="magnitude", quiet=True)
    mine = {name: list(range(len(each))) for name, each in scored.scores.items()}
    plan = compress.select(replace(scored, scores=mine), pruning_ratio=0.5, round_to=1)
    assert plan.kept == {"a": tuple(range(8 - plan.widths["a"], 8)), "b": tuple(range(6 - plan.widths["b"], 6))}
    for wrong, words in (
        ({"a": mine["a"]}, r"scores\['b'\]: is missing"),
        ({**mine, "c": [1.0]}, r"scores\['c'\]: is no group"),
        ({**mine, "a": [1.0, 2.0]}, r"scores\['a'\]: are \[2\]; give one for each channel, \[8\]"),
        ({**mine, "a": "high"}, r"scores\['a'\]: are no numbers"),
        ({**mine, 1: [1.0], "c": [1.0]}, r"scores\[1\]: is no group"),
        (None, r"scores = NoneType: must map groups to their scores"),
    ):
        with pytest.raises(UserError, match=words):
            compress.select(replace(scored, scores=wrong), pruning_ratio=0.5, round_to=1)


def test_the_mean_of_ones_own_loss_is_over_items_not_batches():
    data = TensorDataset(torch.zeros(12, 3, 8, 8), torch.arange(12.0))
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    pruned = compress.prune(made(), X, val_data=loader, loss=lambda network, batch: batch[1].mean(), **ONE_SHOT)
    assert pruned.before["val_loss"] == 5.5
