"""The widths that keep the most score under limits on what the network costs: a multiple-choice knapsack.

Groups that share operators form a block, whose choices are all combinations of its groups' widths: their costs need not
be sums, and may be stairs. Combinations that another one beats in score and in every cost are dropped. Under one limit
`one_limit` takes one of the rest for each block, under several HiGHS (`scipy.optimize.milp`) does. Where a block would
have too many combinations, every group chooses for itself and pairs of choices are linked, by HiGHS; but groups that
have nothing left only together, those of a residual block, choose together always.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np

from ..plan import UserError
from ..spaces import Operator, Present, channels_at, members_of, plain_sides, without_sums
from .multiple_choice import Choices, Undecided, keep, promising, smallest, solve, undominated
from .one_limit import solve_one
from .pools import split

Widths = dict[str, int]
Prices = Callable[[Operator, Sequence[int], Sequence[int]], np.ndarray]
"""What an operator costs at all pairs of numbers of channels: (operator, n_in [I], n_out [O]) -> [I, O], any unit."""

MOST_COMBINATIONS = 20_000
MOST_OF_A_BLOCK = 2_000_000
"""Of the groups of a residual block, which choose together whatever their number is."""
SLACK = 1e-6
"""HiGHS keeps a limit to 1e-6 of it: it is told one that is smaller by as much."""
ROUNDING = 1e-12
"""What sums of costs may differ by for the order in which they are added; of score, what counts as equal."""


@dataclass(frozen=True)
class Limit:
    """One budget: `rest` and the prices of all operators add up to at most `most`, all in one unit.

    `name` is what messages call it: "macs_ratio = 0.5"; `unit` follows amounts there. `whole` is what the
    unpruned network costs: a budget of as much would not be taken.
    """

    name: str
    prices: Prices
    most: float
    rest: float = 0.0
    unit: str = ""
    whole: float = math.inf


def best_widths(
    values: Mapping[str, Sequence[float]],
    operators: Sequence[Operator],
    limits: Sequence[Limit],
    allowed: Mapping[str, Sequence[int]],
    *,
    known: Widths | None = None,
    blocks: Mapping[str, str] | None = None,
) -> Widths:
    """The `allowed` width of every group with which the kept channels hold the most score, under all `limits`.

    The score held is the largest there is. Where HiGHS looks for it, it is so to 1e-4 of it (unless that stops after
    MOST_NODES), but for 1e-6 of each limit, which stays unused.

    Args:
        values: {group: [C]}, its channels' scores, best first: a group of width w keeps the first w. The order of the
            groups does not matter.
        operators: the space's. Where a width is a sum of groups, its price must be a product of its widths, as MACs and
            parameters are: it counts as one operator for each of their pairs.
        limits: budgets, all of which hold.
        allowed: {group: widths to choose from}.
        known: widths within the limits, which stay where none are found that hold more.
        blocks: {group: residual block}: groups of one have width 0 together or not at all.

    Raises UserError for a limit that no allowed widths keep, with the smallest reachable cost, for limits that can be
    kept one by one but not together, for residual blocks of too many combinations, and where HiGHS stops before it has
    found out.

    Example::

        best_widths(values, operators, [macs_limit, latency_limit], allowed)
    """
    widths = {name: sorted(set(allowed[name])) for name in sorted(values)}
    operators = [part for op in operators for part in without_sums(op)]
    together = [sorted(names) for names in members_of(blocks or {}) if any(0 in widths[name] for name in names)]
    classes, owner = _classes({name: values[name] for name in widths}, operators, widths, together)
    pairs, fixed = _priced(operators, limits, widths, classes, owner)
    room = np.array([limit.most for limit in limits], dtype=float) - fixed
    try:
        chosen = _chosen(classes, pairs, room)
    except Undecided:
        if known is None:
            rule = f"could not be decided whether any widths keep {'it' if len(limits) == 1 else 'them'}"
            raise UserError(f"{_named(limits)}: {rule}; raise select.round_to, so that there are fewer") from None
        chosen = None
    if chosen is None:
        if known is None:
            lower = "select.round_to" if together else "select.floor or select.round_to"
            raise UserError(_refusal(classes, pairs, fixed, limits, room * (1 - SLACK), lower))
        return dict(known)
    picked = [zip(each.names, each.widths[k], strict=True) for each, k in zip(classes, chosen, strict=True)]
    found = {name: int(width) for pairs in picked for name, width in pairs}
    if known is not None and _held(values, known) >= (1 - len(classes) * ROUNDING) * _held(values, found):
        return dict(known)
    return {name: found[name] for name in values}


def _chosen(classes: list[Choices], pairs: dict[tuple[int, int], np.ndarray], room: np.ndarray) -> list[int] | None:
    """The combination of each class, which cost at most `room` [limits]; None where none do. Raises Undecided."""
    if len(room) == 1 and not pairs:
        return solve_one(classes, float(room[0]) * (1 - ROUNDING))
    most = room * (1 - SLACK)
    if pairs:
        solution = solve(classes, pairs, [each.score for each in classes], most)
        return None if solution is None else solution.chosen
    parts, write_back = split(classes)
    pooled = [part.as_choices() for part in parts]
    left = [part.only(kept) for part, kept in zip(parts, promising(pooled, most), strict=True)]
    pooled = [part.as_choices() for part in left]
    solution = solve(pooled, pairs, [each.score for each in pooled], most)
    return None if solution is None else write_back([*zip(left, solution.chosen, strict=True)])


def _held(values: Mapping[str, Sequence[float]], widths: Widths) -> float:
    return math.fsum(math.fsum(value[: widths[name]]) for name, value in values.items())


def _classes(
    values: Mapping[str, Sequence[float]],
    operators: Sequence[Operator],
    widths: Mapping[str, Sequence[int]],
    together: Sequence[Sequence[str]],
) -> tuple[list[Choices], dict[str, int]]:
    """Blocks of groups, or parts of them where a block has too many combinations; and the class of every group.

    A part is a group, or those groups of a residual block, `together`, that may only be emptied together.
    """
    joined = {name: [name] for name in values}
    for pair in chain(*(pairwise(names) for names in together), (_named_sides(op, widths) for op in operators)):
        one, other = (joined.get(str(name)) for name in pair)
        if one is not None and other is not None and one is not other:
            one.extend(other)
            for name in other:
                joined[name] = one
    held = {name: np.concatenate([[0.0], np.cumsum(v)])[widths[name]] for name, v in values.items()}
    own = {name: names for names in together for name in names}
    classes: list[Choices] = []
    for names in {id(found): found for found in joined.values()}.values():
        parts = list({id(part): part for part in (own.get(name, [name]) for name in names)}.values())
        whole = math.prod(len(widths[name]) for name in names) <= MOST_COMBINATIONS
        for part in [names] if whole else parts:
            inside = [[part.index(name) for name in each] for each in parts if {*each} <= {*part} and len(each) > 1]
            classes.append(_choices(part, widths, held, inside))
    return classes, {name: i for i, each in enumerate(classes) for name in each.names}


def _choices(
    names: Sequence[str],
    widths: Mapping[str, Sequence[int]],
    held: Mapping[str, np.ndarray],
    together: Sequence[Sequence[int]],
) -> Choices:
    """All combinations of the groups' widths, but for those that empty some columns out of `together` and not all."""
    n = math.prod(len(widths[name]) for name in names)
    if n > MOST_OF_A_BLOCK:
        raise UserError(
            f"select.floor = 0: the groups of the residual block with {names[0]!r} have {n:,} combinations of widths; "
            "raise select.round_to, so that there are fewer"
        )
    grids = np.meshgrid(*(widths[name] for name in names), indexing="ij")
    combined = np.stack([grid.ravel() for grid in grids], axis=1)
    score: np.ndarray = np.zeros(())
    for name in names:
        score = np.add.outer(score, held[name])
    score = score.ravel()
    for columns in together:
        empty = combined[:, list(columns)] == 0
        whole = empty.all(axis=1) | ~empty.any(axis=1)
        combined, score = combined[whole], score[whole]
    return Choices(tuple(names), combined, score)


