"""From scores to a plan: rank channels by |alpha| and keep as many as the budget allows.

Selection knows scores, sizes and costs only, not the search that made the scores: the same scores and the same budget
give the same plan.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..costs import macs, params
from ..plan import UserError, WidthPlan
from ..spaces import Operator, members_of, read_spatially
from .budget import Budget
from .counted import Counted, reachable_limit, under_one
from .limits import Priced, best_under
from .ranking import Ranking, SelectConfig

DEFAULTS = SelectConfig()


def select(
    scores: Mapping[str, Tensor],
    operators: Sequence[Operator],
    budget: Budget,
    config: SelectConfig = DEFAULTS,
    *,
    space: str,
    blocks: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    priced: Priced | None = None,
    present: Mapping[str, Sequence[int]] | None = None,
    harms: Mapping[str, Sequence[float]] | None = None,
) -> WidthPlan:
    """Keep the channels with the largest |score| under `budget`.

    A budget is met from below; without rounding the cost ends within 1 % of it. Raises UserError for scores that are
    not finite and for a budget that the floor and the rounding put out of reach (with the reachable range).

    Args:
        scores: {group: [C]}.
        operators: what is counted.
        budget: how much may stay.
        config: how channels are ranked, and which widths are allowed.
        space: name of the space, for the plan.
        blocks: {group: residual block} of those that may go whole (`spaces.blocks_of`): under a free budget when all
            their scores are zero, under others when `config.floor` is 0.
        kinds: what each group is (`Group.kind`; all "channels" when absent), for ranking within kinds and the record.
        priced: the latency table that a budget of latency needs.
        present: {group: channels} that earlier rounds have left, the only ones that can stay; the budget is of the
            whole network all the same. None: all. Scores of the others are 0.
        harms: {group: harm of its best 0, 1, ..., C channels}, which a gain of "measured" needs (`search.harms_of`).

    Example::

        plan = select(scores, space.operators((3, 32, 32)), Budget("macs_ratio", 0.5), space=space.name)
    """
    _check_gain(budget, config)
    if config.gain == "measured":
        _check_harms(harms, scores)
    ranking = Ranking(scores, config, kinds or {}, present, blocks, harms, read_spatially(operators))
    before = ranking.sizes
    widths = _widths(scores, operators, budget, ranking, blocks or {}, priced)
    kept = {name: tuple(sorted(ranking.order[name][:width])) for name, width in widths.items()}
    record = {
        "select": config.to_json(),
        "budget": budget.to_json(),
        "scores_sha256": hash_scores(scores),
        "pruned_ratio": 1 - sum(widths.values()) / sum(before.values()),
        "params": {"before": params(operators, before), "after": params(operators, widths)},
        "macs": {"before": macs(operators, before), "after": macs(operators, widths)},
    }
    if gone := list(dict.fromkeys(block for name, block in (blocks or {}).items() if not widths[name])):
        record["blocks_removed"] = gone
    if priced is not None:
        record["latency"] = priced.record(operators, widths)
    if kinds and set(kinds.values()) != {"channels"}:
        record["kinds"] = dict(kinds)
    return WidthPlan(space, before, kept, record)


def _widths(
    scores: Mapping[str, Tensor],
    operators: Sequence[Operator],
    budget: Budget,
    ranking: Ranking,
    blocks: Mapping[str, str],
    priced: Priced | None,
) -> dict[str, int]:
    """How many of each group's channels stay.

    One budget of channels, MACs or parameters drops the worst channels until it is met, and adds back those that still
    fit, best first (`threshold`). Where widths are rounded, and under another `gain`, it takes the widths that keep the
    most instead (`counted.under_one`), and where blocks may go; so do a budget of latency, among the widths of the
    table's grid, and several budgets at once.
    """
    if budget.also or budget.latency:
        # Milliseconds of single channels are no table's: MACs say what a group is worth.
        prices = Counted.of("macs", ranking, operators).each(ranking) if ranking.config.gain == "balanced" else None
        return best_under(budget, ranking.gains(prices), operators, ranking.allowed, priced, blocks=ranking.blocks)
    if budget.limits.cost is not None:
        return under_one(budget, ranking, operators)
    counts = {name: int((s != 0).sum()) for name, s in scores.items()}
    gone = {name for names in members_of(blocks) if not any(counts[name] for name in names) for name in names}
    return {name: 0 if name in gone else ranking.allow_at_least(name, max(n, 1)) for name, n in counts.items()}


def _check_gain(budget: Budget, config: SelectConfig) -> None:
    if config.gain in ("log", "measured") and budget.limits.cost in (None, "channels"):
        raise UserError(
            f"select.gain = {config.gain!r}: a {budget.kind} budget limits no cost; use 'sum', or macs_ratio"
        )


def _check_harms(harms: Mapping[str, Sequence[float]] | None, scores: Mapping[str, Tensor]) -> None:
    if harms is None:
        raise UserError(
            "needs harms, which `compress.search.harms_of` measures", argument="select.gain", value="measured"
        )
    for name, score in scores.items():
        own = harms.get(name, ())
        if len(own) != len(score) + 1 or not all(map(math.isfinite, own)):
            rule = f"must be {len(score) + 1} finite numbers, of its best 0, 1, ..., {len(score)} channels"
            remedy = "measure them by `compress.search.harms_of`"
            raise UserError(rule, argument=f"harms[{name!r}]", value=f"{len(own)} numbers", remedy=remedy)


def check_reachable(
    sizes: Mapping[str, int],
    operators: Sequence[Operator],
    budget: Budget,
    config: SelectConfig,
    *,
    blocks: Mapping[str, str] | None = None,
    priced: Priced | None = None,
) -> None:
    """Raise the UserError with which `select` refuses `budget` for groups of `sizes`, whatever their scores are.

    So it does where there are no groups.

    One counted cost is compared with that of the smallest widths; several, and a table's, are solved for scores of 0,
    of which the cheapest widths are as good as any and found at once.

    Args:
        sizes: {group: channels of the unpruned network}.
        operators, budget, config, blocks, priced: as `select` takes them.
    """
    if not sizes:
        raise UserError(
            "space: scores no channels of this network, so nothing of it is pruned; ignore less, or score more"
        )
    _check_gain(budget, config)
    zeros = {name: torch.zeros(n) for name, n in sizes.items()}
    gain = "sum" if config.gain == "measured" else config.gain
    plain = replace(config, ranking="global", gain=gain)
    ranking = Ranking(zeros, plain, {}, blocks=blocks, spatial=read_spatially(operators))
    if budget.also or budget.latency:
        best_under(budget, ranking.gains(), operators, ranking.allowed, priced, blocks=ranking.blocks)
    elif budget.limits.cost is not None:
        reachable_limit(budget, ranking, Counted.of(budget.limits.cost, ranking, operators))


def hash_scores(scores: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of names and float32 values, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(scores):
        digest.update(name.encode() + b"\0" + scores[name].detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
