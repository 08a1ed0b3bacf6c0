"""What a process says when another of its run is lost: one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import get_world_size
from torch import distributed

from ..plan import SystemRefusal

GLOO = "gloo/transport"
"""Stands in what Gloo raises, a plain RuntimeError: the file of its source that speaks."""


@contextmanager
def telling_losses(timeout: Any) -> Iterator[None]:
    """Raise SystemRefusal where the block waits for another process in vain: `timeout` seconds, or it has ended."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or GLOO in str(error)):
            raise
        raise SystemRefusal(_told(str(error), timeout)) from error


def _told(text: str, timeout: Any) -> str:
    processes = f"one of the {get_world_size()} processes" if distributed.is_initialized() else "a process"
    if "timed out" in text.lower() or "timeout" in text.lower():
        limit = "the time limit" if timeout is None else f"{timeout:g} s"
        return f"{processes} did not answer within {limit}; see what it waits for, or raise --dist-timeout"
    return f"{processes} has ended before the others; see what it said"
