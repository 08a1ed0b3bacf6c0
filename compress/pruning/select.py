"""From scores to a plan: rank channels by |alpha| and keep as many as the budget allows.

Selection knows scores, sizes and costs only, not the search that made the scores: the same scores and the same budget
give the same plan.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..costs import macs, params
from ..plan import Count, UserError, WidthPlan, check_settings
from ..spaces import Operator
from .budget import Budget, BudgetKind
from .limits import Priced, best_under

Widths = dict[str, int]


@dataclass(frozen=True)
class SelectConfig:
    """How channels are ranked and which widths are allowed.

    `ranking`: `global` compares |alpha| across all groups; `kind` across groups of one kind, and prunes the same share
    of every kind (attention, MLP); `layer` prunes the same share of every group. `floor`: no group keeps fewer
    channels. `round_to`: widths are multiples of it (or the full width). `gain`, for budgets of costs: `sum` keeps the
    most score in all; `log` the most of sum_g log(score kept in g), by which halving any group's score is equally bad,
    so that no layer is given up for many cheap channels of another.
    """

    ranking: Literal["global", "kind", "layer"] = "global"
    floor: Count = 1
    round_to: Count = 1
    gain: Literal["sum", "log"] = "sum"

    def __post_init__(self) -> None:
        check_settings(self, "select")


def select(
    scores: Mapping[str, Tensor],
    operators: Sequence[Operator],
    budget: Budget,
    config: SelectConfig = SelectConfig(),
    *,
    space: str,
    removable: Collection[str] = (),
    kinds: Mapping[str, str] | None = None,
    priced: Priced | None = None,
) -> WidthPlan:
    """Keep the channels with the largest |score| under `budget`.

    Without a budget, groups named in `removable` go whole when all their scores are zero. `kinds` says what each group
    is (`Group.kind`; all "channels" when absent), for ranking within kinds and for the plan's record. `priced` is the
    latency table that a budget of latency needs.

    One budget of channels, MACs or parameters drops the worst channels until it is met. A budget of latency, several at
    once, and any cost under `gain="log"` take the widths that keep the most (`best_widths`), for latency among those
    of the table's grid: costs are stairs there, and a channel's worth is what it saves.

    A cost budget is met from below; channels that still fit are added back in order of score, so that without rounding
    the cost ends within 1 % of the budget. Raises UserError for scores that are not finite and for a budget that the
    floor and the rounding put out of reach (with the reachable range).

    Example::

        plan = select(scores, space.operators((3, 32, 32)), Budget("macs_ratio", 0.5), space=space.name)
    """
    if config.gain == "log" and budget.kind in ("free", "pruning_ratio"):
        raise UserError(f"select.gain = 'log': a {budget.kind} budget limits no cost; use 'sum', or --macs-ratio")
    ranking = _Ranking(scores, config, kinds or {})
    before = {name: len(s) for name, s in scores.items()}
    if budget.kind == "free":
        counts = {name: int((s != 0).sum()) for name, s in scores.items()}
        gone = {name for name, count in counts.items() if count == 0 and name in removable}
        widths = {name: 0 if name in gone else ranking.allow_at_least(name, n) for name, n in counts.items()}
    elif budget.also or budget.latency or config.gain == "log":
        values = ranking.value if config.gain == "sum" else {name: _logs(v) for name, v in ranking.value.items()}
        widths = best_under(budget, values, operators, ranking.allowed, priced)
    else:
        widths = _under_budget(ranking, _cost(budget.kind, operators, before), budget)
    kept = {name: tuple(sorted(ranking.order[name][:width])) for name, width in widths.items()}
    n_before, n_after = sum(before.values()), sum(widths.values())
    record = {
        "select": asdict(config),
        "budget": budget.to_json(),
        "scores_sha256": hash_scores(scores),
        "pruned_ratio": 1 - n_after / n_before,
        "params": {"before": params(operators, before), "after": params(operators, widths)},
        "macs": {"before": macs(operators, before), "after": macs(operators, widths)},
    }
    if priced is not None:
        record["latency"] = priced.record(operators, widths)
    if kinds and set(kinds.values()) != {"channels"}:
        record["kinds"] = dict(kinds)
    return WidthPlan(space, before, kept, record)


def _logs(values: Sequence[float]) -> list[float]:
    """What each channel, best first, adds to the logarithm of its group's score; the first is always kept: nothing."""
    held = np.cumsum(np.asarray(values, dtype=float))
    return [0.0, *np.diff(np.log(np.maximum(held, np.finfo(float).tiny)))]


