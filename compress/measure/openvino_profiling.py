"""OpenVINO's own counters: what every layer of a network takes, by the region of operators whose nodes it holds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np

from .owners import EngineLayer, layer_regions
from .profiling import steady_mean

NAMES = "originalLayersNames"
"""Entry of a layer of the compiled graph: the nodes that it holds, of the file or made up on the way."""

SETTLING = 3
"""First calls, which reorder weights, do not count."""

MICROSECOND = timedelta(microseconds=1)

NOISE = 2
"""A call in which a layer took this many times more than the resolution can tell was interrupted there."""


class CountedNetwork:
    """A compiled network whose layers are counted, fed `images` float32 [B, C, H, W]; `owners` as `layer_regions`.

    The counters are means since the network was compiled, in whole microseconds. They are read after every call, so
    that a call that something else interrupted is seen, and does not count where it was. Layers' proportions are those
    of all calls, their sum that of the calls that count.

    Example::

        counted = CountedNetwork(compile_onnx(path, threads=1, batch=1, profiled=True), images, owners)
        counted.call()
    """

    def __init__(self, compiled: Any, images: np.ndarray, owners: Mapping[str, str]) -> None:
        self.request, self.images = compiled.create_infer_request(), images
        known = layer_regions(graph_layers(compiled.get_runtime_model()), owners)
        self.request.infer([images])  # counters have no time before
        listed = [known.get(entry.node_name) for entry in self.request.profiling_info]
        self.places = [i for i, name in enumerate(listed) if name is not None]
        self.regions = [name for name in listed if name is not None]
        self.nodes: Mapping[str, int] = dict(Counter(self.regions))
        self.means, self.seconds = [self._read()], list[float]()

    def call(self) -> object:
        """Call the network once."""
        start = time.perf_counter()
        answer = self.request.infer([self.images], share_inputs=True)
        self.seconds.append(time.perf_counter() - start)
        self.means.append(self._read())
        return answer

    def finish(self, calls: int) -> dict[str, float]:
        """{region: microseconds per call}; their sum is that of the last `calls` calls."""
        first = min(SETTLING, len(self.seconds) - calls)
        numbers = np.arange(1, len(self.means) + 1)[:, None]
        us = np.diff(np.array(self.means) * numbers, axis=0)[first:]  # each with an error of as many as its number
        typical = np.median(us, axis=0)
        usual = np.where(us > typical + NOISE * numbers[first + 1 :], typical, us)
        undisturbed = np.array(self.seconds[first:]) - (us - usual).sum(axis=1) / 1e6
        factor = steady_mean(self.seconds[-calls:]) / undisturbed.mean()
        found = dict.fromkeys(self.regions, 0.0)
        for name, each in zip(self.regions, usual.mean(axis=0), strict=True):
            found[name] += max(float(each * factor), 0.0)
        return found

    def _read(self) -> list[int]:
        entries = self.request.profiling_info
        return [entries[i].real_time // MICROSECOND for i in self.places]


def graph_layers(graph: Any) -> list[EngineLayer]:
    """The layers of a compiled graph, each by its own name as what it makes."""
    return [
        EngineLayer(
            layer.get_friendly_name(),
            [name for name in layer.get_rt_info()[NAMES].astype(str).split(",") if name],
            [each.get_source_output().get_node().get_friendly_name() for each in layer.inputs()],
            [layer.get_friendly_name()],
        )
        for layer in graph.get_ordered_ops()
    ]
