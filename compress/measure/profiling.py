"""What each operator costs inside a whole network: ONNX Runtime's profiler, in turn with the unpruned network."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NotRequired, Protocol

import numpy as np
from annotated_types import Ge, Le
from typing_extensions import TypedDict

from ..export import INPUT_NAME, onnx_session
from ..plan import Rule, read_stored, scratch
from ..plan.kinds import Text
from .graphs import WidthGraphs
from .latency import time_reference
from .owners import optimised_owners
from .timing import interleaved

if TYPE_CHECKING:
    import onnxruntime

SAMPLE_MS = 2.0
"""A network's turn takes at least this long: caches are then as warm as when it runs alone."""

WARMUP_SECONDS = 0.2
"""A new session's first calls do not count: it takes them to settle."""

KERNEL = "_kernel_time"
"""What ONNX Runtime's profiler adds to a node's name."""


MOST_PROFILE_BYTES = 4 << 30


def _event_fault(event: Event) -> str | None:
    return None if event["cat"] != "Node" or "dur" in event else "dur is missing"


class Event(TypedDict):
    """A line of ONNX Runtime's profile: `dur` microseconds of one call of a node."""

    cat: Text
    name: Text
    dur: NotRequired[Annotated[int, Ge(0), Le(10**12)]]


Events = list[Annotated[Event, Rule(_event_fault)]]