def _named_sides(op: Operator, widths: Mapping[str, Sequence[int]]) -> tuple[str | None, str | None]:
    """The groups that an operator's sides depend on; what goes with a block depends on none where all blocks stay."""
    one, other = (_grid(side, widths)[0] for side in plain_sides(op))
    return one, other


def _grid(side: int | str | Present, widths: Mapping[str, Sequence[int]]) -> tuple[str | None, list[int]]:
    """The group that a side of an operator depends on, if any, and the numbers of channels there at its `widths`."""
    if isinstance(side, int) or (isinstance(side, Present) and 0 not in widths[side.group]):
        return None, [channels_at(side, 1)]
    name = side.group if isinstance(side, Present) else side
    return name, [channels_at(side, n) for n in widths[name]]


def _priced(
    operators: Sequence[Operator],
    limits: Sequence[Limit],
    widths: Mapping[str, Sequence[int]],
    classes: list[Choices],
    owner: Mapping[str, int],
) -> tuple[dict[tuple[int, int], np.ndarray], np.ndarray]:
    """Give every class its combinations' costs, and drop those that another one beats.

    Returns the costs of pairs of classes, and those that no choice changes, [limits].
    """
    for each in classes:
        each.costs = np.zeros((len(each.score), len(limits)))
    pairs: dict[tuple[int, int], np.ndarray] = {}
    fixed = np.array([limit.rest for limit in limits], dtype=float)
    for op in operators:
        _add_prices(op, limits, widths, classes, owner, pairs, fixed)
    for i in range(len(classes)):
        keep(classes, pairs, i, undominated(classes, pairs, i))
    return pairs, fixed


