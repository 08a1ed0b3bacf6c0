"""A pruned network timed against the unpruned one before it is trained: weights do not matter for the time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..export.onnx_file import onnx_graph
from ..plan import scratch
from ..spaces import Space
from .backends import Backend, Network
from .graphs import layers_in
from .latency import MeasureConfig
from .owners import name_by_owner
from .plan_timer import NAMES, PlanTimer
from .timing import summarise_ratio

MOST_REPEATS, MOST_WARMUP = 30, 0.1
"""Samples of each network, and seconds in which it is run before: enough to tell faster from slower."""


@dataclass
class Pair:
    """Two networks as a backend takes them, which `PlanTimer` times on `images`."""

    unpruned: Network
    pruned: Network
    images: torch.Tensor

    def at(self, plan: Any) -> Network:
        """The pruned one, whatever `plan` is."""
        return self.pruned


def sliced_ratio(
    before: tuple[nn.Module, Space],
    after: tuple[nn.Module, Space],
    *,
    input_size: tuple[int, int, int],
    backend: Backend,
    config: MeasureConfig,
) -> dict[str, float]:
    """Latency of the network `after` over that of `before`: median, p10 and p90 of neighbouring calls.

    Three pairs of sessions, because where a session's memory lies makes it up to 2 % faster or slower.

    Args:
        before, after: each with its space, on the CPU.
        input_size: (C, H, W).
        backend: what runs them.
        config: threads, images of a call, and how samples are taken; at most MOST_REPEATS of them.

    Example::

        config = MeasureConfig(repeats=6, warmup_seconds=0.01)
        pair = (network, space), (small, small_space)
        sliced_ratio(*pair, input_size=size, backend=backend, config=config)["median"]  # 0.6
    """
    images = torch.randn(config.batch, *input_size, generator=torch.Generator().manual_seed(1))
    with scratch("sliced") as folder:
        unpruned, pruned = (
            network_of(network, space, input_size, backend, folder / f"{i}.onnx")
            for i, (network, space) in enumerate((before, after))
        )
        turns = PlanTimer(Pair(unpruned, pruned, images), backend, threads=config.threads).turns(
            None,
            repeats=min(config.repeats, MOST_REPEATS),
            inner=config.inner,
            min_sample_ms=config.min_sample_ms,
            warmup_seconds=min(config.warmup_seconds, MOST_WARMUP),
        )
    samples = {name: [sample for turn in turns for sample in turn[name]] for name in NAMES}
    return summarise_ratio(*(samples[name] for name in NAMES))


def network_of(
    network: nn.Module, space: Space, input_size: tuple[int, int, int], backend: Backend, file: Path
) -> Network:
    """What of `network` is timed, in the form that `backend` takes: where that is an ONNX file, it is `file`.

    Its nodes are named after the operators of `space`, so that the backend can tell their times.

    Args:
        network: on the CPU.
        space: the network's.
        input_size: (C, H, W).
        backend: what runs it.
        file: is written where the backend takes files.
    """
    timed = space.timed(network.eval(), input_size)
    if backend.takes == "module":
        return timed
    proto, modules = onnx_graph(timed, input_size=input_size, batch=space.timed_batch)
    graph = proto.graph
    if not any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        # Graphs within nodes would go on calling tensors by their old names: those networks are timed as one.
        name_by_owner(graph, layers_in(graph, modules, timed, {op.name for op in space.operators(input_size)}))
    file.write_bytes(proto.SerializeToString())
    return file
