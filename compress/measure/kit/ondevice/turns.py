"""Calls that take turns, so that the moods of a machine hit all of them alike."""

from __future__ import annotations

import contextlib
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

STABLE_WITHIN = 0.05  # Two warm-up windows that differ by less count as stable,
WARMUP_PATIENCE = 5  # and after this many times the asked warm-up we measure all the same.
REFERENCE_SIZE = 256  # Side of the square float32 matrices of the reference product.


def in_turn(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    inner: int = 0,
    min_sample_ms: float = 2.0,
    warmup_seconds: float = 0.25,
) -> dict[str, list[float]]:
    """{name: milliseconds per call}, a sample each in each of `repeats` rounds, every other one backwards.

    A sample is the mean of `inner` calls in a row; 0: as many as `min_sample_ms` takes. Garbage collection is off.
    """
    number: dict[str, int] = {}
    for name, call in calls.items():
        pace_ms = warm_up(call, warmup_seconds)
        number[name] = inner or max(1, math.ceil(min_sample_ms / pace_ms))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    forwards = list(calls)
    with no_garbage_collection():
        for index in range(repeats):
            for name in forwards if index % 2 == 0 else reversed(forwards):
                samples[name].append(sample_ms(calls[name], number[name]))
    return samples


def sample_ms(call: Callable[[], object], inner: int) -> float:
    """Mean milliseconds per call of `inner` calls in a row."""
    start = time.perf_counter_ns()
    for _ in range(inner):
        call()
    return (time.perf_counter_ns() - start) / inner / 1e6


def warm_up(call: Callable[[], object], seconds: float) -> float:
    """Call until the median pace of two successive windows agrees; returns that pace in milliseconds per call.

    Takes `seconds` at least and, short of a single long window, WARMUP_PATIENCE times as long at most.
    """
    start = time.perf_counter()
    former_ms = math.inf
    while True:
        pace_ms = window_pace_ms(call, seconds / 4)
        elapsed = time.perf_counter() - start
        settled = abs(pace_ms - former_ms) <= STABLE_WITHIN * former_ms and math.isfinite(former_ms)
        if (elapsed >= seconds and settled) or elapsed >= WARMUP_PATIENCE * seconds:
            return pace_ms
        former_ms = pace_ms


def window_pace_ms(call: Callable[[], object], seconds: float) -> float:
    """Median milliseconds per call over calls that fill `seconds`; at least one call."""
    paces: list[float] = []
    end = time.perf_counter() + seconds
    while not paces or time.perf_counter() < end:
        paces.append(sample_ms(call, 1))
    return max(statistics.median(paces), 1e-6)


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect once, then keep Python's garbage collector off inside the block."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def product_ms() -> float:
    """Median milliseconds of a float32 product of two matrices of REFERENCE_SIZE squared."""
    matrix = np.random.default_rng(0).standard_normal((REFERENCE_SIZE, REFERENCE_SIZE), dtype=np.float32)
    calls = {"reference": lambda: matrix @ matrix}
    samples = in_turn(calls, repeats=30, warmup_seconds=0.05)
    return statistics.median(samples["reference"])
