"""A good choice where too many classes depend on one another for the best: one class after the other chooses anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .choices import Linked

SWEEPS = 50
"""Most turns of all classes at one price; none of the networks seen takes ten."""
DIGITS = 1e-3
"""The price is found to this share: what is left of the limits is filled up."""


def climbed(linked: Linked, most: np.ndarray) -> list[int] | None:
    """A choice within `most` [limits] that no class could better alone at the prices where it just fits; None if none.

    Every limit has the same price for each share of it. From a price of 0 upwards each choice goes on from the last.
    """
    if (most <= 0).any():
        return None
    unit = np.array([max(float(each.score.max()) for each in linked.classes) / most]).ravel()
    chosen = [int(each.score.argmax()) for each in linked.classes]
    low, high, start = 0.0, 1e-3, chosen
    while not (linked.cost(found := _turns(linked, high * unit, start)) <= most).all():
        low, high, start = high, 2 * high, found
        if high > 1e9:
            return None
    while high - low > DIGITS * high:
        middle = (low + high) / 2
        trial = _turns(linked, middle * unit, start)
        if (linked.cost(trial) <= most).all():
            high, found = middle, trial
        else:
            low, start = middle, trial
    return found


def _turns(linked: Linked, prices: np.ndarray, start: Sequence[int]) -> list[int]:
    """Where no class changes any more when each in turn takes what is best beside the others at `prices` [limits]."""
    chosen = list(start)
    for _ in range(SWEEPS):
        before = list(chosen)
        for i, each in enumerate(linked.classes):
            chosen[i] = int((each.score - linked.costs(i, chosen) @ prices).argmax())
        if chosen == before:
            break
    return chosen


def filled(linked: Linked, most: np.ndarray, chosen: Sequence[int]) -> list[int]:
    """`chosen`, changed where one class alone can hold more within `most` [limits], the largest gain first."""
    chosen = list(chosen)
    while True:
        best, found = 0.0, None
        left = most - linked.cost(chosen)
        for i, each in enumerate(linked.classes):
            costs = linked.costs(i, chosen)
            gain = np.where((costs - costs[chosen[i]] <= left).all(axis=1), each.score, -np.inf)
            k = int(gain.argmax())
            if gain[k] - each.score[chosen[i]] > best:
                best, found = float(gain[k] - each.score[chosen[i]]), (i, k)
        if found is None:
            return chosen
        chosen[found[0]] = found[1]