def hash_scores(scores: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of names and float32 values, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(scores):
        digest.update(name.encode() + b"\0" + scores[name].detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


class _Ranking:
    """Channels of each group from best to worst, and all channels of all groups from worst to best."""

    def __init__(self, scores: Mapping[str, Tensor], config: SelectConfig, kinds: Mapping[str, str]) -> None:
        self.sizes = {name: len(s) for name, s in scores.items()}
        self.order: dict[str, list[int]] = {}
        self.value: dict[str, list[float]] = {}
        self.allowed: dict[str, list[int]] = {}
        for name, s in scores.items():
            magnitude = s.detach().double().abs()
            if not torch.isfinite(magnitude).all():
                raise UserError(f"scores[{name!r}] are not finite: the search diverged; lower its learning rates")
            self.order[name] = torch.argsort(magnitude, descending=True, stable=True).tolist()
            n = len(s)
            self.value[name] = magnitude[self.order[name]].tolist()
            lowest = -(-min(config.floor, n) // config.round_to) * config.round_to
            self.allowed[name] = [*range(lowest, n, config.round_to), n]
        # By rank within the group or kind, the k worst channels overall take the same share of each.
        if config.ranking == "layer":
            self.value = {name: [1 - (rank + 0.5) / n for rank in range(n)] for name, n in self.sizes.items()}
        elif config.ranking == "kind":
            self.value = _shares(self.value, kinds)
        # Equal scores go from every group in equal shares, then by name; never by the order in which `scores` lists its
        # groups, which a file changes.
        ranked = [
            (value, 1 - (rank + 0.5) / self.sizes[name], name)
            for name in scores
            for rank, value in enumerate(self.value[name])
        ]
        self.worst_first = [name for _, _, name in sorted(ranked)]

    def allow(self, name: str, width: int) -> int:
        """The largest allowed width of at most `width`, or the smallest allowed one."""
        allowed = self.allowed[name]
        return allowed[max(0, bisect_right(allowed, width) - 1)]

    def allow_at_least(self, name: str, width: int) -> int:
        """The smallest allowed width of at least `width`."""
        return self.allowed[name][bisect_left(self.allowed[name], width)]

    def without_worst(self, n: int) -> Widths:
        """Widths when the `n` worst channels go, floors and rounding applied."""
        widths = dict(self.sizes)
        for name in self.worst_first[:n]:
            widths[name] -= 1
        return {name: self.allow(name, width) for name, width in widths.items()}

    def next_width(self, name: str, width: int) -> int | None:
        """The allowed width after `width`."""
        position = bisect_right(self.allowed[name], width)
        return self.allowed[name][position] if position < len(self.allowed[name]) else None


def _shares(value: Mapping[str, list[float]], kinds: Mapping[str, str]) -> dict[str, list[float]]:
    """For every channel, best first in its group, the share of its kind's channels that are not better."""
    shares: dict[str, list[float]] = {}
    for kind in {kinds.get(name, "channels") for name in value}:
        names = [name for name in value if kinds.get(name, "channels") == kind]
        n = {name: len(value[name]) for name in names}
        ranked = sorted(
            (v, 1 - (rank + 0.5) / n[name], name, rank) for name in names for rank, v in enumerate(value[name])
        )
        shares |= {name: [0.0] * n[name] for name in names}
        for position, (_, _, name, rank) in enumerate(ranked):
            shares[name][rank] = (position + 0.5) / len(ranked)
    return shares


def _cost(kind: BudgetKind, operators: Sequence[Operator], before: Widths) -> Callable[[Widths], int]:
    if kind == "pruning_ratio":
        return lambda widths: sum(widths.values())
    if kind == "macs_ratio":
        return lambda widths: macs(operators, widths)
    return lambda widths: params(operators, widths)


def _under_budget(ranking: _Ranking, cost: Callable[[Widths], int], budget: Budget) -> Widths:
    assert budget.value is not None
    full, smallest = cost(ranking.sizes), cost(ranking.without_worst(len(ranking.worst_first)))
    share = 1 - budget.value if budget.kind == "pruning_ratio" else budget.value
    limit = share * full + 1e-9 * full
    if smallest > limit:
        # Rounded into the range, so that the ends themselves can be chosen.
        least, most = math.ceil(1e4 * smallest / full) / 1e4, 1.0
        if budget.kind == "pruning_ratio":
            least, most = 0.0, math.floor(1e4 * (1 - smallest / full)) / 1e4
        raise UserError(
            f"{budget.argument} {budget.value:g}: out of reach; with this floor and rounding the reachable range is "
            f"{least:.4f} to {most:.4f}; choose a value inside it, or lower select.floor or select.round_to"
        )
    low, high = 0, len(ranking.worst_first)  # cost(without_worst(high)) fits; widths only shrink as n grows
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cost(ranking.without_worst(middle)) <= limit else (middle + 1, high)
    return _fill(ranking, ranking.without_worst(high), cost, limit)


def _fill(ranking: _Ranking, widths: Widths, cost: Callable[[Widths], int], limit: float) -> Widths:
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
