"""Ordinary training on MMEngine's Runner: baselines and fine-tuning, with distillation as one more loss term."""

from __future__ import annotations

import multiprocessing
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from ..plan import sha256, storing
from .datasets import ImageSplit
from .extras import Progressing, auxiliary_of
from .finite import FiniteOnly
from .hooks import LAST, AtomicCheckpoint, EpochSeed, MetricsRow, Progress, check_saved
from .layout import laid_out, layout_of
from .loaders import ImageLoader, train_loader
from .memory import keep_freed_memory
from .norms import statistics_hooks
from .optimisers import Adapted, make_optimizer
from .parallel import norms, share, wrapper
from .settings import DistillConfig, FinetuneConfig, SearchConfig, TrainConfig, make_schedule
from .sharing import ELSEWHERE, as_first, check_agreed, gathered
from .traces import without_traces


@dataclass(frozen=True)
class Job:
    """Where and how a training stage runs: its folder, the metrics file, seed, resuming, launcher, progress display.

    `processes`: with how many the run began, as `share` reads it.
    """

    folder: Path
    metrics: Path
    stage: str
    seed: int
    progress: Progress
    resume: bool = False
    launcher: str = "none"
    num_workers: int = 0
    processes: int | None = None


class Prepared(BaseModel):
    """A model whose weights are given: MMEngine's Runner would call the `init_weights` that timm's networks have."""

    def init_weights(self) -> None:
        """Keep the weights."""


class Classifier(Prepared):
    """A network with its training loss; `teacher`, if any, is not part of the state.

    An auxiliary head of the network is part of the state, beside the network.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        label_smoothing: float = 0.0,
        teacher: nn.Module | None = None,
        distill: DistillConfig | None = None,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.layout = layout_of(network)
        self.network = network.to(memory_format=self.layout)
        auxiliary = auxiliary_of(network)
        self.auxiliary = None if auxiliary is None else auxiliary.head
        self.auxiliary_weight = 0.0 if auxiliary is None else auxiliary.weight
        self.label_smoothing = label_smoothing
        self.distill = distill
        self.bf16 = bf16
        teachers = [] if teacher is None else [laid_out(teacher.eval())]
        self._teacher = tuple(teachers)  # a tuple keeps it out of the state dict

    def forward(self, inputs: Tensor, labels: Tensor, *more: Any, mode: str = "loss") -> dict[str, Tensor]:
        """Losses of a batch and `train_top1`, how many percent of it are right as they are shown.

        Args:
            inputs: images [B, C, H, W].
            labels: int64 [B].
            more: of a batch, unused as by every cross entropy.
            mode: MMEngine's.

        Returns:
            Scalars by name; MMEngine adds up those named `loss`.
        """
        inputs = inputs.contiguous(memory_format=self.layout)
        # bf16 needs no loss scaling, so autocast is enough on any device; MMEngine's wrapper does fp16.
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext():
            logits, others = self._logits(inputs)
            if self.distill is not None:
                with torch.no_grad():
                    teacher_logits = self._teacher[0].to(inputs.device)(inputs)
        losses = {"loss_ce": F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)}
        losses["train_top1"] = 100 * (logits.argmax(1) == labels).float().mean()
        if others is not None:
            loss = F.cross_entropy(others.float(), labels, label_smoothing=self.label_smoothing)
            losses["loss_auxiliary"] = self.auxiliary_weight * loss
        if self.distill is not None:
            kl = distillation_loss(logits, teacher_logits, self.distill.temperature)
            losses["loss_kd"] = self.distill.weight * kl
        return losses

    def _logits(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """The network's logits, and those of its auxiliary head, if it has one."""
        if self.auxiliary is None:
            return self.network(inputs), None
        logits, features = self.network.with_features(inputs)  # type: ignore[operator]
        return logits, self.auxiliary(features)


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(softmax(teacher / T) || softmax(student / T)), mean over the batch; logits [B, classes]."""
    return F.kl_div(
        F.log_softmax(student.float() / temperature, dim=1),
        F.log_softmax(teacher.float() / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )


def train(
    network: nn.Module,
    split: ImageSplit,
    config: TrainConfig,
    job: Job,
    *,
    evaluate: Callable[[nn.Module], dict[str, float]],
    teacher: nn.Module | None = None,
    adapted: Adapted | None = None,
) -> None:
    """Train `network` in place on `split` for `config.epochs`; saves after every epoch, resumes from the last one.

    The last epoch's weights stay: none is chosen by its evaluation.

    Args:
        network: trained in place.
        split: what it is shown.
        config: of the training.
        job: its folder and seed.
        evaluate: figures of the network for the metrics rows.
        teacher: what `config.distill` distils from.
        adapted: which of its layers are new, in a pretrained network; None: there are no such two parts.
    """
    loader = training_loader(
        split, batch_size=share(config.batch_size, job.processes), seed=job.seed, num_workers=job.num_workers
    )
    distill = config.distill if isinstance(config, FinetuneConfig) else None
    model = Classifier(
        network,
        label_smoothing=config.label_smoothing,
        teacher=teacher,
        distill=distill,
        bf16=config.amp == "bf16",
    )
    name = f"{job.stage}.optimizer"
    if adapted is None:
        optimizer = make_optimizer(config.optimizer, model.parameters(), name=name)
    else:
        optimizer = adapted.optimizer(config.optimizer, model, network, name=name)
    wrapper = optim_wrapper(optimizer, config)
    loop = {"by_epoch": True, "max_epochs": config.epochs}
    run(
        model,
        loader,
        job,
        config=config,
        loop=loop,
        optimizers=wrapper,
        schedule=make_schedule(config),
        evaluate=lambda: evaluate(network),
        seeded=[Progressing(network, config.epochs)],
    )


def optim_wrapper(optimizer: Optimizer, config: TrainConfig, **options: Any) -> OptimWrapper:
    """MMEngine's wrapper around `optimizer` that accumulates gradients and scales losses as `config` says."""
    options["accumulative_counts"] = config.accumulate
    if config.clip_norm is not None:
        options["clip_grad"] = {"max_norm": config.clip_norm}
    if config.amp == "fp16":
        return AmpOptimWrapper(optimizer=optimizer, dtype="float16", **options)
    return OptimWrapper(optimizer=optimizer, **options)


