"""MMEngine hooks: seeds per epoch, one metrics row per epoch, atomic checkpoints, progress for the one who waits."""

from __future__ import annotations

import json
import pickle
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ..plan import UserError, append_line, odd_figure, read_lines, replacing, shown, write_text
from ..plan.run_files import METRICS_REMEDY, MetricsLine
from .finite import diverged

LAST = "last.pth"


class Progress(Protocol):
    """What a run tells the one who waits."""

    def announce(self, stage: str) -> None:
        """`stage` begins."""

    def start(self, stage: str, total: int, done: int) -> None:
        """`stage` will take `total` steps, `done` of which lie behind it."""

    def advance(self) -> None:
        """One step more."""

    def note(self, text: str) -> None:
        """Something worth a line, such as an epoch's figures."""

    def done(self, stage: str, figures: dict[str, Any]) -> None:
        """`stage` has ended, with these figures."""


class EpochSeed(Hook):
    """Make every epoch's randomness a function of (seed, epoch), so that a resumed run repeats an uninterrupted one."""

    priority = "VERY_HIGH"

    def __init__(self, seed: int, loaders: Sequence[Any]) -> None:
        self.seed, self.loaders = seed, loaders

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed torch (dropout, drop path) and tell the loaders the epoch."""
        torch.manual_seed((self.seed * 1_000_003 + runner.epoch) % 2**63)
        for loader in self.loaders:
            loader.set_epoch(runner.epoch)


class MetricsRow(Hook):
    """Append one row per epoch to metrics.jsonl: mean losses, rates, seconds, and what `evaluate` returns."""

    priority = "NORMAL"

    def __init__(self, path: Path, stage: str, evaluate: Callable[[], dict[str, float]], progress: Progress) -> None:
        self.path, self.stage, self.evaluate, self.progress = path, stage, evaluate, progress
        self.sums: dict[str, Tensor] = {}
        self.started = time.perf_counter()

    def before_train(self, runner: Runner) -> None:
        """Drop rows of epochs that a killed run had logged but not saved."""
        if is_main_process():
            rows = read_lines(self.path, MetricsLine, remedy=METRICS_REMEDY) if self.path.exists() else []
            rows = [r for r in rows if r["stage"] != self.stage or r["epoch"] <= runner.epoch]
            write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))
        self.progress.start(self.stage, runner.max_iters, runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the sums."""
        self.sums = defaultdict(lambda: torch.zeros(()))
        self.started = time.perf_counter()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Tensor] | None = None
    ) -> None:
        """Add the iteration's losses without waiting for the device."""
        for name, value in (outputs or {}).items():
            self.sums[name] = self.sums[name].to(value.device) + value.detach().float()
        self.progress.advance()

    def after_train_epoch(self, runner: Runner) -> None:
        """Evaluate and append the row; UserError when one of its figures is not finite."""
        count = len(runner.train_dataloader)
        losses = {name: round(float(value) / count, 6) for name, value in self.sums.items()}
        rates = {name: round(values[0], 8) for name, values in runner.optim_wrapper.get_lr().items()}
        epoch = {"stage": self.stage, "epoch": runner.epoch + 1, "epochs": runner.max_epochs}
        row = {**epoch, **losses, **_named_rates(rates), "seconds": round(time.perf_counter() - self.started, 2)}
        row.update(self.evaluate())
        if odd := odd_figure(row):
            raise diverged(self.stage, runner.epoch + 1, f"{odd} after it")
        if is_main_process():
            append_line(self.path, json.dumps(row))
        self.progress.note(describe(row))


class AtomicCheckpoint(Hook):
    """After every epoch replace last.pth in one rename; it holds tensors and plain values only."""

    priority = "VERY_LOW"

    def after_train_epoch(self, runner: Runner) -> None:
        """Save to a temporary name, then rename; MMEngine writes it through a file of Python's."""
        if is_main_process():
            with replacing(Path(runner.work_dir) / LAST) as tmp:
                runner.save_checkpoint(str(tmp.parent), tmp.name, by_epoch=True)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Leave MMEngine's history out: it would need unpickling, and metrics.jsonl has it."""
        checkpoint["message_hub"] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}


def describe(row: dict[str, Any]) -> str:
    """A metrics row as one short line."""
    shown = [("loss", "loss", ".3f"), ("loss_p", "loss", ".3f"), ("train_top1", "top-1 in training", ".2f")]
    shown += [("top1", "top-1", ".2f")]
    shown += [("bbox_mAP", "box AP", ".2f"), ("train_bbox_mAP", "in training images", ".2f"), ("zeros", "zeros", "d")]
    parts = [f"{label} {row[key]:{spec}}" for key, label, spec in shown if row.get(key) is not None]
    return f"epoch {row['epoch']}/{row['epochs']}  " + "  ".join(parts)


def _named_rates(rates: dict[str, float]) -> dict[str, float]:
    """MMEngine names rates `lr`, or `<optimiser>.lr` for several."""
    if "lr" in rates:
        return {"lr": rates["lr"]}
    named = {"lr": rates["w.lr"]}
    if "alpha.lr" in rates:
        named["lr_alpha"] = rates["alpha.lr"]
    return named


def check_saved(path: Path, model: nn.Module) -> None:
    """UserError, before MMEngine opens it, unless the training checkpoint `path` holds plain values and tensors only.

    The tensors must be those of `model`: MMEngine would go on without the ones that are missing.
    """
    remedy = "delete it to restart the stage"
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:100] or "empty"
        raise UserError(f"--resume: {path} is corrupt or not ours ({reason}); {remedy}") from None
    state = saved.get("state_dict") if isinstance(saved, dict) else None
    found = {name: getattr(value, "shape", None) for name, value in state.items()} if isinstance(state, dict) else {}
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    if odd := sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)):
        raise UserError(
            f"--resume: {path} is of another network or version of this library ({len(odd)} tensors differ, such as "
            f"{shown(odd[0])}); {remedy}"
        )
