"""Typed settings of training and search, as they stand in a recipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from ..penalties import PENALTIES, PenaltyType
from ..plan import Count, Range, Registry, UserError, brief, check_settings
from ..plan.errors import FAULTS
from ..search import DEFAULT, METHODS, Method

Amp = Literal["bf16", "fp16"] | None
Epochs = Annotated[int, Range(at_least=1, at_most=1_000_000)]
Warmup = Annotated[int, Range(at_least=0)]
Smoothing = Annotated[float, Range(at_least=0, at_most=1, remedy="0.1 is usual")]

MOST_RATE, MOST_ARGUMENT = 1e4, 1e9
"""Of an optimiser's lr, and of its and a method's other numbers: larger ones make any network infinite at once."""


@dataclass(frozen=True)
class TrainConfig:
    """Ordinary training. `optimizer` is an MMEngine optimiser dict (type and its arguments).

    `schedule`: `cosine` decays every iteration to 0; `step` divides the rate by 10 at half and three quarters of the
    epochs (NetSlim). `amp`: autocast type, None for float32. `clip_norm`: gradients of a larger norm are scaled down to
    it; None: none are.
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

    def __post_init__(self) -> None:
        check_training(self, "train")


@dataclass(frozen=True)
class DistillConfig:
    """Distillation from the unpruned network: loss = cross entropy + weight * KL(teacher/T || student/T).

    The thesis and TAS add the term with weight 1 at T = 4; weight T^2 keeps its gradients' size (arXiv 1503.02531).
    """

    temperature: Annotated[float, Range(at_least=1e-3, at_most=1e6, remedy="4 is usual")] = 4.0
    weight: Annotated[float, Range(at_least=0, at_most=1e6, remedy="1 is usual")] = 1.0

    def __post_init__(self) -> None:
        check_settings(self, "finetune.distill")


@dataclass(frozen=True)
class FinetuneConfig(TrainConfig):
    """Training of the sliced network; `distill` None for cross entropy alone.

    `between`: epochs after every round but the last, where a network is pruned in several; None: a tenth of `epochs`.
    """

    distill: DistillConfig | None = None
    between: Epochs | None = None

    def __post_init__(self) -> None:
        check_training(self, "finetune")


@dataclass(frozen=True)
class SearchConfig:
    """The search. `method` is {"type": name, its parameters}; `alpha_optimizer` acts on the scores alone.

    `gamma` weighs the `penalty` out of PENALTIES: l1, as a `subgradient` or a `proximal` step, or `latency`: the ratio
    to the unpruned network's latency, which the table of the file `latency_table` (`nncompress profile`) predicts
    for soft widths; a score of size `latency_tau` (0.4 unless given) counts as half a channel. That ratio is one number
    for all channels: to pull as hard as l1 on average, its gamma must be larger, some four to eight times their number.
    `taylor` with a `latency_weight` reads the same table, without a penalty.

    `fixed_scale` brings the gates of every group to root mean square 1 after each step. Their common scale is free (a
    BatchNorm or the reader's weights take it up), and a penalty would otherwise shrink it instead of choosing among
    channels. A latency penalty then acts on the scores' sizes within a group: costly groups become uneven first.
    `accumulate` divides every batch into as many parts, whose feature maps are in memory one after the other: the
    gradients are those of the whole batch (but for a BatchNorm's statistics), for one more forward pass.
    `weights` names the weights that go on to slicing: `u`, `w` or their `average` (rarts only). Both optimisers follow
    the one schedule.
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


def registered(registry: Any, kind: Any, *, name: str, example: str) -> Any:
    """What `registry`, one of MMEngine's, lists as `kind`; a dotted name, which it would import, is in no list.

    Raises UserError, naming `name` and an `example`, for anything else.
    """
    found = None
    while found is None and registry is not None:
        registry.import_from_location()  # the package's own modules
        found = registry.module_dict.get(kind) if isinstance(kind, str) else None
        registry = registry.parent
    if found is None:
        raise UserError(f"{name} = {brief(kind)}: no such type; use {example}, or another that is registered")
    return found


def make_optimizer(settings: Mapping[str, Any], parameters: Iterable[Any], *, name: str) -> Optimizer:
    """The optimiser that `settings` (type, lr, ...) describe, of `parameters` or groups of them, as PyTorch takes them.

    Raises UserError for an unknown type or argument, and for numbers that no training survives.
    """
    from mmengine.optim import OPTIMIZERS  # with the optimisers of torch registered

    kwargs = dict(settings)
    make = registered(OPTIMIZERS, kwargs.pop("type", None), name=f"{name}.type", example="'SGD', 'Adam', 'AdamW'")
    known = inspect.signature(make).parameters
    for key, value in kwargs.items():
        _check_argument(f"{name}.{key}", value, known[key].default if key in known else None, lr=key == "lr")
    try:
        return make(list(parameters), **kwargs)
    except FAULTS as error:
        raise UserError(f"{name}: {' '.join(str(error).split())[:300]}; correct the optimiser's arguments") from None


def _check_argument(name: str, value: Any, default: Any, *, lr: bool) -> None:
    """UserError for an optimiser's argument of another kind than its `default`, or out of all bounds."""
    if isinstance(default, bool) and not isinstance(value, bool):
        raise UserError(f"{name} = {brief(value)}: must be True or False; choose one")
    if lr:
        Range(at_least=0, at_most=MOST_RATE, remedy="0.1 is usual for SGD").check(name, value, whole=False)
    elif isinstance(default, int | float) and not isinstance(default, bool) and value is not None:
        Range(at_least=-MOST_ARGUMENT, at_most=MOST_ARGUMENT).check(name, value, whole=False)
    elif isinstance(default, tuple):
        if not isinstance(value, list | tuple) or len(value) != len(default):
            raise UserError(f"{name} = {brief(value)}: must be a list of {len(default)} numbers, like {list(default)}")
        for i, item in enumerate(value):
            Range(at_least=-MOST_ARGUMENT, at_most=MOST_ARGUMENT).check(f"{name}[{i}]", item, whole=False)


def check_optimizer(settings: Mapping[str, Any], *, name: str) -> None:
    """Raise UserError unless `settings` make an optimiser that steps as training steps: without a closure, densely."""
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    optimizer = make_optimizer(settings, [parameter], name=name)
    try:
        optimizer.step()
    except FAULTS as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{name}: {settings['type']} cannot make a step as it is ({type(error).__name__}: {reason}); correct its "
            "arguments, or use 'SGD' or 'Adam'"
        ) from None


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
