"""Shapes of a kit's JSON: the manifest that is written here, and the times that a device sends back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len, MaxLen, MinLen, Predicate
from typing_extensions import TypedDict

from .kinds import Milliseconds, Name, Text, Versions, Width
from .stored import Rule
from .table_file import Key, Positive

FORMAT = 1
MANIFEST, MEASURED = "manifest.json", "measured.json"
UNPRUNED = "unpruned"
"""The name of the network beside which all others are timed."""

Digest = Annotated[str, Len(64, 64), Predicate(str.isalnum)]
Plain = Annotated[str, MinLen(1), MaxLen(40), Predicate(str.isidentifier)]
"""A network's name; its file is `networks/NAME.onnx`, so that no file names a path."""


class KitNetwork(TypedDict):
    """A network of a kit: widths of all groups."""

    name: Plain
    widths: dict[Name, Width]


def _manifest_fault(manifest: Any) -> str | None:
    networks = manifest["networks"]
    if len({network["name"] for network in networks}) != len(networks):
        return "networks must have names of their own"
    if any(network["widths"].keys() != manifest["sizes"].keys() for network in networks):
        return "networks must have widths of the groups of sizes"
    return None


class ManifestFile(TypedDict):
    """What is in a kit. `kind`: networks that a table is made of, or `plans` to choose from."""

    format: int
    kind: Literal["table", "plans"]
    key: Key
    multiple: Positive
    seed: Annotated[int, Ge(0), Le(2**32 - 1)]
    input: Annotated[list[Annotated[int, Ge(1), Le(65536)]], Len(4, 4)]
    sizes: dict[Name, Width]
    networks: Annotated[list[KitNetwork], MinLen(1), MaxLen(10_000)]
    files: dict[Name, Digest]


Manifest = Annotated[ManifestFile, Rule(_manifest_fault)]

Samples = Annotated[list[Milliseconds], MinLen(4), MaxLen(1_000_000)]


class KitTimes(TypedDict):
    """Samples of a network and of the unpruned one, taken in turn; `reference_ms`: a fixed matrix product before."""

    network: Samples
    unpruned: Samples
    reference_ms: Milliseconds


class Measured(TypedDict):
    """What measure_kit.py writes on the device. `kit` is the hash of the manifest that it timed."""

    format: int
    kit: Digest
    backend: Name
    provider: Annotated[str, MaxLen(100)]
    device: Text
    processor: Text
    versions: Versions
    threads: Positive
    rounds: Positive
    date: Text
    times: dict[Plain, KitTimes]