def _add_prices(
    op: Operator,
    limits: Sequence[Limit],
    widths: Mapping[str, Sequence[int]],
    classes: Sequence[Choices],
    owner: Mapping[str, int],
    pairs: dict[tuple[int, int], np.ndarray],
    fixed: np.ndarray,
) -> None:
    """Add what `op` costs to its class's combinations, to its pair of classes, or to what no choice changes."""
    sides = [_grid(side, widths) for side in plain_sides(op)]
    tables = np.stack([limit.prices(op, *(grid for _, grid in sides)) for limit in limits], axis=-1).astype(float)
    if not np.isfinite(tables).all():
        raise ValueError(f"prices of {op.name} are not finite")
    owners = sorted({owner[name] for name, _ in sides if name is not None})
    if not owners:
        fixed += tables[0, 0]
        return

    def places(i: int, name: str | None) -> Any:
        """Where each combination of class `i` has the width of one of its groups."""
        return 0 if name is None else np.searchsorted(widths[name], classes[i].widths[:, classes[i].names.index(name)])

    one, other = (name for name, _ in sides)
    if len(owners) == 1:
        classes[owners[0]].costs += tables[places(owners[0], one), places(owners[0], other)]
        return
    assert one is not None
    assert other is not None
    rows, columns = places(owner[one], one), places(owner[other], other)
    linked = tables[np.ix_(rows, columns)]
    if owner[one] > owner[other]:
        linked = linked.swapaxes(0, 1)
    pair = (owners[0], owners[1])
    pairs[pair] = pairs.get(pair, 0.0) + linked


def _refusal(
    classes: Sequence[Choices],
    pairs: Mapping[tuple[int, int], np.ndarray],
    fixed: np.ndarray,
    limits: Sequence[Limit],
    most: np.ndarray,
    lower: str,
) -> str:
    """The limit that no choice keeps, with the least that it could be; else that they cannot be kept together.

    `lower` are the settings that leave more choices when they are lower.
    """
    for j, limit in enumerate(limits):
        least, proven = smallest(classes, pairs, fixed, j)
        if len(limits) == 1 or least > fixed[j] + most[j]:
            reached = f"no widths {'' if proven else 'were found that '}take less than {_up(least):.6g}{limit.unit}"
            remedy = "raise it to that, or lower" if _up(least) < limit.whole else "lower"
            return (
                f"{limit.name}: out of reach; allowed are {limit.most:.6g}{limit.unit}, and with this floor and "
                f"rounding {reached}; {remedy} {lower}"
            )
    return (
        f"{_named(limits)}: no widths found that keep them together, though each alone could be kept; raise one of them"
    )


def _named(limits: Sequence[Limit]) -> str:
    return " and ".join(limit.name for limit in limits)


def _up(value: float) -> float:
    """Rounded up to four digits, and by more than SLACK, so that the value named can be chosen."""
    step = 10.0 ** (math.floor(math.log10(value)) - 3) if value > 0 else 1.0
    return math.ceil(value * (1 + 2 * SLACK) / step) * step
