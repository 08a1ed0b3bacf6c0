"""Gradients averaged over processes while the backward pass goes on: what DDP does, for losses differentiated by hand.

Searches on several processes are those of one process with all their images, but for rounding, where every loss is a
mean over images. What else differs with the number of processes: BatchNorm's statistics without `sync_bn`, what dropout
and drop path leave out, losses that a detector divides by its own batch's samples, and as many last images of an epoch
as cannot be shared out evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed

from ..search import gradients_of

FIRST_BYTES, BYTES = 1 << 20, 25 << 20
"""A bucket is sent when its gradients have so many bytes: DDP's defaults. The first is small so that sending begins."""

LIMIT: dict[str, Any] = {}
"""The `timeout` (a timedelta) of a run's groups of processes, where it has another than PyTorch's."""

Buckets = list[list[int]]
"""Places of parameters, bucket by bucket."""


class MeanGradients:
    """`gradients_of` a loss, their mean over all processes, in buckets that are sent during the backward pass.

    Buckets hold gradients in the order in which the first process got them in the first pass of a list of parameters,
    which sends nothing before its end. So every pass adds up alike: where in a bucket a gradient lies decides in which
    order three and more processes are summed, and a search that goes on would round otherwise than an undisturbed one.
    Buckets are sent in the same order everywhere, and parameters that a loss does not depend on count as 0, so that
    processes whose graphs differ do not wait for one another.

    All processes make theirs together; one alone has nothing to send. With `bf16` the gradients travel in that type.

    Example::

        mean_gradients = MeanGradients()
        gradients = mean_gradients(network(images).sum(), list(network.parameters()))
    """

    def __init__(self, *, bf16: bool = False) -> None:
        self.bf16 = bf16
        # Of its own, so that a BatchNorm's sums in the backward pass never wait behind a bucket.
        self.group: Any = distributed.new_group(**LIMIT) if distributed.is_initialized() else None
        self.buckets: dict[tuple[int, ...], Buckets] = {}

    def __call__(self, loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Gradients in the parameters' shapes and strides."""
        if self.group is None:
            return gradients_of(loss, parameters)
        key = tuple(map(id, parameters))
        if key not in self.buckets:
            taken: list[int] = []
            gradients = _hooked(loss, parameters, lambda i, _: taken.append(i))
            self.buckets[key] = in_buckets(parameters, self._agreed(taken, parameters))
            transfer = _Transfer(parameters, self.buckets[key], self.group, bf16=self.bf16)
            for i in taken:
                transfer.take(i, gradients[i])
        else:
            transfer = _Transfer(parameters, self.buckets[key], self.group, bf16=self.bf16)
            _hooked(loss, parameters, transfer.take)
        return transfer.finish()

    def _agreed(self, taken: list[int], parameters: Sequence[Tensor]) -> list[int]:
        """The first process's order, with what it has not `taken` at the end."""
        order = torch.tensor(list(dict.fromkeys([*taken, *range(len(parameters))])), device=parameters[0].device)
        distributed.broadcast(order, 0, group=self.group)
        return order.tolist()


def _hooked(loss: Tensor, parameters: Sequence[Tensor], hook: Callable[[int, Tensor], Tensor | None]) -> Any:
    """Gradients of `loss`; `hook` is called with the place of every parameter and its gradient as it comes."""
    hooks = [parameter.register_hook(partial(hook, i)) for i, parameter in enumerate(parameters)]
    try:
        return torch.autograd.grad(loss, parameters, allow_unused=True)
    finally:
        for each in hooks:
            each.remove()


def in_buckets(parameters: Sequence[Tensor], order: Sequence[int]) -> Buckets:
    """Buckets of the places in `order`: of one dtype each, closed when they are full."""
    buckets: Buckets = []
    dtype: torch.dtype | None = None
    size, limit = 0, FIRST_BYTES
    for i in order:
        parameter = parameters[i]
        if not buckets or size >= limit or parameter.dtype != dtype:
            limit = BYTES if buckets else FIRST_BYTES
            buckets.append([])
            size, dtype = 0, parameter.dtype
        buckets[-1].append(i)
        size += parameter.numel() * parameter.element_size()
    return buckets


class _Transfer:
    """The gradients of one backward pass on their way."""

    def __init__(self, parameters: Sequence[Tensor], buckets: Buckets, group: Any, *, bf16: bool) -> None:
        self.group, self.bf16 = group, bf16
        self.flats: list[Tensor] = []
        self.waits: list[tuple[Tensor, Any]] = []
        self.missing = [len(bucket) for bucket in buckets]
        self.taken: list[int] = []
        self.bucket_of, self.means = [0] * len(parameters), list(parameters)
        for number, bucket in enumerate(buckets):
            first = parameters[bucket[0]]
            self.flats.append(first.new_empty(sum(parameters[i].numel() for i in bucket)))
            start = 0
            for i in bucket:
                strides = torch.empty_like(parameters[i], device="meta").stride()  # channels_last stays so
                self.means[i] = self.flats[-1].as_strided(parameters[i].shape, strides, start)
                self.bucket_of[i] = number
                start += parameters[i].numel()

    def take(self, i: int, gradient: Tensor) -> Tensor:
        """The hook of parameter `i`: puts its gradient into the bucket, and sends what has become full."""
        self.means[i].copy_(gradient)
        self.taken.append(i)
        self._fill(i)
        return self.means[i]  # in place of `gradient`, which is freed

    def finish(self) -> list[Tensor]:
        """Send what is left, wait for all, and return the means."""
        for i in sorted({*range(len(self.means))} - {*self.taken}):
            self.means[i].zero_()
            self._fill(i)
        for flat, (sent, work) in zip(self.flats, self.waits, strict=True):
            work.wait()
            torch.div(sent, self.group.size(), out=flat) if sent is flat else flat.copy_(sent)
        return self.means

    def _fill(self, i: int) -> None:
        self.missing[self.bucket_of[i]] -= 1
        while len(self.waits) < len(self.flats) and self.missing[len(self.waits)] == 0:
            flat = self.flats[len(self.waits)]
            sent = (flat / self.group.size()).bfloat16() if self.bf16 else flat
            self.waits.append((sent, distributed.all_reduce(sent, group=self.group, async_op=True)))
