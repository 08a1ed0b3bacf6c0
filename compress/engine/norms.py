"""BatchNorm on several processes: by the statistics of the whole batch, or by each its own, averaged for the files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .hooks import Progress

FEW = 8
"""Images a process below which a BatchNorm's own statistics are poor."""


def batch_norms(model: nn.Module) -> list[Any]:
    """The BatchNorms of `model`, of whatever class."""
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def shared_norms(model: nn.Module) -> Iterator[None]:
    """Inside, BatchNorms of `model` in training take the statistics of all processes' images, as SyncBatchNorm does.

    PyTorch's own class runs on GPUs alone. Modules stay what they are, hooks and all, so networks are saved as ever.

    Example::

        with shared_norms(network):
            loss = network(images).mean()
    """
    norms = batch_norms(model)
    for norm in norms:
        norm.forward = partial(_shared, norm, norm.forward)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _shared(norm: nn.Module, forward: Callable[..., Tensor], *arguments: Any) -> Tensor:
    # A norm without running statistics takes the batch's in evaluation, too, of which processes have other numbers.
    with _SharedBatches() if norm.training else nullcontext():
        return forward(*arguments)


class _SharedBatches(TorchFunctionMode):
    """Inside, `shared_batch_norm` stands in for PyTorch's, whatever else a module does."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, or what stands in for it."""
        return (shared_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def shared_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm`, whose batch in training is that of all processes; its gradients are exact too.

    Args:
        x: [B, C, ...], B of each process its own.
        running_mean: [C], updated in training.
        running_var: [C], updated in training.
        weight: [C].
        bias: [C].
        training: normalise by the batch.
        momentum: of the running statistics.
        eps: added to the variance.
    """
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    if x.is_cuda:
        # What torch.nn.SyncBatchNorm calls: one fused kernel, and one transfer.
        group = distributed.group.WORLD
        apply = torch.nn.modules._functions.SyncBatchNorm.apply
        return apply(x, weight, bias, running_mean, running_var, eps, momentum, group, get_world_size())
    values = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    shape = [1, -1, *[1] * (x.dim() - 2)]
    with torch.no_grad():
        n = torch.full((1,), x.numel() / x.shape[1], dtype=torch.float64)
        sums, squares, n = _summed(values, values.square(), n)
        mean = sums / n
        variance = (squares / n - mean**2).clamp_min(0)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * n / (n - 1)).to(running_var.dtype), momentum)
        mean, scale = (each.to(values.dtype).view(shape) for each in (mean, (variance + eps).rsqrt()))
    normed = _Normed.apply(values, mean, scale, n)
    if weight is not None and bias is not None:
        normed = normed * weight.view(shape) + bias.view(shape)
    return normed.to(x.dtype)


class _Normed(torch.autograd.Function):
    """(x - mean) * scale, whose gradient knows that mean and scale are those of all processes' x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, n: Tensor) -> Tensor:
        normed = (x - mean) * scale
        ctx.save_for_backward(normed, scale, n)
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (normed, scale, n) = gradients, ctx.saved_tensors
        means = [(each / n).to(gradient.dtype).view_as(scale) for each in _summed(gradient, gradient * normed)]
        return (gradient - means[0] - normed * means[1]) * scale, None, None, None


def _summed(first: Tensor, second: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
    """Sums of [B, C, ...] by channel, and `more`, over all processes in one transfer.

    They are float64, so that a variance may be the mean of squares without the square of the mean.
    """
    own = [each.sum([0, *range(2, each.dim())], dtype=torch.float64) for each in (first, second)]
    total = torch.cat([*own, *more])
    distributed.all_reduce(total)
    return total.split([len(each) for each in (*own, *more)])


def statistics_hooks(stage: str, batch_size: int, progress: Progress, *, shared: bool) -> list[Hook]:
    """What looks after running statistics in `stage`: nothing on one process, or where norms are `shared`.

    Args:
        stage: that trains.
        batch_size: images a step of this process.
        progress: is told.
        shared: it trains under `shared_norms`.
    """
    return [] if shared or get_world_size() == 1 else [NormStatistics(stage, batch_size, progress)]


class NormStatistics(Hook):
    """After every epoch bring running statistics to their mean over processes, and say before that this is done.

    Warns where a process has few images a step.
    """

    priority = "ABOVE_NORMAL"  # before the epoch's network is evaluated and saved

    def __init__(self, stage: str, batch_size: int, progress: Progress) -> None:
        self.stage, self.batch_size, self.progress = stage, batch_size, progress

    def before_train(self, runner: Runner) -> None:
        """Tell the user, where the network has any."""
        runner.model.train()
        if not learning(runner.model) or not is_main_process():
            return
        setting = f"{self.stage}.sync_bn"
        self.progress.note(
            f"{get_world_size()} processes: BatchNorm's running statistics are averaged over them after every epoch "
            f"({setting}=True: they are those of the whole batch)"
        )
        if self.batch_size < FEW:
            warnings.warn(
                f"{self.stage}.batch_size = {self.batch_size}: so few images of a process make poor statistics for "
                f"BatchNorm; set {setting}=True, or {FEW} and more",
                stacklevel=2,
            )

    def after_train_epoch(self, runner: Runner) -> None:
        """Average them, in one transfer."""
        average_statistics(runner.model)


def learning(model: nn.Module) -> list[Any]:
    """The BatchNorms of `model` whose running statistics follow its batches in its present mode."""
    return [norm for norm in batch_norms(model) if norm.training and norm.running_mean is not None]


def average_statistics(model: nn.Module) -> None:
    """Replace what BatchNorms in training have gathered by its mean over all processes."""
    statistics = [value for norm in learning(model) for value in (norm.running_mean, norm.running_var)]
    if not statistics or get_world_size() == 1:
        return
    means = torch.cat([value.flatten() for value in statistics])
    all_reduce(means, op="mean")
    for value, mean in zip(statistics, means.split([value.numel() for value in statistics]), strict=True):
        value.copy_(mean)
