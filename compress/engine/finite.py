"""Numbers that are no numbers: a stage ends at its first one, and nothing that the run keeps ever holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from ..plan import UserError, odd_figure

EVERY = 50
"""Iterations between two looks at losses on a GPU; a look waits for the device."""


class FiniteOnly(Hook):
    """Stop training at the first loss that is not finite, and before weights that are not are evaluated or saved."""

    priority = "ABOVE_NORMAL"  # before rows and checkpoints are written

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.unseen: list[tuple[int, dict[str, Tensor]]] = []

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin anew, whatever an interrupted epoch left."""
        self.unseen = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Tensor] | None = None
    ) -> None:
        """Look at the iteration's losses: at once on the CPU, now and then where looking means waiting."""
        losses = {name: value.detach() for name, value in (outputs or {}).items()}
        self.unseen.append((batch_idx + 1, losses))
        if len(self.unseen) == EVERY or all(value.device.type == "cpu" for value in losses.values()):
            self._look(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look at what is left, then at all weights, scores and statistics."""
        self._look(runner)
        if name := odd_tensor(runner.model.state_dict()):
            raise diverged(self.stage, runner.epoch + 1, f"{name.removeprefix('module.')} is not finite")

    def _look(self, runner: Runner) -> None:
        """UserError for the first loss of `unseen` that is not finite."""
        seen, self.unseen = self.unseen, []
        tensors = [value.float().reshape(()) for _, losses in seen for value in losses.values()]
        if not tensors:
            return
        values = iter(torch.stack(tensors).tolist())
        for iteration, losses in seen:
            if odd := odd_figure({name: next(values) for name in losses}):
                total = len(runner.train_dataloader)
                raise diverged(self.stage, runner.epoch + 1, f"{odd} in iteration {iteration} of {total}")


def diverged(stage: str, epoch: int, what: str) -> UserError:
    """The error of a `stage` in whose `epoch` (from 1) `what` happened; the epochs before it are saved."""
    searching = stage == "search"
    lower = f"{stage}.optimizer.lr" + (", search.alpha_optimizer.lr or search.gamma" if searching else "")
    kept = f"; epoch {epoch - 1} is kept, from which --resume goes on" if epoch > 1 else ""
    return UserError(
        f"{stage}: training diverged in epoch {epoch}: {what}; lower {lower} and start again in a new --work-dir{kept}"
    )


def odd_tensor(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first of `tensors` with a number that is not finite; it waits for a GPU once."""
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()}
    if not floating:
        return None
    finite = torch.stack([tensor.isfinite().all() for tensor in floating.values()]).tolist()
    return next((name for name, fine in zip(floating, finite, strict=True) if not fine), None)
