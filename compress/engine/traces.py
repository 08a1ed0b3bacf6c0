"""What MMEngine's Runner leaves in the process: open logs, and instances that later ones are looked up among."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

KINDS: tuple[Any, ...] = (MMLogger, MessageHub, DefaultScope, Visualizer)
"""Of each, MMEngine keeps all instances for good, and takes the last one for the current one."""


@contextmanager
def without_traces() -> Iterator[None]:
    """Forget the instances that are made inside, and close their logs: a process may train a thousand times."""
    before = {kind: set(kind._instance_dict) for kind in KINDS}
    try:
        yield
    finally:
        for kind, names in before.items():
            for name in kind._instance_dict.keys() - names:
                made = kind._instance_dict.pop(name)
                for handler in made.handlers if kind is MMLogger else ():
                    handler.close()
