"""ONNX Runtime's profiler: what every node of a network takes, added up by the operator that it works for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NotRequired

import numpy as np
from annotated_types import Ge, Le
from typing_extensions import TypedDict

from ..export import INPUT_NAME
from ..export.session import session_options
from ..plan import Rule, read_stored
from ..plan.kinds import Text
from .owners import REST, optimised_owners
from .profiling import steady_mean

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


class ProfiledSession:
    """The ONNX file at `path` under the profiler, fed `images` float32 [B, C, H, W].

    Its nodes are named after operators. What the profiler and the optimiser write lies beside `path`, and goes.

    Example::

        session = ProfiledSession(path, images, threads=1)
        session.call()
        session.finish(1)["layer1.0.conv1"]  # 13.0
    """

    def __init__(self, path: Path, images: np.ndarray, *, threads: int) -> None:
        import onnx
        import onnxruntime as ort

        self.feed = {INPUT_NAME: images}
        options, optimised = session_options(threads), path.with_name("optimised.onnx")
        options.enable_profiling = True
        options.profile_file_prefix = str(path.with_suffix(""))
        options.optimized_model_filepath = str(optimised)
        options.log_severity_level = 3  # it warns that optimised graphs are this machine's own
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.owners = optimised_owners(onnx.load(str(optimised), load_external_data=False).graph)
        self.nodes: Mapping[str, int] = dict(Counter(self.owners.values()))
        for file in (optimised, optimised.with_name("weights")):
            file.unlink(missing_ok=True)

    def call(self) -> object:
        """Call the network once."""
        return self.session.run(None, self.feed)

    def finish(self, calls: int) -> dict[str, float]:
        """{operator: microseconds per call} in the last `calls` calls."""
        return _operator_us(self.session.end_profiling(), self.owners, calls)


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
        owner = owners.get(node, REST)  # nodes of a graph within a node are nobody's
        operators[owner] = operators.get(owner, 0) + np.array(us[-calls:], dtype=float)
    return {name: steady_mean(us) for name, us in operators.items()}
