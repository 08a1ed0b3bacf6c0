"""Harms of a run's network, measured on its training images before channels are selected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..engine.searching import measured
from ..spaces import Space, load_model, sizes

if TYPE_CHECKING:
    from .networks import NetworkContext


def measured_harms(c: NetworkContext, space: Space, scores: Mapping[str, Tensor]) -> dict[str, list[float]] | None:
    """{group: harm of its best 0, 1, ..., C channels} in the network that the search has left; None where `select.gain`
    does not go by them.

    Channels that earlier rounds have removed are worth nothing.

    Args:
        c: of the run.
        space: of the unpruned network.
        scores: of all its channels.
    """
    select = c.recipe.select
    if select.gain != "measured":
        return None
    network, left, _ = load_model(c.folder / "searched")
    own = {name: scores[name][torch.tensor(kept, dtype=torch.long)] for name, kept in c.earlier.kept.items() if kept}
    c.progress.note(f"measuring on {select.images} training images what fewer channels cost, group by group")
    harms = measured(network, left, own, c.task, c.recipe.search, c.job("search"), images=select.images)
    return {name: pad(harms.get(name, []), n + 1) for name, n in sizes(space.groups).items()}


def pad(harms: list[float], n: int) -> list[float]:
    """`harms` with 0 for as many more channels as make them `n`."""
    return [*harms, *[0.0] * (n - len(harms))]
