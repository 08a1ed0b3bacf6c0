"""Channels in order of their scores, and the widths that floors and rounding allow."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..plan import Count, Range, UserError, check_settings
from ..plan.plan_file import Finer, Gain

Widths = dict[str, int]


@dataclass(frozen=True)
class SelectConfig:
    """How channels are ranked and which widths are allowed.

    Args:
        ranking: `global` compares |alpha| across all groups; `kind` across groups of one kind, and prunes the same
            share of every kind (attention, MLP); `layer` prunes the same share of every group.
        floor: no group keeps fewer channels; 0, which wants `gain="sum"`, lets residual blocks go whole where the space
            knows what is left of them, and all other groups keep at least 1.
        round_to: widths are multiples of it, or the full width.
        gain: for budgets of costs. `sum` keeps the most score in all; `log` the most of sum_g log(score kept in g), by
            which halving any group's score is equally bad, so that no layer is given up for many cheap channels of
            another; `balanced` the largest harmonic mean of the shares of score kept, weighted by what the groups cost,
            so that equal scores keep equal shares of all groups, of streams that everything reads as of what lies
            between; `measured` the least sum of the groups' harms, which are measured on training images: scores then
            say only which channels of a group go first.
        finer: narrow groups may also keep a half or a quarter of `round_to`; "spatial": those of them that convolutions
            of more than one pixel read, where engines compute with so few channels as they are; "single": of these only
            those of no more than `round_to` channels, which could keep nothing less otherwise.
    """

    ranking: Literal["global", "kind", "layer"] = "global"
    floor: Annotated[int, Range(at_least=0, at_most=2**31 - 1)] = 1
    round_to: Count = 1
    gain: Gain = "sum"
    finer: Finer = False

    def __post_init__(self) -> None:
        check_settings(self, "select")
        if self.floor == 0 and self.gain != "sum":
            rule = f"a group of which nothing is kept is worth nothing by gain = {self.gain!r}, whatever it costs"
            raise UserError(rule, argument="select.floor", value=0, remedy="give select.gain=sum, or a floor of 1")

    def to_json(self) -> dict[str, Any]:
        """As plans record it."""
        return {name: value for name, value in asdict(self).items() if name != "finer" or value}

    def small_widths(self, n: int, *, spatial: bool) -> list[int]:
        """Widths of a group of `n` channels below `round_to`: powers of two that keep at least a quarter of it.

        `spatial`: convolutions of more than one pixel read it.
        """
        if not self.finer or (self.finer is not True and not spatial) or (self.finer == "single" and n > self.round_to):
            return []
        powers = (1 << i for i in range(self.round_to.bit_length()))
        return [width for width in powers if max(n / 4, min(self.floor, n)) <= width < min(self.round_to, n)]


class Ranking:
    """Channels of each group from best to worst, and all channels of all groups from worst to best.

    `order` {group: channels, best first}, `value` {group: what each of them ranks by}, `allowed` {group: widths},
    `sizes` {group: channels}. `present` {group: channels}: those that an earlier round has left, None: all; the others
    come last, and no width has room for them. `blocks` {group: residual block}: at a floor of 0 those of a block may
    all have width 0. `harms` {group: harm of its best 0, 1, ..., C channels} is what `gain="measured"` goes by.
    `spatial`: groups that convolutions of more than one pixel read, for some `finer` widths. Raises UserError for
    scores that are not finite.
    """

    def __init__(
        self,
        scores: Mapping[str, Tensor],
        config: SelectConfig,
        kinds: Mapping[str, str],
        present: Mapping[str, Sequence[int]] | None = None,
        blocks: Mapping[str, str] | None = None,
        harms: Mapping[str, Sequence[float]] | None = None,
        spatial: Collection[str] = (),
    ) -> None:
        self.config, self.harms = config, harms or {}
        self.blocks = dict(blocks or {}) if config.floor == 0 else {}
        self.sizes = {name: len(s) for name, s in scores.items()}
        self.order: dict[str, list[int]] = {}
        self.value: dict[str, list[float]] = {}
        self.allowed: dict[str, list[int]] = {}
        for name, s in scores.items():
            magnitude = s.detach().double().abs()
            if not torch.isfinite(magnitude).all():
                raise UserError(f"scores[{name!r}] are not finite: the search diverged; lower its learning rates")
            n = len(s)
            if present is not None:
                gone = torch.ones(n, dtype=torch.bool).index_fill(0, torch.tensor(present[name], dtype=torch.long), 0)
                magnitude[gone] = -1  # behind those that score 0
            self.order[name] = torch.argsort(magnitude, descending=True, stable=True).tolist()
            self.value[name] = magnitude[self.order[name]].clamp(min=0).tolist()
            most = n if present is None else len(present[name])
            lowest = -(-min(max(config.floor, 1), n) // config.round_to) * config.round_to
            widths = (*config.small_widths(n, spatial=name in spatial), *range(lowest, n, config.round_to), n)
            own = [width for width in widths if width <= most] or [most]
            self.allowed[name] = [0, *own] if name in self.blocks and own[0] else own
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

    @property
    def smallest(self) -> Widths:
        """The smallest allowed width of every group."""
        return {name: widths[0] for name, widths in self.allowed.items()}

    def keeping_blocks(self) -> Ranking:
        """The same where no block goes whole that is there now."""
        other = copy(self)
        other.blocks = {}
        other.allowed = {name: [n for n in own if n] or own for name, own in self.allowed.items()}
        return other

    def gains(self, prices: Mapping[str, float] | None = None) -> dict[str, list[float]]:
        """What each channel, best first, adds to what a plan keeps: {group: [C]}.

        Scores, or by `gain="log"` the logarithm of the group's, or by `gain="balanced"` what the group costs, over its
        share of score, negative, or by `gain="measured"` what it takes from the group's harm. Ranks (`layer`, `kind`)
        are worth `prices`, {group: what one channel costs}, times as much: then equal ranks are worth their price in
        every group, and no group goes first because its channels are dear.
        """
        if self.config.gain == "measured":
            return {name: (-np.diff(self.harms[name])).tolist() for name in self.value}
        if self.config.gain == "log":
            return {name: _logs(value) for name, value in self.value.items()}
        if self.config.gain == "balanced":
            worth = {name: price * self.sizes[name] for name, price in (prices or {}).items()}
            return {name: _shortfalls(value, worth.get(name, 1.0)) for name, value in self.value.items()}
        if self.config.ranking == "global" or prices is None:
            return self.value
        return {name: [prices[name] * v for v in value] for name, value in self.value.items()}

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


def _logs(values: Sequence[float]) -> list[float]:
    """What each channel, best first, adds to the logarithm of its group's score; the first is always kept: nothing."""
    held = np.cumsum(np.asarray(values, dtype=float))
    return [0.0, *np.diff(np.log(np.maximum(held, np.finfo(float).tiny)))]


def _shortfalls(values: Sequence[float], worth: float) -> list[float]:
    """What each channel, best first, takes off `worth` over the share of the group's score that is kept."""
    held = np.maximum(np.cumsum(np.asarray(values, dtype=float)), np.finfo(float).tiny)
    return [0.0, *(-worth * np.diff(held[-1] / held))]
