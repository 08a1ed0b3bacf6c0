"""Loaders that feed training and evaluation, in orders that a resumed run repeats exactly."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from multiprocessing import current_process
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset

from ..plan import UserError, Workers, check_setting
from .datasets import ImageSplit
from .sampling import EpochSampler, stream_keys

T = TypeVar("T")


class ImageLoader(DataLoader):
    """A DataLoader that leaves the global random state alone and reports a worker's UserError as one line.

    Batches are [images float32 [B, 3, H, W], labels int64 [B]].
    """

    def __init__(self, dataset: Dataset, *, num_workers: int = 0, **options: Any) -> None:
        check_setting("num_workers", num_workers, Workers)
        # DataLoader seeds its workers from this generator; without one, it draws from the global state.
        super().__init__(
            dataset,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),
            worker_init_fn=quiet_worker,
            **options,
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 0) that the next iteration shows; evaluation shows the same in every epoch."""
        if isinstance(self.sampler, EpochSampler):
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from in_one_line(super().__iter__())


def in_one_line(batches: Iterator[T]) -> Iterator[T]:
    """What a DataLoader gives; the UserError of one of its workers as the line that it was there."""
    try:
        yield from batches
        return
    except UserError as error:
        message = str(error).rstrip().rsplit("UserError: ", 1)[-1]  # a worker's is wrapped in its traceback
        # The traceback and its frames keep the workers in a reference cycle, which takes 5 s to collect.
        error.with_traceback(None)
    raise UserError(message)


def quiet_worker(number: int) -> None:
    """Let a loading process go without a word and without a trace when the training process is stopped.

    Its connections break then, and multiprocessing ends it without removing its temporary folder.
    """
    former, config = sys.excepthook, vars(current_process())["_config"]
    parents = config.get("tempdir")

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, ConnectionError | EOFError):
            former(kind, error, trace)

    def end(*_: object) -> None:
        if (folder := config.get("tempdir")) not in (None, parents):
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    sys.excepthook = hook
    signal.signal(signal.SIGTERM, end)


def train_loader(
    split: ImageSplit,
    *,
    batch_size: int,
    seed: int,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    drop_last: bool = True,
) -> ImageLoader:
    """Shuffled, augmented batches of a split; call `set_epoch` before every epoch.

    Order and augmentation depend on (seed, epoch) and the images alone. Disjoint splits get unrelated orders from
    the same seed.

    Args:
        split: images.
        batch_size: images a batch, on each process.
        seed: of order and augmentation.
        num_workers: loading processes; 0: this one.
        rank: of this process among `world_size`.
        world_size: number of training processes; each takes its own part of every epoch.
        drop_last: leave out the last batch when it is not full (and images that cannot be shared out evenly).

    Raises:
        UserError: batch_size below 1, or above the number of images with `drop_last`.

    Example::

        loader = train_loader(data.train, batch_size=64, seed=0)
        loader.set_epoch(0)
        x_BCHW, y_B = next(iter(loader))
    """
    _check_batch_size(batch_size)
    order_seed = int(stream_keys(seed, int(split.ids[0]))[0])
    sampler = EpochSampler(len(split), seed=order_seed, rank=rank, world_size=world_size, drop_uneven=drop_last)
    if drop_last and batch_size > len(sampler):
        share = "" if world_size == 1 else f" ({len(split)} shared by {world_size} processes)"
        raise UserError(
            f"batch_size={batch_size}: more than the {len(sampler)} training images{share}, so no full batch; lower it"
        )
    return ImageLoader(
        split.train_view(seed), batch_size=batch_size, sampler=sampler, num_workers=num_workers, drop_last=drop_last
    )


def eval_loader(
    split: ImageSplit, *, batch_size: int, num_workers: int = 0, rank: int = 0, world_size: int = 1
) -> ImageLoader:
    """All images of a split once, in order, not augmented; UserError when batch_size is below 1.

    Of several processes each reads every `world_size`-th batch, from its `rank` on: the batches of all of them are
    those of one process, none twice.

    Args:
        split: images.
        batch_size: images a batch.
        num_workers: loading processes; 0: this one.
        rank: of this process among `world_size`.
        world_size: number of processes that share the work.

    Example::

        for x_BCHW, y_B in eval_loader(data.test, batch_size=256):
            ...
    """
    _check_batch_size(batch_size)
    batches = list(BatchSampler(range(len(split)), batch_size, drop_last=False))[rank::world_size]
    return ImageLoader(split.eval_view(), batch_sampler=batches, num_workers=num_workers)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: must be at least 1; choose for instance 64")


class PairLoader:
    """Two loaders side by side, for searches on two halves: each step yields {"p": batch, "a": batch}.

    An epoch ends with the shorter loader.

    Args:
        loader_p: batches of D_p.
        loader_a: batches of D_a.

    Example::

        idx_p, idx_a = stratified_halves(split.labels, seed=0)
        halves = [train_loader(split.subset(idx), batch_size=32, seed=0) for idx in (idx_p, idx_a)]
        for batch in PairLoader(*halves):
            x_BCHW, y_B = batch["p"]
    """

    def __init__(self, loader_p: Any, loader_a: Any) -> None:
        self.loader_p, self.loader_a = loader_p, loader_a

    def __len__(self) -> int:
        return min(len(self.loader_p), len(self.loader_a))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch_p, batch_a in zip(self.loader_p, self.loader_a, strict=False):
            yield {"p": batch_p, "a": batch_a}
