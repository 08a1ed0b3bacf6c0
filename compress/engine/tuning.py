"""Fine-tuning: of any network for any objective, as Python needs it, and the short one between rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from .optimisers import make_optimizer
from .settings import FinetuneConfig
from .tasks import Task
from .training import Classifier, Job, Prepared, optim_wrapper, run


def short(config: FinetuneConfig) -> FinetuneConfig:
    """The fine-tuning after a round that is not the last: `between` epochs, which the schedule then spans."""
    epochs = config.between or max(1, config.epochs // 10)
    return replace(config, epochs=epochs, warmup_epochs=min(config.warmup_epochs, epochs - 1), between=None)


class ObjectiveModel(Prepared):
    """A network with the loss of `task`, whatever its batches hold."""

    def __init__(self, network: nn.Module, task: Task, config: FinetuneConfig) -> None:
        super().__init__()
        self.network, self.task, self.config = network, task, config

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """That of the network."""
        return self.network(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """One step on a batch."""
        bf16 = self.config.amp == "bf16"
        device = next(self.network.parameters()).device.type
        with optim_wrapper.optim_context(self), torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            loss = self.task.loss(self.network, data, label_smoothing=self.config.label_smoothing)
        optim_wrapper.update_params(loss)
        return {"loss": loss.detach()}


def fit(
    network: nn.Module,
    task: Task,
    config: FinetuneConfig,
    job: Job,
    *,
    evaluate: Callable[[], dict[str, float]],
    teacher: nn.Module | None = None,
) -> None:
    """Train `network` in place on all data of `task`; the last epoch's weights stay.

    Args:
        network: trained in place.
        task: loss and data.
        config: of the training.
        job: its folder and seed.
        evaluate: figures after an epoch.
        teacher: what `config.distill` distils from: logits of images [B, classes].
    """
    model: Prepared
    if config.distill is None:
        model = ObjectiveModel(network, task, config)
    else:
        model = Classifier(
            network,
            label_smoothing=config.label_smoothing,
            teacher=teacher,
            distill=config.distill,
            bf16=config.amp == "bf16",
        )
    optimizer = make_optimizer(config.optimizer, model.parameters(), name=f"{job.stage}.optimizer")
    run(
        model,
        task.loader(config.batch_size, job),
        job,
        config=config,
        loop={"by_epoch": True, "max_epochs": config.epochs},
        optimizers=optim_wrapper(optimizer, config),
        schedule=task.schedule(config),
        evaluate=evaluate,
    )