@dataclass(frozen=True)
class Profile:
    """One network's profile, in shares of the time of the unpruned network that was timed in turn with it.

    `widths` are those of all groups, `sizes` the unpruned network's. `operators`: {operator: share} of this network,
    all nodes' time; `unpruned`: the same of the unpruned network, sum 1. `nodes`, `unpruned_nodes`: {operator: number
    of nodes that the engine runs for it}. `ratio`: whole calls, without the profiler, over the unpruned network's,
    which take `unpruned_ms`. `reference_ms`: time of a fixed matrix product right before.
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


class Profiler(Protocol):
    """Profiles networks of one space, each in turn with the unpruned one."""

    def profile(self, widths: Mapping[str, int]) -> Profile:
        """Profile the network at `widths`, {group: channels}; all others keep theirs."""


class OrtProfiler:
    """Profiles the networks of `graphs` in ONNX Runtime on the CPU, fed `images` float32 [B, C, H, W].

    A network takes `rounds` turns with the unpruned one under the profiler, then as many in sessions that never had
    one: a profiler that has stopped still costs. What drifts more slowly than a round hits both alike. All sessions are
    new for every network, because where their memory lies makes them up to 2 % faster or slower.

    Example::

        with OrtProfiler.open(graphs, images, threads=1) as profiler:
            profiler.profile({"blocks.1.0": 48}).operators["blocks.1.0.conv_dw"]  # 0.013
    """

    def __init__(self, graphs: WidthGraphs, images: np.ndarray, folder: Path, *, threads: int, rounds: int) -> None:
        self.graphs, self.folder, self.rounds = graphs, folder, rounds
        self.feed = {INPUT_NAME: images}
        self.unpruned = folder / "unpruned.onnx"
        self.unpruned.write_bytes(graphs.at({}))
        self.open_plain = partial(onnx_session, threads=threads)
        self.options = self.open_plain(self.unpruned).get_session_options()
        self.options.enable_profiling = True
        self.options.log_severity_level = 3  # it warns that optimised graphs are this machine's own
        self.options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")

    @classmethod
    @contextmanager
    def open(cls, graphs: WidthGraphs, images: np.ndarray, *, threads: int, rounds: int = 20) -> Iterator[OrtProfiler]:
        """A profiler whose temporary files are removed at the end."""
        with scratch("latency") as folder:
            yield cls(graphs, images, folder, threads=threads, rounds=rounds)

    def profile(self, widths: Mapping[str, int]) -> Profile:
        """Profile the network at `widths`, {group: channels}; all others keep theirs."""
        reference_ms = time_reference()
        path = self.folder / "sliced.onnx"
        path.write_bytes(self.graphs.at(widths))
        pair = [self._profiled_session(path), self._profiled_session(self.unpruned)]
        counted = take_turns([partial(session.run, None, self.feed) for session, _ in pair], self.rounds)
        own, full = (
            _operator_us(session.end_profiling(), owners, calls)
            for (session, owners), calls in zip(pair, counted, strict=True)
        )
        nodes, full_nodes = (dict(Counter(owners.values())) for _, owners in pair)
        total = sum(full.values())
        del pair
        sessions = [self.open_plain(file) for file in (path, self.unpruned)]
        ratio, unpruned_ms = time_pair([partial(session.run, None, self.feed) for session in sessions], self.rounds)
        return Profile(
            {**self.graphs.sizes, **widths},
            self.graphs.sizes,
            {name: us / total for name, us in own.items()},
            {name: us / total for name, us in full.items()},
            nodes,
            full_nodes,
            ratio,
            unpruned_ms,
            reference_ms,
        )

    def _profiled_session(self, path: Path) -> tuple[onnxruntime.InferenceSession, dict[str, str]]:
        """A session under the profiler, and the operator of each of its nodes."""
        import onnx
        import onnxruntime as ort

        optimised = self.folder / "optimised.onnx"
        self.options.optimized_model_filepath = str(optimised)
        self.options.profile_file_prefix = str(self.folder / path.stem)
        session = ort.InferenceSession(str(path), self.options, providers=["CPUExecutionProvider"])
        owners = optimised_owners(onnx.load(str(optimised), load_external_data=False).graph)
        for file in (optimised, self.folder / "weights"):
            file.unlink(missing_ok=True)
        return session, owners


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


def time_pair(calls: Sequence[Callable[[], object]], rounds: int) -> tuple[float, float]:
    """Time of a sliced network's call over the unpruned one's, and the latter in milliseconds; `calls` in this order.

    Networks are called in turn, without a profiler.
    """
    samples = interleaved(
        dict(zip(("sliced", "unpruned"), calls, strict=True)), repeats=rounds, min_sample_ms=SAMPLE_MS
    )
    unpruned_ms = steady_mean(samples["unpruned"])
    return steady_mean(samples["sliced"]) / unpruned_ms, unpruned_ms


def _warm_up(call: Callable[[], object]) -> float:
    """Call until WARMUP_SECONDS are over; returns the seconds of the last call."""
    end = time.perf_counter() + WARMUP_SECONDS
    while True:
        start = time.perf_counter()
        call()
        if (now := time.perf_counter()) >= end:
            return now - start


def _operator_us(profile: str, owners: Mapping[str, str], calls: int) -> dict[str, float]:
    """{operator: microseconds per call} in the last `calls` calls of a profile file, which is deleted.

    Calls are averaged, by `steady_mean`, because the profiler counts whole microseconds.
    """
    nodes: dict[str, list[int]] = {}
    for event in read_stored(profile, Events, remedy="measure again", most_bytes=MOST_PROFILE_BYTES):
        if event["cat"] == "Node" and event["name"].endswith(KERNEL):
            nodes.setdefault(event["name"].removesuffix(KERNEL), []).append(event["dur"])
    Path(profile).unlink()
    operators: dict[str, np.ndarray] = {}
    for node, us in nodes.items():
        operators[owners[node]] = operators.get(owners[node], 0) + np.array(us[-calls:], dtype=float)
    return {name: steady_mean(us) for name, us in operators.items()}


def steady_mean(samples: Sequence[float] | np.ndarray) -> float:
    """Mean of the samples from the 12th to the 50th percentile: interruptions add time, to half of them at most.

    Example::

        steady_mean([1.0, 1.0, 1.0, 9.0])  # 1.0
    """
    ordered = np.sort(np.asarray(samples, dtype=float))
    return float(ordered[len(ordered) // 8 : (len(ordered) + 1) // 2].mean())