def training_loader(split: ImageSplit, *, batch_size: int, seed: int, num_workers: int) -> ImageLoader:
    """This process's share of the training batches of `split`."""
    rank, world_size = get_rank(), get_world_size()
    return train_loader(
        split, batch_size=batch_size, seed=seed, num_workers=num_workers, rank=rank, world_size=world_size
    )


@without_traces()
def run(
    model: BaseModel,
    loader: Any,
    job: Job,
    *,
    config: TrainConfig | SearchConfig,
    loop: dict[str, Any],
    optimizers: Any,
    schedule: Any,
    evaluate: Callable[[], dict[str, float]],
    seeded: Sequence[Any] = (),
    wrapped_as: str = "AveragedTraining",
    hooks: Sequence[Hook] = (),
) -> None:
    """Run MMEngine's Runner over `loader` with our hooks; `seeded` is what else needs the epoch."""
    keep_freed_memory()
    last = job.folder / LAST
    resume = job.resume and last.exists()
    # Processes that went on from different weights would average what does not belong together.
    check_agreed(sha256(last) if resume and get_world_size() > 1 else None, f"{last}: {ELSEWHERE}")
    if resume:
        check_saved(last, model)
    name = f"{job.stage}-{uuid.uuid4().hex[:8]}"
    with storing(job.folder):  # its log and its config
        runner = Runner(
            model=model,
            work_dir=str(job.folder),
            train_dataloader=loader,
            train_cfg=loop,
            optim_wrapper=optimizers,
            param_scheduler=schedule,
            default_hooks={"timer": None, "sampler_seed": None, "logger": None, "checkpoint": None},
            custom_hooks=[
                EpochSeed(job.seed, [loader, *seeded]),
                FiniteOnly(job.stage),
                MetricsRow(job.metrics, job.stage, evaluate, job.progress),
                AtomicCheckpoint(),
                *statistics_hooks(job.stage, loader.batch_size, job.progress, shared=config.sync_bn),
                *hooks,
            ],
            randomness={"seed": job.seed},
            launcher=job.launcher,
            env_cfg={
                "dist_cfg": {"backend": "nccl" if torch.cuda.is_available() else "gloo"},
                "mp_cfg": {"mp_start_method": multiprocessing.get_start_method(allow_none=True)},  # stays as it is
            },
            visualizer={"type": "Visualizer", "vis_backends": [], "name": name},
            log_level="ERROR",
            experiment_name=name,
            load_from=str(last) if resume else None,
            resume=resume,
            default_scope="mmengine",
            # Formatting the config with every checkpoint would take time and turn Ctrl-C into a SyntaxError.
            cfg=Config({"model_wrapper_cfg": wrapper(wrapped_as, config)}, format_python_code=False),
        )
    with norms(model, config), warnings.catch_warnings():
        # The schedule goes on with every batch, a step of several (`accumulate`) only with the last of them.
        warnings.filterwarnings("ignore", "Detected call of `scheduler.step", UserWarning)
        runner.train()


@torch.inference_mode()
def evaluate_top1(network: nn.Module, loader: Any, *, rank: int = 0, world_size: int = 1) -> dict[str, float]:
    """Top-1 accuracy in percent and mean cross entropy over `loader`, in evaluation mode; the mode is restored.

    Of several processes each brings its share of the batches (`eval_loader`), and all get the figures of the first
    one's network on all batches.

    Args:
        network: evaluated where it is.
        loader: batches, or this process's share of them.
        rank, world_size: which of so many processes this is.

    Example::

        evaluate_top1(model, eval_loader(data.test, batch_size=256))["top1"]
    """
    training, device, layout = network.training, next(network.parameters()).device, layout_of(network)
    network.eval()
    rows = []
    with as_first(network, world_size=world_size):
        for images, labels in loader:
            logits = network(images.to(device).contiguous(memory_format=layout)).float().cpu()
            loss = float(F.cross_entropy(logits, labels, reduction="sum"))
            rows.append([int((logits.argmax(1) == labels).sum()), loss, len(labels)])
    network.train(training)
    correct, loss, total = map(sum, zip(*gathered(rows, rank=rank, world_size=world_size), strict=True))
    return {"top1": round(100 * correct / total, 4), "val_loss": round(loss / total, 6)}
