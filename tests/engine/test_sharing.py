"""Evaluation that processes share: every one of them gets the figures of one process, to the last bit."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.engine.data import DataConfig, load_data
from compress.engine.loaders import eval_loader
from compress.engine.sharing import gathered
from compress.engine.training import evaluate_top1


def network() -> nn.Module:
    """Of seeded weights, with BatchNorm statistics of its own."""
    torch.manual_seed(1)
    found = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    found(torch.randn(8, 3, 32, 32))
    return found


def share(rank: int, folder: Path, batch_size: int) -> None:
    """What one of two processes does, whose BatchNorm has seen other images on the second."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = network()
    found[1].running_mean += rank
    own = found[1].running_mean.clone()
    split = load_data(DataConfig(limit=90), seed=0).test
    loader = eval_loader(split, batch_size=batch_size, rank=rank, world_size=2)
    figures = evaluate_top1(found, loader, rank=rank, world_size=2)
    assert torch.equal(found[1].running_mean, own)
    (folder / f"{rank}.json").write_text(json.dumps({**figures, "batches": len(loader)}))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("batch_size", "batches"), [(7, (7, 6)), (90, (1, 0))])
def test_two_processes_share_an_evaluation_and_get_the_figures_of_one(tmp_path, batch_size, batches):
    split = load_data(DataConfig(limit=90), seed=0).test
    wanted = evaluate_top1(network(), eval_loader(split, batch_size=batch_size))
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=share, args=(rank, tmp_path, batch_size)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert found == [{**wanted, "batches": n} for n in batches]


def test_one_process_has_its_own_rows():
    assert gathered([[1, 0.5], [2, 1.5]], rank=0, world_size=1) == [[1.0, 0.5], [2.0, 1.5]]
