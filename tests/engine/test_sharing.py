"""What processes share: evaluations, whose figures are those of one process to the last bit, and the look at images."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from compress.engine import scanning
from compress.engine.data import DataConfig, load_data
from compress.engine.decoding import decode
from compress.engine.loaders import eval_loader
from compress.engine.sharing import as_first, gathered
from compress.engine.training import evaluate_top1
from compress.plan import UserError


def network() -> nn.Module:
    """Of seeded weights, with BatchNorm statistics of its own."""
    torch.manual_seed(1)
    found = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    found(torch.randn(8, 3, 32, 32))
    return found


def join(rank: int, folder: Path) -> None:
    """Become one of two processes."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)


def two(work: Callable[..., None], folder: Path, *arguments: object) -> list[Any]:
    """What two processes that do `work` have written."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=work, args=(rank, folder, *arguments)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def share(rank: int, folder: Path, batch_size: int) -> None:
    """What one of two processes does, whose BatchNorm has seen other images on the second."""
    join(rank, folder)
    found = network()
    found[1].running_mean += rank
    own = found[1].running_mean.clone()
    split = load_data(DataConfig(limit=90), seed=0).test
    loader = eval_loader(split, batch_size=batch_size, rank=rank, world_size=2)
    figures = evaluate_top1(found, loader, rank=rank, world_size=2)
    assert torch.equal(found[1].running_mean, own)
    with suppress(KeyError), as_first(found, world_size=2):
        raise KeyError
    assert torch.equal(found[1].running_mean, own), "as before, whatever has happened"
    (folder / f"{rank}.json").write_text(json.dumps({**figures, "batches": len(loader)}))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("batch_size", "batches"), [(7, (7, 6)), (90, (1, 0))])
def test_two_processes_share_an_evaluation_and_get_the_figures_of_one(tmp_path, batch_size, batches):
    split = load_data(DataConfig(limit=90), seed=0).test
    wanted = evaluate_top1(network(), eval_loader(split, batch_size=batch_size))
    found = two(share, tmp_path, batch_size)
    assert found == [{**wanted, "batches": n} for n in batches]


def look(rank: int, folder: Path) -> None:
    """The first look at image files; the second process has a cache of its own."""
    os.environ["COMPRESS_CACHE"] = str(folder / f"cache{rank}")
    join(rank, folder)
    looked: list[str] = []
    scanning.decode = lambda path, *, encoded: looked.append(Path(path).stem) or decode(path)
    said = ""
    config = DataConfig(type="imagefolder", root=str(folder / "images"), input_size=4, augment="none")
    try:
        load_data(config, seed=0)
    except UserError as error:
        said = str(error)
    (folder / f"{rank}.json").write_text(json.dumps([looked, said]))
    torch.distributed.destroy_process_group()


def test_two_processes_share_the_first_look_at_images_and_both_hear_of_a_broken_one(tmp_path):
    for part, count in (("train", 5), ("val", 2)):
        for i in range(count):
            folder = tmp_path / "images" / part / ("ape" if i < count - 1 else "bee")
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(folder / f"{part}{i}.png")
    looked = two(look, tmp_path)
    assert looked == [[["train0", "train2", "train4", "val1"], ""], [["train1", "train3", "val0"], ""]]
    assert not (tmp_path / "cache1").exists()
    broken = tmp_path / "images/train/ape/train3.png"
    broken.write_bytes(b"no image")
    again = two(look, tmp_path)
    assert sorted(name for names, _ in again for name in names) == [f"train{i}" for i in range(5)] + ["val0", "val1"]
    assert all(f"{broken}: not a readable image" in said for _, said in again)


def test_one_process_has_its_own_rows():
    assert gathered([[1, 0.5], [2, 1.5]], rank=0, world_size=1) == [[1.0, 0.5], [2.0, 1.5]]
