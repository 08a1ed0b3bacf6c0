"""The best channels down to a level: the worst of all go, one by one, until the cost is within the limit."""

from __future__ import annotations

from collections.abc import Callable

from .ranking import Ranking, Widths


def above_threshold(ranking: Ranking, cost: Callable[[Widths], int], limit: float) -> Widths:
    """Widths of the channels above the lowest level with which `cost` is at most `limit`, floors and rounding applied.

    Channels below it that still fit are added back, best first. The smallest allowed widths must be within the limit.
    """
    low, high = 0, len(ranking.worst_first)  # cost(without_worst(high)) fits; widths only shrink as n grows
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cost(ranking.without_worst(middle)) <= limit else (middle + 1, high)
    return _fill(ranking, ranking.without_worst(high), cost, limit)


def _fill(ranking: Ranking, widths: Widths, cost: Callable[[Widths], int], limit: float) -> Widths:
    """Add channels back, best score first, while they fit."""
    open_groups = list(widths)
    while open_groups:
        candidates: list[tuple[float, str, int]] = []
        for name in open_groups:
            wider = ranking.next_width(name, widths[name])
            if wider is not None:
                candidates.append((-ranking.value[name][widths[name]], name, wider))
        for _, name, wider in sorted(candidates):
            if cost({**widths, name: wider}) <= limit:
                widths = {**widths, name: wider}
                # Costs only grow: a group that did not fit now never fits later.
                break
            open_groups.remove(name)
        else:
            break
        open_groups = [name for name in open_groups if ranking.next_width(name, widths[name]) is not None]
    return widths
