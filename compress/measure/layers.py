"""Where the time goes inside a network and inside what was left of it: an engine's own times of their layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..plan import scratch
from ..plan.backends import BACKENDS
from ..spaces import Operator, Space
from .backends import LayerBackend
from .latency import MeasureConfig
from .owners import REST
from .profiling import Profiled, profiled_in_turn
from .regions import JOINT, components, members
from .sliced import network_of
from .timing import torch_threads

MOST_ROUNDS = 20
"""Turns that each network takes."""


def add_layers(
    latency: Mapping[str, Any],
    before: tuple[nn.Module, Space],
    after: tuple[nn.Module, Space],
    *,
    input_size: tuple[int, int, int],
    config: MeasureConfig,
) -> None:
    """Put `layers` into the entries of `latency` (latency.json) whose backends tell them, unless `config` forbids it.

    Args:
        latency: what `measure_latency` gave.
        before, after: each with its space, on the CPU.
        input_size: (C, H, W).
        config: threads, images of a call, and how many turns are taken; at most MOST_ROUNDS.

    Example::

        add_layers(latency, (big, space), (small, small_space), input_size=(3, 32, 32), config=MeasureConfig())
        latency["backends"]["onnxruntime"]["layers"][0]  # {"name": "conv1", "before": 0.1, "after": 0.05}
    """
    found = {name: BACKENDS.find(name) for name in latency["backends"]} if config.layers else {}
    layered = {name: each for name, each in found.items() if isinstance(each, LayerBackend) and each.by_layers}
    images = torch.randn(config.batch, *input_size, generator=torch.Generator().manual_seed(0))
    given: dict[str, list[Profiled]] = {}  # an export serves all backends that take files
    with scratch("layers") as folder, torch_threads(config.threads):
        for name, backend in layered.items():
            if backend.takes not in given:
                files = folder / "before.onnx", folder / "after.onnx"
                pairs = zip((before, after), files, strict=True)
                given[backend.takes] = [_profiled(*pair, input_size, backend, file) for pair, file in pairs]
            rounds = min(config.repeats, MOST_ROUNDS)
            own = profiled_in_turn(backend, given[backend.takes], images, threads=config.threads, rounds=rounds)
            operators = _united(*(space.operators(input_size) for _, space in (before, after)))
            if rows := rows_of(operators, *(part for part, _ in own)):
                latency["backends"][name]["layers"] = rows


def _profiled(
    network: nn.Module, space: Space, input_size: tuple[int, int, int], backend: LayerBackend, file: Path
) -> Profiled:
    taken = network_of(network, space, input_size, backend, file)
    return Profiled(taken, space, frozenset(op.name for op in space.operators(input_size)))


def rows_of(
    operators: Sequence[Operator], before: Mapping[str, float], after: Mapping[str, float]
) -> list[dict[str, Any]]:
    """[{"name", "before", "after"}] in forward order, from {region: time} of both networks in any unit.

    Figures are shares of all the time that the layers of `before` take. Operators that one of the networks runs as one
    layer are one row, named by all of them; what belongs to no operator is the last. A layer that takes less than an
    engine's counter can tell has a row of zeros.

    Example::

        rows_of(space.operators(size), {"conv1": 3.0, "rest": 1.0}, {"conv1": 2.0})[0]  # 0.75 before, 0.5 after
    """
    total, known = sum(before.values()) or 1.0, {op.name for op in operators}
    found = [
        (JOINT.join(op.name for op in block.operators), block.regions)
        for block in components(operators, [before, after])
        if block.regions
    ]
    if others := tuple(name for name in {**before, **after} if known.isdisjoint(members(name))):
        found.append((REST, others))
    return [
        {"name": name, **{side: _sum(part, regions) / total for side, part in (("before", before), ("after", after))}}
        for name, regions in found
    ]


def _sum(part: Mapping[str, float], regions: Iterable[str]) -> float:
    return sum(part.get(name, 0.0) for name in regions)


def _united(before: Sequence[Operator], after: Sequence[Operator]) -> list[Operator]:
    """The operators of both networks, those of the first in its order."""
    known = {op.name for op in before}
    return [*before, *(op for op in after if op.name not in known)]
