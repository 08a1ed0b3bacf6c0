"""A live network with what it learns from: checked as a whole before anything is trained or written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.settings import FinetuneConfig, SearchConfig, method_of
from ..plan import UserError
from ..plan.errors import FAULTS, reason
from ..spaces import LiveSpace, kind_of
from .arguments import BATCH, Ignored, image_of, search_settings, space_of
from .data import Data, DataTask, Loss


@dataclass(frozen=True)
class Subject:
    """What is scored and pruned.

    Attributes:
        network: a copy of the user's, on the CPU.
        space: its groups.
        left: {layers that keep their channels: why}.
        task: loss and training data.
        search: how scores are learned.
    """

    network: nn.Module
    space: LiveSpace
    left: Mapping[str, str]
    task: DataTask
    search: SearchConfig

    @classmethod
    def of(
        cls,
        model: nn.Module,
        example_input: Tensor,
        train_data: Any,
        *,
        method: str | Mapping[str, Any],
        loss: Loss | None,
        ignored_layers: Ignored,
        streams: bool,
        search: Mapping[str, Any] | None,
        validation: Data | None = None,
    ) -> Subject:
        """That of the arguments of `compress.prune`; UserError for those that do not go together."""
        x = image_of(example_input)
        data = None if train_data is None else Data.of(train_data, name="train_data", batch_size=BATCH)
        task = DataTask(data, (x.shape[1], x.shape[2], x.shape[3]), loss)
        config = search_settings(method, search, data)
        labelled = loss is None and (data is not None or validation is not None)
        space, found = space_of(model, x, ignored_layers, streams=streams, labelled=labelled)
        return cls(deepcopy(model).cpu(), space, found.left, task, config)

    def check_learning(self, tuning: FinetuneConfig | None = None) -> None:
        """UserError where the search, or fine-tuning as `tuning` says, could not make a step: a batch is tried.

        In training mode, on a copy: a BatchNorm may refuse its batch, or the network give something else than in
        evaluation.
        """
        method, data = method_of(self.search), self.task.data
        if self.task.own is not None:
            self._check_own_loss(tuning)
        if data is None or not (method.batches or tuning is not None):
            return
        sizes = []
        if method.batches:
            sizes.append(self.search.batch_size // self.search.accumulate)
            data.check_batch("search", self.search.batch_size, halved=method.halves)
        if tuning is not None:
            sizes.append(tuning.batch_size)
            data.check_batch("finetune", tuning.batch_size)
        if not any(value.requires_grad for value in self.network.parameters()):
            raise UserError(
                f"model = {kind_of(self.network)}: no parameter requires a gradient, so nothing is trained; call "
                "model.requires_grad_(), or give method='magnitude' and finetune=False"
            )
        network = deepcopy(self.network).train()
        with torch.random.fork_rng(devices=[]):
            loss = self.task.loss(network, data.first(min(sizes)))
        if not loss.requires_grad:
            raise UserError("loss: does not depend on the network's parameters; compute it of network(...), undetached")
        if not math.isfinite(value := loss.item()):
            raise UserError(
                f"loss = {value}: of the first batch of train_data, before anything is trained; look for numbers in "
                "the data that are not finite, or for a logarithm of 0"
            )
        self._check_gradient(loss, network)

    def _check_gradient(self, loss: Tensor, network: nn.Module) -> None:
        """UserError for a `loss` of `network` that PyTorch cannot differentiate, as where it has been already."""
        learned = [value for value in network.parameters() if value.requires_grad]
        try:
            torch.autograd.grad(loss, learned, allow_unused=True)
        except FAULTS as error:
            what, remedy = f"model = {kind_of(self.network)}", "compute nothing in place that its gradient needs"
            if self.task.own is not None:
                what, remedy = "loss", f"call no backward() in it, and {remedy}"
            raise UserError(f"{what}: has no gradient for a batch of train_data ({reason(error)}); {remedy}") from error

    def _check_own_loss(self, tuning: FinetuneConfig | None) -> None:
        """UserError for settings that a loss of the user's own has no use for: they are of cross entropy."""
        if tuning is not None and tuning.distill is not None:
            raise UserError(
                "finetune.distill: is of logits under cross entropy, and fine-tuning has a loss of your own; leave it "
                "away, and compare with the unpruned network there"
            )
        for section, config in (("search", self.search), ("finetune", tuning)):
            if config is not None and config.label_smoothing:
                raise UserError(
                    f"{section}.label_smoothing = {config.label_smoothing}: is of the labels of cross entropy, and "
                    "there is a loss of your own; leave it away, and smooth labels there"
                )
        if self.search.accumulate > 1:
            raise UserError(
                f"search.accumulate = {self.search.accumulate}: batches of a loss of your own cannot be divided; leave "
                "it away"
            )
