"""Work that processes share: each does every so-manieth piece, and all of them get the results of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmengine.dist import all_gather_object, all_reduce, broadcast, get_world_size
from torch import nn

from ..plan import UserError

ELSEWHERE = "the processes do not find the same run there; give a folder that all machines share, and see alike"


def gathered(rows: Sequence[Sequence[float]], *, rank: int, world_size: int) -> list[list[float]]:
    """The rows of all processes in the order of the pieces; this one has made those of rank, rank + world_size, ...

    The same numbers come out on every process, bit for bit as one process would have made them: a number is added to
    zeros alone. Every process has to call it, one without rows too.

    Args:
        rows: of this process, equally many numbers in each.
        rank: of this process among `world_size`.
        world_size: number of processes; 1: `rows` as they are.

    Example::

        correct = sum(row[0] for row in gathered([[7.0]], rank=0, world_size=1))
    """
    own = torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(rows[0]) if rows else 0)
    if world_size > 1:
        counts = torch.zeros(2, world_size, dtype=torch.int64)
        counts[:, rank] = torch.tensor(own.shape)
        all_reduce(counts)
        whole = torch.zeros(int(counts[0].sum()), int(counts[1].max()), dtype=torch.float64)
        if rows:
            whole[rank::world_size] = own
        all_reduce(whole)
        own = whole
    return own.tolist()


@contextmanager
def as_first(network: nn.Module, *, world_size: int) -> Iterator[None]:
    """Inside, `network` has the first of `world_size` processes' buffers: BatchNorm statistics are each one's own.

    Example::

        with as_first(network, world_size=1):
            network(images)
    """
    buffers = list(network.buffers()) if world_size > 1 else []
    own = [buffer.clone() for buffer in buffers]
    for buffer in buffers:
        broadcast(buffer)
    try:
        yield
    finally:
        for buffer, former in zip(buffers, own, strict=True):
            buffer.copy_(former)


def check_agreed(value: object, message: str) -> None:
    """UserError, the `message`, on all processes unless they all call it with equal values.

    Example::

        check_agreed(["search", "finetune"], "--work-dir runs/demo: the processes see different stages there")
    """
    if get_world_size() > 1 and any(other != value for other in all_gather_object(value)):
        raise UserError(message)
