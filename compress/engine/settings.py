"""Typed settings of training and search, as they stand in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch

from ..penalties import PENALTIES, PenaltyType
from ..plan import Count, Range, Registry, UserError, brief, check_settings
from ..search import DEFAULT, METHODS, Method
from .optimisers import MOST_ARGUMENT, check_optimizer, rate_of

Amp = Literal["bf16", "fp16"] | None
Epochs = Annotated[int, Range(at_least=1, at_most=1_000_000)]
Warmup = Annotated[int, Range(at_least=0)]
USUAL_RATE = 0.01
"""Of SGD on pretrained weights."""
AllReduce = Literal["bf16"] | None
Smoothing = Annotated[float, Range(at_least=0, at_most=1, remedy="0.1 is usual")]


@dataclass(frozen=True)
class TrainConfig:
    """Ordinary training.

    Args:
        epochs: passes over the training images.
        batch_size: images a step, of each process.
        optimizer: an MMEngine optimiser dict: type and its arguments.
        schedule: `cosine` decays every iteration to 0; `step` divides the rate by 10 at half and three quarters of the
            epochs (NetSlim).
        warmup_epochs: first epochs over which the rate rises from a thousandth.
        label_smoothing: share of a label that goes to all classes alike.
        amp: autocast type; None: float32.
        accumulate: so many batches make one step, by the mean of their gradients.
        clip_norm: gradients of a larger norm are scaled down to it; None: none are.
        sync_bn: on several processes, BatchNorms normalise by statistics of the whole batch. False: by those of each
            process's images, and the running ones are averaged after every epoch.
        all_reduce: type in which gradients travel between processes; None: their own.
    """

    epochs: Epochs
    batch_size: Count = 64
    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"type": "SGD", "lr": 0.1, "momentum": 0.9})
    schedule: Literal["cosine", "step"] = "cosine"
    warmup_epochs: Warmup = 0
    label_smoothing: Smoothing = 0.0
    amp: Amp = None
    accumulate: Count = 1
    clip_norm: Annotated[float, Range(above=0, at_most=1e9, remedy="5 is usual")] | None = None
    sync_bn: bool = False
    all_reduce: AllReduce = None

    def __post_init__(self) -> None:
        check_training(self, "train")


@dataclass(frozen=True)
class BaselineConfig(TrainConfig):
    """Training of the unpruned network, by the settings of `TrainConfig` and one of its own.

    Args:
        pretrained_lr_factor: where a checkpoint of other classes is adapted, the rate of its weights over that of the
            fresh classifier, which is the optimiser's. None: with SGD a tenth at least, and what brings it to 0.01, so
            that up to this rate all weights learn alike; with other optimisers 1. 0: the classifier learns alone.
    """

    pretrained_lr_factor: Annotated[float, Range(at_least=0, at_most=1, remedy="0.1 is usual")] | None = None


@dataclass(frozen=True)
class DistillConfig:
    """Distillation from the unpruned network: loss = cross entropy + weight * KL(teacher/T || student/T).

    The thesis and TAS add the term with weight 1 at T = 4; weight T^2 keeps its gradients' size (arXiv 1503.02531).

    Args:
        temperature: T, by which the logits of both networks are divided.
        weight: of the term.
    """

    temperature: Annotated[float, Range(at_least=1e-3, at_most=1e6, remedy="4 is usual")] = 4.0
    weight: Annotated[float, Range(at_least=0, at_most=1e6, remedy="1 is usual")] = 1.0

    def __post_init__(self) -> None:
        check_settings(self, "finetune.distill")


@dataclass(frozen=True)
class FinetuneConfig(TrainConfig):
    """Training of the sliced network, by the settings of `TrainConfig` and two of its own.

    Args:
        distill: distillation from the unpruned network; None: cross entropy alone.
        between: epochs after every round but the last, where a network is pruned in several; None: a tenth of `epochs`.
    """

    distill: DistillConfig | None = None
    between: Epochs | None = None

    def __post_init__(self) -> None:
        check_training(self, "finetune")


@dataclass(frozen=True)
class SearchConfig:
    """The search. Both optimisers follow the one schedule.

    A latency ratio is one number for all channels: to pull as hard as l1 on average, its gamma must be larger, some
    four to eight times their number.

    Args:
        epochs: passes over the training images.
        method: {"type": name, its parameters}.
        batch_size: images a step, of each process.
        gamma: weight of the penalty.
        penalty: l1, as a `subgradient` or a `proximal` step, or `latency`: the ratio to the unpruned network's latency,
            which `latency_table` predicts for soft widths.
        latency_table: file that `nncompress profile` wrote, which the `latency` penalty reads, and without a penalty
            `taylor` with a `latency_weight`.
        latency_tau: size of a score that counts as half a channel; None: 0.4 where a penalty needs it.
        optimizer: of the weights, an MMEngine optimiser dict: type and its arguments.
        alpha_optimizer: of the scores alone.
        schedule: as in `TrainConfig`.
        warmup_epochs: first epochs over which both rates rise from a thousandth.
        fixed_scale: bring the gates of every group to root mean square 1 after each step. Their common scale is free (a
            BatchNorm or the reader's weights take it up), and a penalty would otherwise shrink it instead of choosing
            among channels. A latency penalty then acts on the scores' sizes within a group: costly groups become uneven
            first.
        weights: that go on to slicing: `u`, `w` or their `average` (rarts only).
        label_smoothing: share of a label that goes to all classes alike.
        amp: autocast type; None: float32.
        accumulate: parts into which every batch is divided, whose feature maps are in memory one after the other: the
            gradients are those of the whole batch (but for a BatchNorm's statistics), for one more forward pass.
        sync_bn: as in `TrainConfig`.
        all_reduce: as in `TrainConfig`.
    """

    epochs: Epochs
    method: Mapping[str, Any] = field(default_factory=lambda: {"type": DEFAULT})
    batch_size: Count = 64
    gamma: Annotated[float, Range(at_least=0, at_most=1e6, remedy="1e-4 is the default")] = 1e-4
    penalty: str = "subgradient"
    latency_table: str | None = None
    latency_tau: Annotated[float, Range(above=0, at_most=1e6)] | None = None
    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"type": "SGD", "lr": 0.1, "momentum": 0.9})
    alpha_optimizer: Mapping[str, Any] = field(default_factory=lambda: {"type": "SGD", "lr": 0.1, "momentum": 0.9})
    schedule: Literal["cosine", "step"] = "cosine"
    warmup_epochs: Warmup = 0
    fixed_scale: bool = False
    weights: Literal["u", "w", "average"] = "average"
    label_smoothing: Smoothing = 0.0
    amp: Amp = None
    accumulate: Count = 1
    sync_bn: bool = False
    all_reduce: AllReduce = None

    methods: ClassVar[Registry[Method]] = METHODS
    """What `method` may name."""
    penalties: ClassVar[Registry[PenaltyType]] = PENALTIES
    """What `penalty` may name."""

    def __post_init__(self) -> None:
        check_training(self, "search")
        method, settings = method_of(self), make_method(self)
        # So that a run's record says all of them, whatever the defaults are one day.
        object.__setattr__(self, "method", method.recorded(settings))
        self._check_penalty(method)
        self._settle_latency(method, settings)
        if self.batch_size % self.accumulate:
            raise UserError(
                f"search.accumulate = {self.accumulate}: must divide search.batch_size = {self.batch_size}; change one"
            )
        if self.fixed_scale and not _scalable(method):
            raise UserError(
                f"search.fixed_scale = True: {method.name} has no gates to scale; set it to False, or use one of "
                f"{self._names(_scalable)}"
            )
        check_optimizer(self.alpha_optimizer, name="search.alpha_optimizer")
        if self.amp == "fp16":
            raise UserError("search.amp = 'fp16': the search takes gradients itself, without loss scaling; use 'bf16'")

    @property
    def held(self) -> int:
        """So many first epochs leave the scores as they are: none, but in searches of other kinds."""
        return 0

    def _check_penalty(self, method: Method) -> None:
        """UserError for a penalty that `method` cannot apply to its scores."""
        penalty = penalty_of(self)
        if penalty.common or method.takes(penalty):
            return
        lacks = f"has no {' or '.join(penalty.places)}" if penalty.places else "applies no such penalty"
        raise UserError(
            f"search.penalty = {penalty.name!r}: {method.name} {lacks} for it to act on; use one of "
            f"{self._names(lambda other: other.takes(penalty))}, or another penalty"
        )

    def _settle_latency(self, method: Method, settings: Any) -> None:
        """Fill in tau; UserError for settings of latency that are missing, useless or for other methods."""
        tau = penalty_of(self).tau
        penalised, weighed = penalty_of(self).table, method.reads_table(settings)
        weight = f"search.method.{method.table_weight}"
        if (penalised or weighed) and not self.latency_table:
            reader = f"search.penalty = {self.penalty!r}" if penalised else f"{weight} above 0"
            raise UserError(
                f"search.latency_table = {brief(self.latency_table)}: {reader} needs a table; give the file that "
                "`nncompress profile` wrote for this recipe"
            )
        useless = f"has no use with search.penalty = {self.penalty!r}; set that to 'latency', or leave this away"
        if self.latency_tau is not None and tau is None:
            why = "has no use in this search; leave it away" if penalised else useless
            raise UserError(f"search.latency_tau = {brief(self.latency_tau)}: {why}")
        if self.latency_table is not None and not (penalised or weighed):
            if method.table_weight is not None:
                useless = f"has no use with {weight} = 0; set that above 0, or leave this away"
            raise UserError(f"search.latency_table = {brief(self.latency_table)}: {useless}")
        if self.latency_tau is None:
            object.__setattr__(self, "latency_tau", tau)  # so that a run's record says it

    def _names(self, suits: Callable[[Method], bool]) -> str:
        """The names of the methods that suit, for a message."""
        return ", ".join(method.name for method in self.methods.values() if suits(method))


def _scalable(method: Method) -> bool:
    return method.source is not None and method.source.scalable


def check_training(config: TrainConfig | SearchConfig, section: str) -> None:
    """Raise UserError for values no training can use."""
    check_settings(config, section)
    if config.warmup_epochs >= config.epochs:
        raise UserError(
            f"{section}.warmup_epochs = {config.warmup_epochs}: must be from 0 to epochs - 1; {section}.epochs is "
            f"{config.epochs}"
        )
    check_optimizer(config.optimizer, name=f"{section}.optimizer")
    if config.amp == "fp16" and not torch.cuda.is_available():
        raise UserError(f"{section}.amp = 'fp16': needs a CUDA device for its loss scaling; use 'bf16' or None")


def method_of(config: SearchConfig) -> Method:
    """The method that `config` names; UserError for an unknown one."""
    return config.methods.named(config.method.get("type"), "search.method.type")


def penalty_of(config: SearchConfig) -> PenaltyType:
    """The penalty that `config` names; UserError for an unknown one."""
    return config.penalties.named(config.penalty, "search.penalty")


def make_method(config: SearchConfig) -> Any:
    """The parameters of `config.method`; UserError for one the method does not have, and for wrong values."""
    values = {key: value for key, value in config.method.items() if key != "type"}
    settings = method_of(config).settings_of(values)
    for key, value in values.items():
        if isinstance(value, float):
            Range(at_least=-MOST_ARGUMENT, at_most=MOST_ARGUMENT).check(f"search.method.{key}", value, whole=False)
    return settings


def make_schedule(config: TrainConfig | SearchConfig) -> list[dict[str, Any]]:
    """MMEngine parameter schedulers for `config`: linear warm-up, then cosine or step decay."""
    start, epochs = config.warmup_epochs, config.epochs
    schedule: list[dict[str, Any]] = []
    if start:
        warm = {"type": "LinearLR", "start_factor": 1e-3, "begin": 0, "end": start}
        schedule.append({**warm, "by_epoch": True, "convert_to_iter_based": True})
    if config.schedule == "step":
        milestones = sorted({max(1, epochs // 2), max(1, epochs * 3 // 4)})
        return [*schedule, {"type": "MultiStepLR", "milestones": milestones, "gamma": 0.1, "by_epoch": True}]
    cosine = {"type": "CosineAnnealingLR", "T_max": epochs - start, "eta_min": 0.0, "begin": start, "end": epochs}
    return [*schedule, {**cosine, "by_epoch": True, "convert_to_iter_based": True}]


def pretrained_factor(config: BaselineConfig) -> float:
    """The rate of a checkpoint's weights over that of a fresh classifier, as set, or as is usual."""
    if config.pretrained_lr_factor is not None:
        return config.pretrained_lr_factor
    rate = rate_of(config.optimizer) if config.optimizer["type"] == "SGD" else USUAL_RATE
    return 1.0 if rate <= USUAL_RATE else max(0.1, USUAL_RATE / rate)


def amp_dtype(amp: str | None) -> torch.dtype | None:
    """The autocast type that a recipe's `amp` names."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}[amp] if amp else None
