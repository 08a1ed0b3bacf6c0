"""From a search's settings to its penalty on scores, and to what its latency table says about channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..costs import open_table
from ..penalties import Penalty, Terms
from ..plan import UserError
from ..search import channel_savings
from ..spaces import Space
from .settings import SearchConfig, make_method, method_of, penalty_of


def make_penalty(config: SearchConfig, space: Space, *, input_size: tuple[int, int, int]) -> Penalty:
    """The penalty of `config` on the scores of `space`, for images of `input_size` (C, H, W).

    Raises UserError when the latency table is missing, broken, or another network's.

    Example::

        penalty = make_penalty(SearchConfig(epochs=1), space, input_size=(3, 32, 32))  # l1
    """
    penalty, groups = penalty_of(config), tuple(space.groups)
    if penalty.reads is None:
        return penalty.make(Terms(config.gamma, groups))
    with _latency_table(config) as path:
        latency = penalty.reads(path, space, input_size)
        return penalty.make(Terms(config.gamma, groups, latency, config.latency_tau))


def make_savings(config: SearchConfig, space: Space, *, input_size: tuple[int, int, int]) -> dict[str, float]:
    """Share of the latency that one channel less of each group saves, {group: share}, by the table of `config`.

    Raises UserError when the latency table is missing, broken, or another network's.
    """
    with _latency_table(config) as path:
        return channel_savings(open_table(path, space, input_size), space, input_size)


def check_latency_table(config: SearchConfig, space: Space, *, input_size: tuple[int, int, int]) -> None:
    """UserError unless a search of `space` by `config`, if it reads a latency table, can use the one that it names."""
    if penalty_of(config).table:
        make_penalty(config, space, input_size=input_size)
    elif method_of(config).reads_table(make_method(config)):
        make_savings(config, space, input_size=input_size)


@contextmanager
def _latency_table(config: SearchConfig) -> Iterator[str]:
    """The file that `config` names; errors of the block are those of its table."""
    path = str(config.latency_table)
    try:
        yield path
    except UserError as error:
        raise error.at(f"search.latency_table = {path!r}") from None
