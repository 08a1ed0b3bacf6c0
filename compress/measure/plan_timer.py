"""Latency of a space's network at given widths, end to end, over the unpruned network's."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from ..export import INPUT_NAME, inference_copy, onnx_session
from ..plan import scratch
from ..spaces import Space
from .graphs import WidthGraphs
from .networks import check_graphs, sliced_network, timing_network
from .timing import interleaved, summarise_ratio, torch_threads

NAMES = ("unpruned", "pruned")
SESSIONS = 3
"""Pairs of sessions per plan: where a session's memory lies makes it up to 2 % faster or slower."""


class PlanTimer:
    """Times networks of `space` on the CPU, for `batch` images of (C, H, W) on `threads` threads.

    `backend` is that of a latency table: "onnxruntime", or "pytorch", eagerly. Networks have random weights, as those
    of latency tables have; for ONNX Runtime they are cut from one export. Nothing else should run.

    Example::

        with PlanTimer.open(space, (3, 224, 224)) as timer:
            timer.ratio(plan.widths)  # 0.53
    """

    def __init__(
        self, space: Space, input_size: tuple[int, int, int], folder: Path, *, threads: int, batch: int, backend: str
    ) -> None:
        self.space, self.threads = space, threads
        self.model = timing_network(space, input_size)
        self.images = torch.randn(batch, *input_size, generator=torch.Generator().manual_seed(1))
        self.graphs = WidthGraphs(self.model, space, input_size=input_size) if backend == "onnxruntime" else None
        self.checked = False
        self.files = {name: folder / f"{name}.onnx" for name in NAMES}
        self.networks = {"unpruned": self.model}
        if self.graphs is not None:
            self.files["unpruned"].write_bytes(self.graphs.at({}))

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
        """A timer whose temporary files are removed at the end."""
        with scratch("latency") as folder:
            yield cls(space, input_size, folder, threads=threads, batch=batch, backend=backend)

    def ratio(self, widths: Mapping[str, int], *, repeats: int = 45) -> float:
        """Median over SESSIONS of the latency at `widths` {group: channels} over the unpruned network's.

        Both are called alternately, `repeats` times in all. RuntimeError when the first exported network that is timed
        does not compute what the sliced one computes.
        """
        if self.graphs is None:
            self.networks["pruned"] = sliced_network(self.model, self.space, widths)
        else:
            if not self.checked:
                check_graphs(self.graphs, self.model, self.space, widths, self.images)
                self.checked = True
            self.files["pruned"].write_bytes(self.graphs.at(widths))
        ratios = []
        with torch_threads(self.threads), torch.inference_mode():
            for turn in range(SESSIONS):
                calls = {name: self._call(name) for name in (NAMES if turn % 2 else reversed(NAMES))}
                samples = interleaved(calls, repeats=-(-repeats // SESSIONS))
                ratios.append(summarise_ratio(samples["unpruned"], samples["pruned"])["median"])
        return statistics.median(ratios)

    def _call(self, name: str) -> Callable[[], object]:
        """A call of the network `name` in a session of its own, or of a copy of its own."""
        if self.graphs is None:
            return partial(inference_copy(self.networks[name]), self.images)
        session = onnx_session(self.files[name], threads=self.threads)
        return partial(session.run, None, {INPUT_NAME: self.images.numpy()})
