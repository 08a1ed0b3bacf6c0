"""Latency of a space's network at given widths, end to end, over the unpruned network's."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from ..plan import scratch
from ..plan.backends import BACKENDS
from ..spaces import Space
from .backends import Backend, Network
from .networks import WidthNetworks
from .timing import summarise_ratio, torch_threads

NAMES = ("unpruned", "pruned")
SESSIONS = 3
"""Pairs of sessions per plan: where a session's memory lies makes it up to 2 % faster or slower."""


class TimedNetworks(Protocol):
    """Networks as a backend takes them: `unpruned`, beside which all others are timed on `images`."""

    unpruned: Network
    images: torch.Tensor

    def at(self, plan: Any) -> Network:
        """The one that `plan` says; it stands in for the one before."""


class PlanTimer:
    """Times `networks`, whose weights are random as those of latency tables are, in `backend`. Nothing else should run.

    Example::

        with PlanTimer.open(space, (3, 32, 32)) as timer:
            timer.ratio(plan.widths)  # 0.53
    """

    def __init__(self, networks: TimedNetworks, backend: Backend, *, threads: int) -> None:
        self.networks, self.backend, self.threads = networks, backend, threads

    @classmethod
    @contextmanager
    def open(
        cls,
        space: Space,
        input_size: tuple[int, int, int],
        *,
        threads: int = 1,
        batch: int = 1,
        backend: str = "onnxruntime",
    ) -> Iterator[PlanTimer]:
        """A timer of networks of `space`, whose temporary files go at the end; UserError for an unknown `backend`.

        Args:
            space: whose networks are timed.
            input_size: (C, H, W).
            threads: of one call.
            batch: images of one call.
            backend: its name.
        """
        found = BACKENDS.here("backend", backend)
        images = torch.randn(batch, *input_size, generator=torch.Generator().manual_seed(1))
        with scratch("latency") as folder:
            yield cls(WidthNetworks(space, input_size, folder, backend=found, images=images), found, threads=threads)

    def ratio(self, widths: Mapping[str, int], *, repeats: int = 45) -> float:
        """Median over SESSIONS of the latency at `widths` {group: channels} over the unpruned network's.

        Both are called alternately, `repeats` times in all. RuntimeError when the first exported network that is timed
        does not compute what the sliced one computes.
        """
        turns = self.turns(widths, repeats=repeats)
        return statistics.median(summarise_ratio(each["unpruned"], each["pruned"])["median"] for each in turns)

    def turns(self, plan: Any, *, repeats: int, **timing: float) -> list[dict[str, list[float]]]:
        """Milliseconds of the `unpruned` network and of the one at `plan`, `pruned`, in each of SESSIONS.

        Both are called alternately, `repeats` times in all; samples of the same index are neighbours. `timing` is what
        else `Backend.time` takes.
        """
        pair = dict(zip(NAMES, (self.networks.unpruned, self.networks.at(plan)), strict=True))
        found = []
        with torch_threads(self.threads):
            for turn in range(SESSIONS):
                order = NAMES if turn % 2 else reversed(NAMES)
                times = self.backend.time(
                    {name: pair[name] for name in order},
                    self.networks.images,
                    threads=self.threads,
                    repeats=-(-repeats // SESSIONS),
                    **timing,  # type: ignore[arg-type]
                )
                found.append(times.samples_ms)
        return found
