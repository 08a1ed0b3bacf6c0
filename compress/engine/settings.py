"""Typed settings of training and search, as they stand in a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from ..penalties.latency import TAU
from ..plan import UserError, check_number
from ..search import METHODS, Taylor

GATED_METHODS = ("rarts", "darts1", "darts2", "milenas1", "joint")
"""Methods whose scores are gates and nothing else."""

Amp = Literal["bf16", "fp16"] | None


@dataclass(frozen=True)
class TrainConfig:
    """Ordinary training. `optimizer` is an MMEngine optimiser dict (type and its arguments).

    `schedule`: `cosine` decays every iteration to 0; `step` divides the rate by 10 at half and three quarters of the
    epochs (NetSlim). `amp`: autocast type, None for float32.
    """

    epochs: int
    batch_size: int = 64
    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"type": "SGD", "lr": 0.1, "momentum": 0.9})
    schedule: Literal["cosine", "step"] = "cosine"
    warmup_epochs: int = 0
    label_smoothing: float = 0.0
    amp: Amp = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        check_training(self, "train")


@dataclass(frozen=True)
class DistillConfig:
    """Distillation from the unpruned network: loss = cross entropy + weight * KL(teacher/T || student/T).

    The thesis and TAS add the term with weight 1 at T = 4; weight T^2 keeps its gradients' size (arXiv 1503.02531).
    """

    temperature: float = 4.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.weight < 0:
            raise UserError(
                f"finetune.distill: temperature = {self.temperature}, weight = {self.weight}: "
                "the temperature must be positive and the weight not negative"
            )


@dataclass(frozen=True)
class FinetuneConfig(TrainConfig):
    """Training of the sliced network; `distill` None for cross entropy alone."""

    distill: DistillConfig | None = None

    def __post_init__(self) -> None:
        check_training(self, "finetune")


@dataclass(frozen=True)
class SearchConfig:
    """The search. `method` is {"type": name, its parameters}; `alpha_optimizer` acts on the scores alone.

    `gamma` weighs the penalty. `penalty`: l1, as a `subgradient` or a `proximal` step, or `latency`: the ratio to the
    unpruned network's latency, which the table of the file `latency_table` (tools/profile_latency.py) predicts for soft
    widths; a score of size `latency_tau` (0.4 unless given) counts as half a channel. That ratio is one number for all
    channels: to pull as hard as l1 on average, its gamma must be larger, some four to eight times their number.
    `taylor` with a `latency_weight` reads the same table, without a penalty.

    `fixed_scale` brings the gates of every group to root mean square 1 after each step. Their common scale is free (a
    BatchNorm or the reader's weights take it up), and a penalty would otherwise shrink it instead of choosing among
    channels. A latency penalty then acts on the scores' sizes within a group: costly groups become uneven first.
    `accumulate` divides every batch into as many parts, whose feature maps are in memory one after the other: the
    gradients are those of the whole batch (but for a BatchNorm's statistics), for one more forward pass.
    `weights` names the weights that go on to slicing: `u`, `w` or their `average` (rarts only). Both optimisers follow
    the one schedule.
    """

    epochs: int
    method: Mapping[str, Any] = field(default_factory=lambda: {"type": "rarts"})
    batch_size: int = 64
    gamma: float = 1e-4
    penalty: Literal["subgradient", "proximal", "latency"] = "subgradient"
    latency_table: str | None = None
    latency_tau: float | None = None
    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"type": "SGD", "lr": 0.1, "momentum": 0.9})
    alpha_optimizer: Mapping[str, Any] = field(default_factory=lambda: {"type": "SGD", "lr": 0.1, "momentum": 0.9})
    schedule: Literal["cosine", "step"] = "cosine"
    warmup_epochs: int = 0
    fixed_scale: bool = False
    weights: Literal["u", "w", "average"] = "average"
    label_smoothing: float = 0.0
    amp: Literal["bf16"] | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        check_training(self, "search")
        if self.gamma < 0:
            raise UserError(f"search.gamma = {self.gamma}: must not be negative")
        _one_of("search.penalty", self.penalty, ("subgradient", "proximal", "latency"))
        _one_of("search.weights", self.weights, ("u", "w", "average"))
        _one_of("search.method.type", self.method.get("type"), tuple(METHODS))
        self._settle_latency(make_method(self))
        if self.batch_size % self.accumulate:
            raise UserError(
                f"search.accumulate = {self.accumulate}: must divide search.batch_size = {self.batch_size}; change one"
            )
        if self.fixed_scale and self.method["type"] not in GATED_METHODS:
            raise UserError(
                f"search.fixed_scale = True: {self.method['type']} has no gates to scale; set it to False, or "
                f"use one of {', '.join(GATED_METHODS)}"
            )
        make_optimizer(self.alpha_optimizer, [nn.Parameter(torch.zeros(1))], name="search.alpha_optimizer")
        if self.amp == "fp16":
            raise UserError("search.amp = 'fp16': the search takes gradients itself, without loss scaling; use 'bf16'")

    def _settle_latency(self, method: Any) -> None:
        """Fill in tau; UserError for settings of latency that are missing, useless or for other methods."""
        penalised = self.penalty == "latency"
        weighed = isinstance(method, Taylor) and method.latency_weight > 0
        if penalised and self.method["type"] not in GATED_METHODS:
            raise UserError(
                f"search.penalty = 'latency': {self.method['type']} has no gates to count as channels; use one of "
                f"{', '.join(GATED_METHODS)}, or another penalty"
            )
        if (penalised or weighed) and not self.latency_table:
            reader = "search.penalty = 'latency'" if penalised else "search.method.latency_weight above 0"
            raise UserError(
                f"search.latency_table = {self.latency_table!r}: {reader} needs a table; give the file that "
                "tools/profile_latency.py wrote for this recipe"
            )
        useless = f"has no use with search.penalty = {self.penalty!r}; set that to 'latency', or leave this away"
        if self.latency_tau is not None and not penalised:
            raise UserError(f"search.latency_tau = {self.latency_tau!r}: {useless}")
        if self.latency_table is not None and not (penalised or weighed):
            if isinstance(method, Taylor):
                useless = "has no use with search.method.latency_weight = 0; set that above 0, or leave this away"
            raise UserError(f"search.latency_table = {self.latency_table!r}: {useless}")
        if penalised:
            if self.latency_tau is None:
                object.__setattr__(self, "latency_tau", TAU)  # so that a run's record says it
            check_number("search.latency_tau", self.latency_tau, above=0)


def check_training(config: TrainConfig | SearchConfig, section: str) -> None:
    """Raise UserError for values no training can use."""
    for name in ("epochs", "batch_size", "accumulate"):
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{section}.{name} = {value!r}: must be a whole number of at least 1")
    if not 0 <= config.warmup_epochs < config.epochs:
        raise UserError(f"{section}.warmup_epochs = {config.warmup_epochs}: must be from 0 to epochs - 1")
    make_optimizer(config.optimizer, [nn.Parameter(torch.zeros(1))], name=f"{section}.optimizer")
    if not 0 <= config.label_smoothing <= 1:
        raise UserError(f"{section}.label_smoothing = {config.label_smoothing}: must be from 0 to 1; 0.1 is usual")
    _one_of(f"{section}.schedule", config.schedule, ("cosine", "step"))
    _one_of(f"{section}.amp", config.amp, (None, "bf16", "fp16"))
    if config.amp == "fp16" and not torch.cuda.is_available():
        raise UserError(f"{section}.amp = 'fp16': needs a CUDA device for its loss scaling; use 'bf16' or None")


def make_method(config: SearchConfig) -> Any:
    """The parameters of `config.method`; UserError for one the method does not have."""
    kwargs = dict(config.method)
    kind = kwargs.pop("type")
    known = {f.name for f in fields(METHODS[kind].settings)}
    if unknown := sorted(kwargs.keys() - known):
        raise UserError(f"search.method.{unknown[0]}: {kind} has no such parameter; it has {sorted(known) or 'none'}")
    return METHODS[kind].settings(**kwargs)


def make_optimizer(settings: Mapping[str, Any], parameters: Iterable[Any], *, name: str) -> Optimizer:
    """The optimiser that `settings` (type, lr, ...) describe, of `parameters` or groups of them, as PyTorch takes them.

    Raises UserError for an unknown type or argument.
    """
    from mmengine.optim import OPTIMIZERS  # with the optimisers of torch registered

    kwargs = dict(settings)
    kind = kwargs.pop("type", None)
    make = OPTIMIZERS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise UserError(f"{name}.type = {kind!r}: no such optimiser; use 'SGD', 'Adam' or another of torch.optim")
    try:
        return make(list(parameters), **kwargs)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {error}; correct the optimiser's arguments") from None


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


def amp_dtype(amp: str | None) -> torch.dtype | None:
    """The autocast type that a recipe's `amp` names."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}[amp] if amp else None


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name} = {value!r}: must be one of {', '.join(map(repr, allowed))}")
