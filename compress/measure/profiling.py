"""What each operator costs inside a whole network: its calls in turn with those of the unpruned network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..spaces import Space
from .backends import Backend, LayerBackend, Network
from .latency import time_reference
from .networks import WidthNetworks
from .regions import check_regions

SAMPLE_MS = 2.0
"""A network's turn takes at least this long: caches are then as warm as when it runs alone."""

WARMUP_SECONDS = 0.2
"""A new session's first calls do not count: it takes them to settle."""


@dataclass(frozen=True)
class Profile:
    """One network's profile, in shares of the time of the unpruned network that was timed in turn with it.

    `widths` are those of all groups, `sizes` the unpruned network's. `operators`: {region: share} of this network, all
    nodes' time, where a region is an operator, or several that the engine runs as one (`regions`); `unpruned`: the same
    of the unpruned network, sum 1. `nodes`, `unpruned_nodes`: {region: number of nodes that the engine runs for it}.
    `ratio`: whole calls, without the profiler, over the unpruned network's, which take `unpruned_ms`. `reference_ms`:
    time of a fixed matrix product right before.
    """

    widths: Mapping[str, int]
    sizes: Mapping[str, int]
    operators: Mapping[str, float]
    unpruned: Mapping[str, float]
    nodes: Mapping[str, int]
    unpruned_nodes: Mapping[str, int]
    ratio: float
    unpruned_ms: float
    reference_ms: float


@dataclass(frozen=True)
class Timing:
    """One network's latency: whole calls over the unpruned network's, as in a `Profile`, and nothing else."""

    widths: Mapping[str, int]
    sizes: Mapping[str, int]
    ratio: float
    unpruned_ms: float
    reference_ms: float


class CallTimer:
    """Times whole calls of `networks` in `backend`, `rounds` times in turn with the unpruned one, on `threads` threads.

    Both are opened anew for every network, because where their memory lies makes them up to 2 % faster or slower.

    Example::

        CallTimer(backend, networks, threads=1, rounds=20).profile({"layer2.0.conv1": 24}).ratio  # 0.987
    """

    def __init__(self, backend: Backend, networks: WidthNetworks, *, threads: int, rounds: int) -> None:
        self.backend, self.networks, self.threads, self.rounds = backend, networks, threads, rounds

    def profile(self, widths: Mapping[str, int]) -> Timing | Profile:
        """Time the network at `widths`, {group: channels}."""
        reference_ms = time_reference()
        times = self._whole((self.networks.at(widths), self.networks.unpruned))
        return Timing({**self.networks.sizes, **widths}, self.networks.sizes, *times, reference_ms)

    def _whole(self, pair: Sequence[Network]) -> tuple[float, float]:
        """Whole calls of a network over those of the unpruned one, and milliseconds of these."""
        samples = self.backend.time(
            dict(zip(("sliced", "unpruned"), pair, strict=True)),
            self.networks.images,
            threads=self.threads,
            repeats=self.rounds,
            min_sample_ms=SAMPLE_MS,
        ).samples_ms
        return whole_calls(samples["sliced"], samples["unpruned"])


