"""What TensorRT and trtexec tell of an engine: the file's nodes in every layer, and the milliseconds of each.

The engine must have been built with detailed profiling verbosity. Read as NVIDIA documents the files; none was written
on a GPU here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from annotated_types import Ge, Le, MaxLen, MinLen
from typing_extensions import TypedDict

from ..plan import Rule, UserError, read_stored
from ..plan.kinds import EXTRA, Milliseconds
from ..plan.stored import parse_stored
from .owners import REST, EngineLayer, layer_regions
from .profiling import steady_mean
from .regions import check_regions, members

if TYPE_CHECKING:
    from torch import Tensor

AGAIN = "build with --profilingVerbosity=detailed and export it again"

_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
"""A node of the file in a layer's metadata, whose entries are divided by control characters."""

LayerName = Annotated[str, MinLen(1), MaxLen(1_000_000)]
"""Of many nodes, where many are fused."""
Spent = Annotated[float, Ge(0), Le(1e9)]


class Port(TypedDict):
    """A tensor that a layer reads or makes."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    Name: LayerName


class LayerInformation(TypedDict):
    """A layer, as the engine inspector tells it."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    Name: LayerName
    Metadata: NotRequired[Annotated[str, MaxLen(10_000_000)]]
    Inputs: NotRequired[list[Port]]
    Outputs: NotRequired[list[Port]]


def _detail_fault(layers: list[Any]) -> str | None:
    plain = any(isinstance(layer, str) for layer in layers)
    return "must tell more of layers than their names" if plain else None


class Information(TypedDict):
    """What `--exportLayerInfo` writes, and the inspector tells as JSON."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    Layers: Annotated[list[LayerInformation | str], MinLen(1), Rule(_detail_fault)]


def _entry_fault(entry: dict[str, Any]) -> str | None:
    known = "count" in entry or ("name" in entry and "averageMs" in entry)
    return None if known else "must have count, or name and averageMs"


class ProfileEntry(TypedDict):
    """What `--exportProfile` writes of a layer; the first entry is the number of calls."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    count: NotRequired[int]
    name: NotRequired[LayerName]
    averageMs: NotRequired[Spent]
    medianMs: NotRequired[Spent]


class TimesEntry(TypedDict):
    """What `--exportTimes` writes of a call, besides when its parts began and ended."""

    __pydantic_config__ = EXTRA  # type: ignore[misc]
    computeMs: Milliseconds


Entries = Annotated[list[Annotated[ProfileEntry, Rule(_entry_fault)]], MinLen(2)]


class EngineTimes:
    """The `engine` (`compress.export.Engine`) called on `images`; `regions` are those of its layers.

    Example::

        EngineTimes(engine, images, regions).finish(20)  # {'conv1': 0.03}, where 20 calls went before
    """

    def __init__(self, engine: Any, images: Tensor, regions: Mapping[str, str]) -> None:
        self.timer, self.regions = engine.layer_timer(images.to(engine.device)), regions
        self.nodes: Mapping[str, int] = dict(Counter(regions.values()))

    def call(self) -> None:
        """Call the engine once."""
        self.timer.call()

    def finish(self, calls: int) -> dict[str, float]:
        """{region: milliseconds per call} in the last `calls` calls."""
        rows = [region_times(self.regions, call, source="profiler") for call in self.timer.calls_ms[-calls:]]
        return {name: steady_mean([row[name] for row in rows]) for name in self.nodes}


def parse_layers(text: str | bytes, *, source: str | Path) -> list[EngineLayer]:
    """The layers in the JSON of an engine inspector; layers of one name are one.

    Args:
        text: of `EngineInspector.get_engine_information`, or of a file of `--exportLayerInfo`.
        source: of the engine, for messages.

    Raises UserError where it tells no more than names, or is no such JSON.
    """
    content = text.encode() if isinstance(text, str) else text
    return _layers(parse_stored(content, Information, source=source, remedy=AGAIN))


def read_layers(path: str | Path) -> list[EngineLayer]:
    """The layers in a file that `trtexec --exportLayerInfo` wrote; raises as `parse_layers`.

    Example::

        read_layers("layers.json")[0].nodes  # ['conv1#0', 'conv1#1']
    """
    return _layers(read_stored(path, Information, remedy=AGAIN))


def read_profile(path: str | Path) -> dict[str, float]:
    """{layer: milliseconds per call}, medians where there are some, in a file that `trtexec --exportProfile` wrote.

    Example::

        read_profile("profile.json")  # {'conv1 + relu': 0.03}
    """
    found = dict[str, float]()
    for entry in read_stored(path, Entries, remedy="export it again with --exportProfile"):
        if "name" in entry:
            found[entry["name"]] = found.get(entry["name"], 0.0) + entry.get("medianMs", entry["averageMs"])
    return found


def read_times(path: str | Path) -> list[float]:
    """Milliseconds of computing of every call in a file that `trtexec --exportTimes` wrote; for tables of whole calls.

    Example::

        read_times("times.json")  # [0.81, 0.8]
    """
    entries = read_stored(path, Annotated[list[TimesEntry], MinLen(1)], remedy="export it again with --exportTimes")
    return [entry["computeMs"] for entry in entries]


def regions_of(layers: Sequence[EngineLayer], owners: Mapping[str, str], *, source: str | Path) -> dict[str, str]:
    """{layer: region} of an engine of the file whose nodes belong to `owners` (`owners.owners_in`).

    Raises UserError, which names `source`, where operators of the file are in no layer, as in engines whose metadata
    leave nodes away, and where a layer holds too many to tell them apart: Myelin makes one of whole networks.
    """
    found = layer_regions(layers, owners)
    try:
        check_regions(found.values())
    except UserError as error:
        raise error.at(str(source)) from None
    told = {name for each in found.values() for name in members(each)}
    if untold := [name for name in dict.fromkeys(owners.values()) if name not in told and name != REST]:
        raise UserError(
            f"{source}: no layer holds nodes of {len(untold)} operators of the file ({untold[0]}, ...); make the table "
            "of whole calls, with --way totals"
        )
    return found


def region_times(regions: Mapping[str, str], layers_ms: Mapping[str, float], *, source: str | Path) -> dict[str, float]:
    """{region: milliseconds per call} of an engine.

    Args:
        regions: of its layers, as `regions_of` gives them.
        layers_ms: what each took: `read_profile`.
        source: of `layers_ms`, for messages.

    Raises UserError for times of layers that the engine has not.

    Example::

        owners = owners_in(read_onnx("design.onnx").graph)
        regions = regions_of(read_layers("layers.json"), owners, source="layers.json")
        region_times(regions, read_profile("profile.json"), source="profile.json")  # {'conv1': 0.03}
    """
    if odd := [name for name in layers_ms if name not in regions]:
        raise UserError(
            f"{source}: tells of a layer {odd[0]!r:.80}, which the engine has not; export both of one engine"
        )
    times = dict.fromkeys(regions.values(), 0.0)
    for name, ms in layers_ms.items():
        times[regions[name]] += ms
    return times


def _layers(information: Mapping[str, Any]) -> list[EngineLayer]:
    found = dict[str, EngineLayer]()
    for layer in information["Layers"]:
        name = layer["Name"]
        nodes = _NODE.findall(layer.get("Metadata", ""))
        reads, makes = ([port["Name"] for port in layer.get(key, [])] for key in ("Inputs", "Outputs"))
        before = found.get(name, EngineLayer(name, [], [], []))
        found[name] = EngineLayer(name, [*before.nodes, *nodes], [*before.reads, *reads], [*before.makes, *makes])
    return list(found.values())
