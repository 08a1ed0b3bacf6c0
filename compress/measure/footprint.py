"""What one training step takes, counted without taking it: bytes that are alive at once, and FLOPs.

The step that training takes (of `engine`) is run on PyTorch's meta device, where tensors have shapes and no values.
Every storage that comes to life is counted until it dies, so the peak is that of PyTorch's allocator: weights, feature
maps kept for the backward pass, gradients, what optimisers remember, and what operators put between. Memory that
libraries take for themselves (oneDNN's and cuDNN's workspaces, CUDA's context) is no tensor and is not in it. FLOPs are
those of PyTorch's counter: two are one MAC.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..engine.optimisers import make_optimizer
from ..engine.searchers import SearchModel
from ..engine.settings import DistillConfig, SearchConfig, TrainConfig, penalty_of
from ..engine.training import Classifier, optim_wrapper
from ..spaces import Space
from .fused import Fused

META = torch.device("meta")


@dataclass(frozen=True)
class Footprint:
    """Bytes and FLOPs of a training step on one process.

    Args:
        weights: of all weight sets and scores, their buffers included.
        gradients: of as many parameters as learn.
        states: what optimisers remember from step to step.
        activations: feature maps that one forward pass keeps for its backward pass, each storage once.
        peak: most that is alive at once: less than the sum where gradients come while feature maps go, more where
            operators need room between.
        flops: of the step.
        forward: FLOPs of one forward pass of the batch.
    """

    weights: int
    gradients: int
    states: int
    activations: int
    peak: int
    flops: int
    forward: int


class Counter(TorchDispatchMode):
    """Bytes of all storages that live, their `peak`, and the `flops` of what is run inside."""

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.alive: dict[object, int] = {}
        self.seen: set[int] = set()
        self.bytes = self.peak = self.flops = 0
        for tensor in tensors:
            self.see(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and count it and what it makes."""
        from torch.utils.flop_counter import flop_registry

        kwargs = kwargs or {}
        # A step that asks for values goes on as with any.
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0
        if func is torch.ops.aten._to_copy.default and args[0].is_meta and kwargs.get("device", META) != META:
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=kwargs["device"])
        out = func(*args, **kwargs)
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **kwargs, out_val=out)
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self.see(value)
        return out

    def see(self, tensor: Tensor) -> None:
        """Count the storage of `tensor` from now on until it dies."""
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place in self.seen:
            return
        self.seen.add(place)
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._gone, place, storage.nbytes())

    def _gone(self, place: int, size: int) -> None:
        self.seen.discard(place)
        self.bytes -= size


def training_footprint(
    space: Space,
    config: TrainConfig,
    *,
    input_size: tuple[int, int, int],
    distill: DistillConfig | None = None,
) -> Footprint:
    """Of a step of ordinary training of the unpruned network of `space`, as `engine.training` takes it.

    Args:
        space: of the network.
        config: batch size and optimiser are read.
        input_size: (C, H, W) of an image.
        distill: the unpruned network is the teacher; None: there is none.

    Example::

        training_footprint(space, TrainConfig(epochs=1, batch_size=32), input_size=size).peak / 2**20  # MiB
    """
    network, teacher = on_meta(space), None if distill is None else on_meta(space)
    model = Classifier(network, label_smoothing=config.label_smoothing, teacher=teacher, distill=distill)
    model = model.to(META).train()  # MMEngine's base model moves a batch to where it was moved itself
    optimizer = make_optimizer(config.optimizer, model.parameters(), name="train.optimizer")
    wrapper = optim_wrapper(optimizer, replace(config, accumulate=1, amp=None))
    images, labels = batch_of(config.batch_size, input_size)
    held = [] if teacher is None else list(state_of(teacher))
    return _counted(
        model,
        network,
        lambda: model.train_step({"inputs": images, "labels": labels}, wrapper),
        [wrapper.optimizer],
        images=images,
        held=[*held, images, labels],
    )


