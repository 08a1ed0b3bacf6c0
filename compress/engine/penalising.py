"""From a search's settings to its penalty on scores."""

from __future__ import annotations

from pathlib import Path

from ..costs import LatencyTable, SoftLatency
from ..penalties import L1, LatencyPenalty, Penalty
from ..penalties.latency import TAU
from ..plan import UserError
from ..spaces import Space
from .settings import SearchConfig


def l1_penalty(config: SearchConfig) -> L1:
    """The l1 penalty of `config`."""
    assert config.penalty != "latency", "make_penalty makes that one, which needs a space"
    return L1(config.gamma, config.penalty)


def make_penalty(config: SearchConfig, space: Space, *, input_size: tuple[int, int, int]) -> Penalty:
    """The penalty of `config` on the scores of `space`, for images of `input_size` (C, H, W).

    Raises UserError when the latency table is missing, broken, or another network's.

    Example::

        penalty = make_penalty(SearchConfig(epochs=1), space, input_size=(3, 32, 32))  # l1
    """
    if config.penalty != "latency":
        return l1_penalty(config)
    path = Path(config.latency_table or "")
    if not path.is_file():
        raise UserError(f"search.latency_table = {str(path)!r}: no such file; make it with tools/profile_latency.py")
    try:
        table = LatencyTable.load(path)
        table.check_space(space, input_size)
        latency = SoftLatency(table, space.operators(input_size))
        groups = [group.name for group in space.groups]
        return LatencyPenalty(config.gamma, latency, groups, tau=config.latency_tau or TAU)
    except UserError as error:
        raise UserError(f"search.latency_table = {str(path)!r}: {error}") from None
