"""Which tests share a process where several run, and the order in which they start."""

from __future__ import annotations

import pytest

TOGETHER = {"faults": "pipeline", "topology": "pipeline"}
"""Folders whose tests share a process with those of another: what tools leave there (tool_runs.py) is made once."""
LONGEST = ("pipeline", "detection", "export", "measure", "pruning", "engine", "search", "spaces")
"""Folders by what their tests take, from the longest: started in this order, the processes end together."""


def group(item: pytest.Item) -> str:
    """The folder of `item`, or the one with which it shares a process."""
    folder = item.path.parent.name
    return TOGETHER.get(folder, folder)


def place(item: pytest.Item) -> int:
    """Of the group of `item` among all; what is not named comes last."""
    return LONGEST.index(group(item)) if group(item) in LONGEST else len(LONGEST)
