"""What devices send back, the manifests beside it, and whole calls that a stopped measurement kept: as stored kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress.measure import merge_tables
from compress.measure.designs import allowed_widths, sample_designs
from compress.measure.kept import pack_totals
from compress.measure.kit.reading import table_of_kit
from compress.measure.profiling import Timing
from compress.plan import sha256, write_json
from compress.spaces import PreResNetSpace, sizes

SIZE = (3, 32, 32)
SPACE = PreResNetSpace(11, 10)
FULL = sizes(SPACE.groups)
DESIGNS = [{**FULL, **design} for design in sample_designs(allowed_widths(SPACE.groups, 16), 8, seed=0)]
KEY: dict[str, Any] = {
    "space": SPACE.name, "arch": SPACE.arch, "input_size": list(SIZE), "batch": 1, "dtype": "float32",
    "versions": {"torch": "2"},
}  # fmt: skip


def manifest() -> dict[str, Any]:
    """Of a kit of 8 networks."""
    return {
        "format": 1, "kind": "table", "key": KEY, "multiple": 16, "seed": 0, "input": [1, *SIZE], "sizes": FULL,
        "networks": [{"name": f"n{i}", "widths": widths} for i, widths in enumerate(DESIGNS)],
        "files": {"weights.bin": "0" * 64},
    }  # fmt: skip


def measured(kit: Path) -> dict[str, Any]:
    """Times of all networks of the manifest in the file `kit`, where it is one."""
    digest = sha256(kit) if kit.is_file() else "0" * 64
    times = {"network": [0.5] * 4, "unpruned": [1.0] * 4, "reference_ms": 0.2}
    return {
        "format": 1, "kit": digest, "backend": "onnxruntime", "provider": "", "device": "a board",
        "processor": "ARM", "versions": {"onnxruntime": "1.0"}, "threads": 1, "rounds": 4, "date": "today",
        "times": {f"n{i}": times for i in range(len(DESIGNS))},
    }  # fmt: skip


def kept_totals() -> dict[str, Any]:
    """What a stopped measurement of whole calls leaves."""
    timings = [Timing(widths, FULL, 0.5 + 0.01 * i, 1.0, 0.2) for i, widths in enumerate(DESIGNS)]
    return {"format": 1, "key": KEY, "multiple": 16, "rounds": 20, "way": "totals", "totals": pack_totals(timings)}


def read_measured(file: Path) -> None:
    """Make a table of the times in `file`."""
    table_of_kit(SPACE, file.with_name("made.json"), file, input_size=SIZE)


def read_manifest(kit: Path) -> None:
    """Read the manifest `kit` with times that bear its hash, so that more than that is looked at."""
    times = kit.with_name("measured.json")
    write_json(times, measured(kit))
    read_measured(times)


def read_totals(file: Path) -> None:
    """Make a table of the whole calls in `file`."""
    merge_tables(SPACE, file.with_name("made.json"), [file], input_size=SIZE)
