"""What each operator costs inside a whole network: ONNX Runtime's profiler, in turn with the unpruned network."""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..export import INPUT_NAME, onnx_session
from ..plan import read_json
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
        with tempfile.TemporaryDirectory(prefix="latency") as folder:
            yield cls(graphs, images, Path(folder), threads=threads, rounds=rounds)

    def profile(self, widths: Mapping[str, int]) -> Profile:
        """Profile the network at `widths`, {group: channels}; all others keep theirs."""
        reference_ms = time_reference()
        path = self.folder / "sliced.onnx"
        path.write_bytes(self.graphs.at(widths))
        pair = [self._profiled_session(path), self._profiled_session(self.unpruned)]
        counted = self._take_turns([session for session, _ in pair])
        own, full = (
            _operator_us(session.end_profiling(), owners, calls)
            for (session, owners), calls in zip(pair, counted, strict=True)
        )
        nodes, full_nodes = (dict(Counter(owners.values())) for _, owners in pair)
        total = sum(full.values())
        del pair
        plain = {"sliced": self.open_plain(path), "unpruned": self.open_plain(self.unpruned)}
        calls = {name: partial(session.run, None, self.feed) for name, session in plain.items()}
        samples = interleaved(calls, repeats=self.rounds, min_sample_ms=SAMPLE_MS)
        return Profile(
            {**self.graphs.sizes, **widths},
            self.graphs.sizes,
            {name: us / total for name, us in own.items()},
            {name: us / total for name, us in full.items()},
            nodes,
            full_nodes,
            steady_mean(samples["sliced"]) / steady_mean(samples["unpruned"]),
            steady_mean(samples["unpruned"]),
            reference_ms,
        )

    def _take_turns(self, sessions: Sequence[onnxruntime.InferenceSession]) -> list[int]:
        """Call every session in each round, as `interleaved` does: short networks several times in a row.

        Returns the number of calls of each since it was warm.
        """
        calls = [math.ceil(SAMPLE_MS / 1e3 / self._warm_up(session)) for session in sessions]
        for turn in range(self.rounds):
            for i in range(len(sessions)) if turn % 2 else reversed(range(len(sessions))):
                for _ in range(calls[i]):
                    sessions[i].run(None, self.feed)
        return [n * self.rounds for n in calls]

    def _warm_up(self, session: onnxruntime.InferenceSession) -> float:
        """Call until WARMUP_SECONDS are over; returns the seconds of the last call."""
        end = time.perf_counter() + WARMUP_SECONDS
        while True:
            start = time.perf_counter()
            session.run(None, self.feed)
            if (now := time.perf_counter()) >= end:
                return now - start

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


def _operator_us(profile: str, owners: Mapping[str, str], calls: int) -> dict[str, float]:
    """{operator: microseconds per call} in the last `calls` calls of a profile file, which is deleted.

    Calls are averaged, by `steady_mean`, because the profiler counts whole microseconds.
    """
    nodes: dict[str, list[int]] = {}
    for event in read_json(profile):
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
