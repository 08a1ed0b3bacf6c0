"""A detector's own loss as an objective of search and training, with the optimiser settings of its config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import Tensor, nn

from ..engine.optimisers import make_optimizer, registered
from ..engine.settings import SearchConfig, TrainConfig, make_schedule
from ..engine.training import Job, Prepared, optim_wrapper
from ..plan import UserError
from .data import CocoData, EpochLoader, halves
from .space import FAULTS, quiet

GROUP_SETTINGS = ("lr", "weight_decay")


class DetectionTask:
    """The sum of a detector's losses on the training images of `data`.

    Frozen stages stay frozen, because their parameters want no gradients; `paramwise_cfg`, `constructor` and
    `clip_grad` are those of the config's `optim_wrapper`, type and rates the recipe's.
    """

    def __init__(self, data: CocoData) -> None:
        self.data = data
        self.wrapper = data.config.get("optim_wrapper") or {}
        self.input_size: tuple[int, int, int] = (3, *data.settings.input_size)

    def loss(self, network: Any, batch: dict[str, Any], *, label_smoothing: float = 0.0) -> Tensor:
        """The sum of all losses of a batch {"inputs": [uint8 [3, H, W]], "data_samples": [...]}."""
        data = network.data_preprocessor(batch, training=True)
        return network.parse_losses(network(**data, mode="loss"))[0]

    def loader(self, batch_size: int, job: Job) -> EpochLoader:
        """This process's share of all training images."""
        return self._loader(batch_size, job, None)

    def halves(self, batch_size: int, job: Job) -> list[EpochLoader]:
        """Random halves of the training images, equally large."""
        return [self._loader(batch_size, job, half) for half in halves(len(self.data.train), job.seed)]

    def optimizer(
        self, settings: Mapping[str, Any], network: nn.Module, parameters: Sequence[nn.Parameter], *, name: str
    ) -> OptimWrapper:
        """An optimiser whose groups follow the config's `paramwise_cfg`."""
        return OptimWrapper(
            optimizer=self._grouped(settings, network, parameters, name), clip_grad=self.wrapper.get("clip_grad")
        )

    def training_optimizer(self, config: TrainConfig, network: nn.Module, *, name: str) -> OptimWrapper:
        """As `optimizer`, of everything that is trained, with the loss scaling and accumulation of `config`."""
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        grouped = self._grouped(config.optimizer, network, parameters, name)
        return optim_wrapper(grouped, config, clip_grad=self.wrapper.get("clip_grad"))

    def parts(self, batch: dict[str, Any], n: int) -> list[dict[str, Any]]:
        """The images and their samples in `n` parts."""
        size = len(batch["inputs"]) // n
        return [{key: values[i * size : (i + 1) * size] for key, values in batch.items()} for i in range(n)]

    def follows(self, config: TrainConfig | SearchConfig) -> bool:
        """Whether training by `config` follows the schedule of MMDetection's config."""
        return config.schedule == "step" and bool(self.data.config.get("param_scheduler"))

    def schedule(self, config: TrainConfig | SearchConfig) -> list[dict[str, Any]]:
        """`step`: the config's own schedule, its epochs scaled to the recipe's; else the recipe's cosine."""
        if not self.follows(config):
            return make_schedule(config)
        own = self.data.config.param_scheduler
        epochs = max([entry["end"] for entry in own if entry.get("by_epoch", True) and "end" in entry], default=None)
        if epochs is None:
            raise UserError("search.schedule = 'step': the config's param_scheduler has no end; use 'cosine'")
        for i, entry in enumerate(own):
            registered(
                PARAM_SCHEDULERS,
                entry.get("type"),
                name=f"space.config: param_scheduler[{i}].type",
                example="'LinearLR'",
            )
        return [scaled(dict(entry), config.epochs / epochs) for entry in own]

    def _loader(self, batch_size: int, job: Job, indices: Sequence[int] | None) -> EpochLoader:
        return EpochLoader(
            self.data.train,
            batch_size=batch_size,
            seed=job.seed,
            indices=indices,
            num_workers=job.num_workers,
            rank=get_rank(),
            world_size=get_world_size(),
        )

    def _grouped(
        self, settings: Mapping[str, Any], network: nn.Module, parameters: Sequence[nn.Parameter], name: str
    ) -> torch.optim.Optimizer:
        from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
        from mmengine.registry import DefaultScope

        paramwise = self.wrapper.get("paramwise_cfg")
        if not paramwise:
            return make_optimizer(settings, parameters, name=name)
        defaults = make_optimizer(settings, [nn.Parameter(torch.zeros(1))], name=name).defaults  # or the user's errors
        base = {key: defaults.get(key, 0.0) for key in GROUP_SETTINGS}  # what the factors multiply
        kind = self.wrapper.get("constructor", "DefaultOptimWrapperConstructor")
        make = registered(
            OPTIM_WRAPPER_CONSTRUCTORS,
            kind,
            name="space.config: optim_wrapper.constructor",
            example="'DefaultOptimWrapperConstructor'",
        )
        groups: list[dict[str, Any]] = []
        try:
            with DefaultScope.overwrite_default_scope("mmdet"), quiet():
                constructor = make(
                    {"type": "OptimWrapper", "optimizer": {**base, **settings}}, paramwise_cfg=dict(paramwise)
                )
                constructor.add_params(groups, network)
        except FAULTS as error:
            raise UserError(
                f"space.config: its optim_wrapper.constructor, {kind}, refuses this network ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}); leave it away, or correct paramwise_cfg"
            ) from None
        wanted = {id(parameter) for parameter in parameters}
        kept = [
            {
                "params": [parameter for parameter in group["params"] if id(parameter) in wanted],
                **{key: group[key] for key in GROUP_SETTINGS if key in group},
            }
            for group in groups
        ]
        return make_optimizer(settings, [group for group in kept if group["params"]], name=name)


def scaled(entry: dict[str, Any], factor: float) -> dict[str, Any]:
    """A parameter scheduler's entry whose epochs are multiplied by `factor`; iterations stay."""
    if not entry.get("by_epoch", True):
        return entry
    for key in ("begin", "end", "T_max"):
        if key in entry:
            entry[key] = round(entry[key] * factor)
    if "end" in entry:
        entry["end"] = max(entry.get("begin", 0) + 1, entry["end"])
    if "milestones" in entry:
        entry["milestones"] = sorted({max(1, round(epoch * factor)) for epoch in entry["milestones"]})
    return entry


class DetectorTraining(Prepared):
    """A detector with its losses, as MMEngine trains it."""

    def __init__(self, network: nn.Module, *, bf16: bool = False) -> None:
        super().__init__(data_preprocessor=network.data_preprocessor)
        self.network, self.bf16 = network, bf16

    def forward(self, inputs: Tensor, data_samples: Any, mode: str = "loss") -> dict[str, Tensor]:
        """The detector's losses of a preprocessed batch."""
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext():
            return self.network(inputs, data_samples, mode="loss")
