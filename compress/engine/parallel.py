"""Training and searches on several processes, as MMEngine's Runner takes them: wrappers around their models."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import all_reduce, broadcast, get_world_size, is_distributed
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import Runner
from torch import Tensor, nn

from ..plan import UserError
from ..spaces import same_draws
from .averaging import MeanGradients
from .norms import shared_norms

if TYPE_CHECKING:
    from .searchers import SearchModel
    from .settings import SearchConfig, TrainConfig


def share(batch_size: int, began: int | None) -> int:
    """Images a step of each process, so that all take as many as the `began` processes with which the run began did.

    The order of images and the steps of an epoch are then the same with any number of processes. `batch_size` is what
    each of the first had; None: these are the first. Raises UserError where the images cannot be shared out evenly.
    """
    size = get_world_size()
    images = batch_size * (size if began is None else began)
    if images % size:
        raise UserError(
            f"--launcher: this run takes {images} images a step, because it began with {began} processes, which {size} "
            "cannot share evenly; start a number that divides them"
        )
    return images // size


def wrapper(kind: str, config: TrainConfig | SearchConfig) -> dict[str, Any]:
    """What the Runner builds around a model on several processes: `kind` is one of the classes here."""
    own: dict[str, Any] = {} if kind == "AveragedSearch" or torch.cuda.is_available() else {"device_ids": None}
    return {"type": kind, "bf16": config.all_reduce == "bf16", **own}


def norms(model: nn.Module, config: TrainConfig | SearchConfig) -> AbstractContextManager[None]:
    """Where `model` is trained: its BatchNorms see the batch of all processes, or each its own.

    One process that a launcher has started computes as several do.
    """
    return shared_norms(model) if config.sync_bn and is_distributed() else nullcontext()


@MODEL_WRAPPERS.register_module()
class AveragedTraining(MMDistributedDataParallel):
    """MMEngine's data parallelism; `bf16`: gradients travel in that type.

    After its first backward pass DDP puts gradients into buckets in the order in which they came, and what lies where
    decides in which order three and more processes are summed. So the first one is for that alone, and training that
    goes on rounds as undisturbed training does. It raises UserError where the loss does not depend on a parameter: in
    the second, DDP would find that its gradient has never come.
    """

    def __init__(self, module: nn.Module, *, bf16: bool = False, **options: Any) -> None:
        super().__init__(module, **options)
        self.begun = False
        # Every process gathers statistics of its own, which `NormStatistics` averages: the first one's are not all.
        self.broadcast_buffers = False
        if bf16:
            from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

            self.register_comm_hook(None, bf16_compress_hook)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """The wrapped model's step."""
        if not self.begun:
            self.begun = True
            self._rehearse(deepcopy(data), optim_wrapper)
        return super().train_step(data, optim_wrapper)

    def _rehearse(self, data: Any, optim_wrapper: Any) -> None:
        """A backward pass on `data` that leaves weights, buffers and random numbers as they are."""
        learning = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        buffers, device = [buffer.clone() for buffer in self.module.buffers()], next(self.module.parameters()).device
        # Of the module, which has no way to keep gradients to itself, as accumulating steps do.
        with same_draws(device), optim_wrapper.optim_context(self.module):
            losses = self._run_forward(self.module.data_preprocessor(data, training=True), mode="loss")
        self.module.parse_losses(losses)[0].backward()
        for buffer, former in zip(self.module.buffers(), buffers, strict=True):
            buffer.data.copy_(former)
        silent = [name for name, p in learning.items() if p.grad is None]
        optim_wrapper.zero_grad()
        if silent:
            raise UserError(
                f"training: the loss does not depend on {silent[0]} ({len(silent)} of {len(learning)} parameters are "
                "so), which several processes cannot train; freeze it (requires_grad=False), or start one process"
            )


@MODEL_WRAPPERS.register_module()
class AveragedSearch(nn.Module):
    """Data parallelism for searches: equal start on every process, gradients averaged inside the step."""

    def __init__(self, module: SearchModel, *, bf16: bool = False) -> None:
        super().__init__()
        self.module = module
        for tensor in [*module.parameters(), *module.buffers()]:
            broadcast(tensor.data)
        module.gradient = MeanGradients(bf16=bf16)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """The wrapped model's step."""
        return self.module.train_step(data, optim_wrapper)


class EqualScores(Hook):
    """After every epoch make sure that all processes of a search hold the same scores; UserError where they do not."""

    priority = "ABOVE_NORMAL"  # before the epoch is recorded

    def __init__(self, model: SearchModel) -> None:
        self.model = model

    def after_train_epoch(self, runner: Runner) -> None:
        """Compare the largest of each score with the smallest, in one transfer."""
        scores = self.model.scores()
        flat = torch.cat([score.flatten() for score in scores.values()])
        extremes = torch.stack([flat, -flat])
        all_reduce(extremes, op="max")
        spread = (extremes[0] + extremes[1]).split([score.numel() for score in scores.values()])
        if (name := next((name for name, own in zip(scores, spread, strict=True) if own.any()), None)) is not None:
            raise UserError(
                f"search: after epoch {runner.epoch + 1} the {get_world_size()} processes hold different scores of "
                f"{name!r}; see that all run the same code and packages, then go on with --resume"
            )