def search_footprint(space: Space, config: SearchConfig, *, input_size: tuple[int, int, int]) -> Footprint:
    """Of an iteration of the search that `config` describes, from a network of `space`: of both halves where it halves.

    A latency penalty is counted as l1. Where a batch is divided (`accumulate`), its parts are counted one by one, with
    one more forward pass.

    Args:
        space: of the network.
        config: of a search with steps; a method that only scores has none.
        input_size: (C, H, W) of an image.

    Example::

        search_footprint(space, config, input_size=size).flops
    """
    parts = config.accumulate
    config = replace(config, accumulate=1, batch_size=config.batch_size // parts, amp=None)
    if penalty_of(config).table:
        config = replace(config, penalty="subgradient", latency_table=None, latency_tau=None)
    network = on_meta(space)
    with META:
        model = SearchModel(network, space, config, input_size=input_size).train()
        model.sum_of_steps = torch.zeros((), dtype=torch.float64, device="cpu")  # autocast knows of no meta device
        optimizers = model.optimizers()
    del network
    halves = [batch_of(config.batch_size, input_size) for _ in range(2 if model.method.halves else 1)]
    data = dict(zip("pa", halves, strict=True)) if model.method.halves else halves[0]
    found = _counted(
        model,
        model.watched(),
        lambda: model.train_step(data, optimizers),
        [wrapper.optimizer for wrapper in optimizers.values()],
        images=halves[0][0],
        held=[tensor for half in halves for tensor in half] * parts,
    )
    once_more = found.flops // 3 if parts > 1 else 0
    return replace(found, flops=parts * (found.flops + once_more), forward=parts * found.forward)


def on_meta(space: Space) -> nn.Module:
    """A network of `space` without values."""
    return space.build().to(META)


def state_of(network: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers."""
    yield from network.parameters()
    yield from network.buffers()


def batch_of(size: int, input_size: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Images and labels without values."""
    return torch.empty(size, *input_size, device=META), torch.empty(size, dtype=torch.int64, device=META)


def _counted(
    model: nn.Module,
    network: nn.Module,
    step: Callable[[], Any],
    optimizers: Iterable[Optimizer],
    *,
    images: Tensor,
    held: Iterable[Tensor],
) -> Footprint:
    """The footprint of `step`, which trains `model`.

    Args:
        model: its parameters are the weights.
        network: whose forward pass of `images` is counted.
        step: one step.
        optimizers: of the step; they get what they remember first.
        images: of one batch.
        held: what lives throughout beside the model.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = bytes_of(state_of(model))
    with counting([*state_of(model), *held]) as counter:
        before = counter.bytes
        for optimizer in optimizers:
            _fill(optimizer)
        states = counter.bytes - before
        counter.peak = counter.bytes
        step()
        flops, peak = counter.flops, counter.peak
    saved: dict[int, Tensor] = {}
    own = {tensor.untyped_storage()._cdata for tensor in (*state_of(model), images)}
    with counting([]) as counter, saved_tensors_hooks(lambda tensor: _keep(saved, tensor), lambda tensor: tensor):
        output = network(images)
    kept = bytes_of(tensor for place, tensor in saved.items() if place not in own)
    del output
    return Footprint(weights, bytes_of(trained), states, kept, peak, flops, counter.flops)


def _fill(optimizer: Optimizer) -> None:
    """Let `optimizer` make what it remembers from step to step."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    optimizer.zero_grad()


@contextmanager
def counting(tensors: Iterable[Tensor]) -> Iterator[Counter]:
    """Count what is run inside, on the meta device, while `tensors` live."""
    with META, Fused() as fused, Counter(tensors) as counter:
        fused.counter = counter
        yield counter


def _keep(saved: dict[int, Tensor], tensor: Tensor) -> Tensor:
    saved.setdefault(tensor.untyped_storage()._cdata, tensor)
    return tensor


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Of the storages of `tensors`, each once."""
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
