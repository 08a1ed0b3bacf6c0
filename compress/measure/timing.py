"""Time several callables against each other in one process, so that the machine's moods hit all of them alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Protocol

import numpy as np
import torch

from ..plan import Range, Threads, UserError, check_setting

Batch = Annotated[int, Range(at_least=1, at_most=65536)]
Repeats = Annotated[int, Range(at_least=1, at_most=1_000_000)]
"""Images of one call, and samples: more than any machine serves."""

STABLE_WITHIN = 0.05  # Two warm-up windows that differ by less count as stable,
WARMUP_PATIENCE = 5  # and after this many times the asked warm-up we measure all the same.


def interleaved(
    callables: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    inner: int = 0,
    min_sample_ms: float = 2.0,
    warmup_seconds: float = 0.25,
) -> dict[str, list[float]]:
    """Time every callable once per round for `repeats` rounds; returns milliseconds per call, one sample per round.

    A sample is the mean of `inner` calls in a row; with `inner=0` their number is chosen per callable so that a sample
    takes at least `min_sample_ms`. Every other round goes backwards, so that no callable always follows the same one;
    samples of the same index are neighbours in time and may be compared pairwise (`summarise_ratio`). Each callable is
    first run for `warmup_seconds` or until its pace settles. Garbage collection is off while timing.

    Args:
        callables: what to time, by name.
        repeats: number of rounds.
        inner: calls of one sample; 0: as many as `min_sample_ms` takes.
        min_sample_ms: shortest sample, where their number is chosen.
        warmup_seconds: longest run before the first round.

    Raises UserError when there is nothing to time or a number is out of range.

    Example::

        samples = interleaved({"before": run_before, "after": run_after}, repeats=60)
        summarise(samples["before"])  # {"median": 1.0, "p10": 0.9, "p90": 1.1, "n": 60}
        summarise_ratio(samples["before"], samples["after"])
    """
    if not callables:
        raise UserError("callables: empty; give at least one callable to time")
    if repeats < 1 or inner < 0:
        raise UserError(
            f"repeats={repeats}, inner={inner}: repeats must be at least 1 and inner at least 0 (0: chosen)"
        )
    calls = {}
    for name, call in callables.items():
        pace_ms = _warm_up(call, warmup_seconds)
        calls[name] = inner or max(1, math.ceil(min_sample_ms / pace_ms))
    samples: dict[str, list[float]] = {name: [] for name in callables}
    forwards = list(callables)
    with _no_garbage_collection():
        for index in range(repeats):
            for name in forwards if index % 2 == 0 else reversed(forwards):
                samples[name].append(_sample_ms(callables[name], calls[name]))
    return samples


def summarise(samples: Sequence[float]) -> dict[str, float]:
    """Return `{"median", "p10", "p90", "n"}` of `samples`, in their unit; percentiles are interpolated linearly.

    Raises UserError when `samples` is empty.

    Example::

        summarise([1.0, 2.0, 3.0])  # {"median": 2.0, "p10": 1.2, "p90": 2.8, "n": 3}
    """
    if not samples:
        raise UserError("samples: empty; at least one is needed for a summary")
    p10, median, p90 = (float(value) for value in np.percentile(samples, [10, 50, 90]))
    return {"median": median, "p10": p10, "p90": p90, "n": len(samples)}


def summarise_ratio(before: Sequence[float], after: Sequence[float]) -> dict[str, float]:
    """Return `{"median", "p10", "p90"}` of the pairwise ratios `after[i] / before[i]`.

    Pairs timed next to each other share the machine's state, so their ratio varies less than either time.
    Raises UserError when the lengths differ or are zero.

    Example::

        summarise_ratio([2.0, 4.0], [1.0, 2.0])  # {"median": 0.5, "p10": 0.5, "p90": 0.5}
    """
    if len(before) != len(after):
        raise UserError(f"before and after: {len(before)} and {len(after)} samples; ratios need pairs of samples")
    summary = summarise([a / b for b, a in zip(before, after, strict=True)])
    del summary["n"]
    return summary


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let PyTorch's operators use `threads` threads inside the block; the former number is restored.

    Raises UserError when `threads` is out of range.

    Example::

        with torch_threads(1):
            model(images)
    """
    check_setting("threads", threads, Threads)
    former = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(former)


def _sample_ms(call: Callable[[], object], inner: int) -> float:
    """Mean milliseconds per call of `inner` calls in a row."""
    start = time.perf_counter_ns()
    for _ in range(inner):
        call()
    return (time.perf_counter_ns() - start) / inner / 1e6


def _warm_up(call: Callable[[], object], seconds: float) -> float:
    """Call until the median pace of two successive windows agrees; returns that pace in milliseconds per call.

    Takes `seconds` at least and, short of a single long window, WARMUP_PATIENCE times as long at most.
    """
    start = time.perf_counter()
    former_ms = math.inf
    while True:
        pace_ms = _window_pace_ms(call, seconds / 4)
        elapsed = time.perf_counter() - start
        settled = abs(pace_ms - former_ms) <= STABLE_WITHIN * former_ms and math.isfinite(former_ms)
        if (elapsed >= seconds and settled) or elapsed >= WARMUP_PATIENCE * seconds:
            return pace_ms
        former_ms = pace_ms


def _window_pace_ms(call: Callable[[], object], seconds: float) -> float:
    """Median milliseconds per call over calls that fill `seconds`; at least one call."""
    paces: list[float] = []
    end = time.perf_counter() + seconds
    while not paces or time.perf_counter() < end:
        paces.append(_sample_ms(call, 1))
    return max(statistics.median(paces), 1e-6)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect once, then keep Python's garbage collector off inside the block."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class WayOfRunning(Protocol):
    """How networks are called: the part of a table's settings that its key tells."""

    @property
    def backend(self) -> str:
        """The name of what runs them."""

    @property
    def threads(self) -> int:
        """Of one call."""

    @property
    def batch(self) -> int:
        """Images of one call."""
