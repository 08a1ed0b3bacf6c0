"""What a recipe's runs will take, told before anything is started: memory of a process, hours of a stage, disk.

Memory and FLOPs of a step are counted on shapes (`measure.footprint`); hours are FLOPs over a rate, that of the device
as it is measured here, or as it is given. What processes tell each other is not in them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from mmengine.device import get_device
from torch import nn

from ..costs import count_macs
from ..engine.data import DataConfig
from ..engine.optimisers import make_optimizer
from ..engine.settings import SearchConfig, TrainConfig, method_of
from ..engine.sizes import DataSize, data_size
from ..engine.training import Classifier, optim_wrapper
from ..engine.transforms import sides_of
from ..measure import device_name
from ..measure.footprint import Footprint, bytes_of, search_footprint, state_of, training_footprint
from ..plan import UserError
from ..spaces import Space
from .checks import check_single
from .images import space_of
from .recipe import Recipe

STEPS = 3
"""That are timed for the device's rate, after one more."""
SMALL_BATCH = 8
"""Images of a step that is timed on a processor."""


@dataclass(frozen=True)
class StageEstimate:
    """One stage of a run.

    Args:
        name: of the stage.
        steps: that each process takes.
        flops: of one process, evaluations included.
        hours: at the rate.
        footprint: of one step; None: the stage trains nothing.
    """

    name: str
    steps: int
    flops: float
    hours: float
    footprint: Footprint | None


@dataclass(frozen=True)
class Estimate:
    """What the runs of a recipe take.

    Args:
        stages: training of the unpruned network, the search, fine-tuning.
        data: numbers of images.
        processes: that share the work.
        tflops: that each computes in a second, in 10^12.
        measured: what the rate was measured on; None: it was given.
        buckets: bytes that several processes add for the exchange of gradients.
        disk: run -> bytes of its folder, at most.
    """

    stages: tuple[StageEstimate, ...]
    data: DataSize
    processes: int
    tflops: float
    measured: str | None
    buckets: int
    disk: dict[str, int]


def estimate(
    recipe: Recipe, *, processes: int = 1, tflops: float | None = None, size: DataSize | None = None
) -> Estimate:
    """Estimate the runs of `recipe`; nothing is trained, and of the data names and labels are read at most.

    Fine-tuning is counted for the unpruned network, so the pruned one takes less.

    Args:
        recipe: of a classifier.
        processes: as many as train, each with the recipe's batch size.
        tflops: what each computes in a second, in 10^12 FLOPs; None: some steps are timed on this device.
        size: numbers of images; None: those of the recipe's data.

    Raises:
        UserError: the data are absent, the recipe is a detector's, or batches are larger than a process's share.

    Example::

        found = estimate(recipe, tflops=1.0)
        found.stages[1].hours, found.stages[1].footprint.peak
    """
    if not isinstance(recipe.data, DataConfig):
        rule = "a detector's steps depend on the objects in its images, which are not read here"
        raise UserError(rule, argument="space.type", value=recipe.space["type"], remedy="time a short run of it")
    size = size or _size(recipe)
    input_size = (recipe.data.channels or 3, *sides_of(recipe.data.input_size))
    space = space_of(recipe, size.classes, input_size)
    network = space.build()
    train, tune, method = recipe.train, recipe.finetune, method_of(recipe.search)
    counts = _counts(recipe, size, processes)  # first: what does not fit is refused at once
    _check_steps(recipe, space, input_size)
    steps = {
        "train": training_footprint(space, train, input_size=input_size),
        "search": None if method.step is None else search_footprint(space, recipe.search, input_size=input_size),
        "finetune": training_footprint(space, tune, input_size=input_size, distill=tune.distill),
    }
    measured = None
    if tflops is None:
        tflops, measured = _rate(network, train, input_size)
    forward = 2 * count_macs(network, input_size)
    stages = []
    for name, footprint in steps.items():
        config = getattr(recipe, name)
        evaluated = forward * (size.judged + size.watched * config.epochs) / processes
        flops = evaluated + (counts[name] * footprint.flops if footprint is not None else 0)
        stages.append(StageEstimate(name, counts[name], flops, flops / (tflops * 1e12) / 3600, footprint))
    buckets = bytes_of(network.parameters()) if processes > 1 else 0
    disk = _disk(bytes_of(state_of(network)), *steps.values())
    return Estimate(tuple(stages), size, processes, tflops, measured, buckets, disk)


