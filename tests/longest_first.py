"""The order in which folders of tests start where two processes share them."""

from __future__ import annotations

import pytest

LONGEST = ("pipeline", "detection", "export", "measure", "pruning", "engine", "topology", "search", "faults", "spaces")
"""Folders by what their tests take, from the longest: started in this order, the processes end together."""


def place(item: pytest.Item) -> int:
    """Of the folder of `item` among all; what is not named comes last."""
    folder = item.path.parent.name
    return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)
