"""Time several callables against each other in one process, so that the machine's moods hit all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Protocol

import numpy as np
import torch

from ..plan import Range, Threads, UserError, check_setting
from .kit.ondevice.turns import in_turn

Batch = Annotated[int, Range(at_least=1, at_most=65536)]
Repeats = Annotated[int, Range(at_least=1, at_most=1_000_000)]
"""Images of one call, and samples: more than any machine serves."""


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
    return in_turn(callables, repeats=repeats, inner=inner, min_sample_ms=min_sample_ms, warmup_seconds=warmup_seconds)


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
