"""Kernel timings kept from one build to the next: the second build of a network takes seconds instead of minutes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...plan import replacing


def attach_cache(builder_config: Any, path: Path, note: Callable[[str], None]) -> Any:
    """Give `builder_config` the timings in the file at `path`, or none where there is no file; returns the cache.

    Timings of another GPU or version are not used; `note` is told so.
    """
    kept = path.read_bytes() if path.is_file() else b""
    cache = builder_config.create_timing_cache(kept)
    if cache is not None and builder_config.set_timing_cache(cache, False):
        return cache
    note(f"{path}: timings of another GPU or TensorRT version; starting afresh, the file will be replaced")
    cache = builder_config.create_timing_cache(b"")
    builder_config.set_timing_cache(cache, False)
    return cache


def save_cache(cache: Any, path: Path) -> None:
    """Write the timings to `path`, atomically."""
    with replacing(path) as tmp:
        tmp.write_bytes(memoryview(cache.serialize()))