def _size(recipe: Recipe) -> DataSize:
    try:
        return data_size(recipe.data)
    except UserError as error:
        said = error.of("root").under("data").at("recipe")
        raise UserError(f"{said}; or give --train-images, --val-images and --classes") from None


def _counts(recipe: Recipe, size: DataSize, processes: int) -> dict[str, int]:
    """Steps of each stage; a search without steps has none."""
    method, counts = method_of(recipe.search), {"search": 0}
    for name in ("train", "search", "finetune"):
        config, searches = getattr(recipe, name), name == "search"
        if not searches or method.step is not None:
            counts[name] = config.epochs * _steps(name, config, size, processes, halves=searches and method.halves)
    return counts


def _check_steps(recipe: Recipe, space: Space, input_size: tuple[int, int, int]) -> None:
    """UserError where a BatchNorm of the network could not make a step of one image, as one process counts it."""
    for name in ("train", "search", "finetune"):
        config = getattr(recipe, name)
        check_single(name, config, space, input_size=input_size, batch_size=config.batch_size, processes=1)


def _steps(section: str, config: TrainConfig | SearchConfig, size: DataSize, processes: int, *, halves: bool) -> int:
    """Of an epoch on each process; UserError where no batch is full."""
    own = size.train // (2 if halves else 1) // processes
    if own < config.batch_size:
        rule = f"more than the {own} images{' of each half' if halves else ''} of a process, so no batch is full"
        raise UserError(rule, argument=f"{section}.batch_size", value=config.batch_size, remedy="lower it").at("recipe")
    return own // config.batch_size


def _rate(network: nn.Module, config: TrainConfig, input_size: tuple[int, int, int]) -> tuple[float, str]:
    """10^12 FLOPs a second in ordinary training steps of `network` on this device, and what the device is."""
    device = torch.device(get_device())
    on_cpu = device.type == "cpu"
    model = Classifier(network, bf16=config.amp == "bf16").to(device).train()
    wrapper = optim_wrapper(make_optimizer(config.optimizer, model.parameters(), name="train.optimizer"), config)
    size = min(config.batch_size, SMALL_BATCH) if on_cpu else config.batch_size
    batch = {"inputs": torch.randn(size, *input_size), "labels": torch.zeros(size, dtype=torch.int64)}
    seconds = []
    for _ in range(1 + STEPS):
        started = time.perf_counter()
        model.train_step(batch, wrapper)
        if not on_cpu:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    network.cpu()
    flops = 3 * 2 * count_macs(network, input_size) * size
    where = f"{device_name()}, {torch.get_num_threads()} threads" if on_cpu else torch.cuda.get_device_name(device)
    return flops / min(seconds[1:]) / 1e12, where


def _disk(weights: int, train: Footprint | None, search: Footprint | None, tune: Footprint | None) -> dict[str, int]:
    """Bytes of the folders of `train` and `prune`: networks, ONNX files, states; one state is there twice for moments.

    Pruned networks are counted whole.
    """
    state = {name: 0 if each is None else each.weights + each.states for name, each in
             (("train", train), ("search", search), ("finetune", tune))}  # fmt: skip
    networks = 6  # baseline, searched, sliced, model, and two ONNX files
    pruned = networks * weights + state["search"] + state["finetune"] + max(state["search"], state["finetune"])
    return {"train": weights + 2 * state["train"], "prune": pruned}