class Profiler(CallTimer):
    """Profiles `networks` in `backend`, on `threads` threads; `operators` are their space's, by name.

    A network takes `rounds` turns with the unpruned one while layers are timed, then as many in sessions that never
    told of layers: a profiler that has stopped still costs. What drifts more slowly than a round hits both alike. All
    sessions are new for every network, because where their memory lies makes them up to 2 % faster or slower.

    Example::

        profiler = Profiler(backend, networks, operators, threads=1, rounds=20)
        profiler.profile({"layer2.0.conv1": 24}).operators["layer2.0.conv1"]  # 0.013
    """

    def __init__(
        self, backend: LayerBackend, networks: WidthNetworks, operators: Sequence[str], *, threads: int, rounds: int
    ) -> None:
        super().__init__(backend, networks, threads=threads, rounds=rounds)
        self.layers, self.operators = backend, frozenset(operators)

    def profile(self, widths: Mapping[str, int]) -> Profile:
        """Profile the network at `widths`, {group: channels}; all others keep theirs."""
        reference_ms = time_reference()
        pair = self.networks.at(widths), self.networks.unpruned
        (own, full), (nodes, full_nodes) = self._layers(pair)
        total = sum(full.values())
        return Profile(
            {**self.networks.sizes, **widths},
            self.networks.sizes,
            {name: cost / total for name, cost in own.items()},
            {name: cost / total for name, cost in full.items()},
            nodes,
            full_nodes,
            *self._whole(pair),
            reference_ms,
        )

    def _layers(self, pair: Sequence[Network]) -> tuple[list[dict[str, float]], list[Mapping[str, int]]]:
        """{region: time} of each of `pair`, called in turn, and {region: nodes} of each."""
        networks = [Profiled(network, self.networks.space, self.operators) for network in pair]
        images, threads, rounds = self.networks.images, self.threads, self.rounds
        times = profiled_in_turn(self.layers, networks, images, threads=threads, rounds=rounds)
        for part, _ in times:
            check_regions(part)
        return [part for part, _ in times], [nodes for _, nodes in times]


class Profiled(NamedTuple):
    """A network that is to be profiled, its space, and the names of that space's operators."""

    network: Network
    space: Space
    operators: Collection[str]


def profiled_in_turn(
    backend: LayerBackend, networks: Sequence[Profiled], images: Tensor, *, threads: int, rounds: int
) -> list[tuple[dict[str, float], Mapping[str, int]]]:
    """{region: time}, in a unit of the backend's, and {region: nodes} of each of `networks`, which take turns.

    Args:
        backend: whose profiler tells the times.
        networks: as the backend takes them.
        images: float32 [B, C, H, W] of one call.
        threads: of one call.
        rounds: turns of each network.
    """
    with torch.inference_mode():
        timed = [
            backend.profile(each.network, images, threads=threads, space=each.space, operators=each.operators)
            for each in networks
        ]
        counted = take_turns([each.call for each in timed], rounds)
        return [(each.finish(calls), each.nodes) for each, calls in zip(timed, counted, strict=True)]


def take_turns(calls: Sequence[Callable[[], object]], rounds: int) -> list[int]:
    """Call each of `calls` in every round, as `interleaved` does: short networks several times in a row.

    Returns the number of calls of each since it was warm.
    """
    numbers = [math.ceil(SAMPLE_MS / 1e3 / _warm_up(call)) for call in calls]
    for turn in range(rounds):
        for i in range(len(calls)) if turn % 2 else reversed(range(len(calls))):
            for _ in range(numbers[i]):
                calls[i]()
    return [n * rounds for n in numbers]


def _warm_up(call: Callable[[], object]) -> float:
    """Call until WARMUP_SECONDS are over; returns the seconds of the last call."""
    end = time.perf_counter() + WARMUP_SECONDS
    while True:
        start = time.perf_counter()
        call()
        if (now := time.perf_counter()) >= end:
            return now - start


def whole_calls(sliced_ms: Sequence[float], unpruned_ms: Sequence[float]) -> tuple[float, float]:
    """A network's latency over the unpruned one's, from samples that were taken in turn, and the latter's."""
    whole_ms = steady_mean(unpruned_ms)
    return steady_mean(sliced_ms) / whole_ms, whole_ms


def steady_mean(samples: Sequence[float] | np.ndarray) -> float:
    """Mean of the samples from the 12th to the 50th percentile: interruptions add time, to half of them at most.

    Example::

        steady_mean([1.0, 1.0, 1.0, 9.0])  # 1.0
    """
    ordered = np.sort(np.asarray(samples, dtype=float))
    return float(ordered[len(ordered) // 8 : (len(ordered) + 1) // 2].mean())
