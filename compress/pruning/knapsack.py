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
from .choices import Choices, keep, undominated
from .elimination import Elimination, Pair
from .grids import FINER, around, coarse, every
from .highs import Undecided
from .multiple_choice import MOST_ENTRIES, solve
from .one_limit import solve_one
from .pools import split
from .refusal import SLACK, named, refusal

Widths = dict[str, int]
Prices = Callable[[Operator, Sequence[int], Sequence[int]], np.ndarray]
"""What an operator costs at all pairs of numbers of channels: (operator, n_in [I], n_out [O]) -> [I, O], any unit."""

MOST_COMBINATIONS = 20_000
MOST_OF_A_BLOCK = 2_000_000
"""Of the groups of a residual block, which choose together whatever their number is."""
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
    MOST_NODES), but for 1e-6 of each limit, which stays unused; where groups that share operators have very many widths
    it is the largest among those of a coarse grid, then among those around what was found there (`grids`).

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
    linked = _components(operators, widths, together)
    many = [names for names in linked if _combinations(names, widths) > MOST_COMBINATIONS]
    steps = coarse(widths, chain(*many), lambda grids: _entries(operators, grids, many) <= MOST_ENTRIES)
    grids = {name: every(own, steps[name]) for name, own in widths.items()}
    best = _best(values, operators, limits, grids, linked, together, known)
    while any(step > 1 for step in steps.values()):
        steps = {name: max(step // FINER, 1) for name, step in steps.items() if step > 1}
        grids |= {name: around(widths[name], best[name], step) for name, step in steps.items()}
        best = _best(values, operators, limits, grids, linked, together, best)
    return {name: best[name] for name in values}


def _best(
    values: Mapping[str, Sequence[float]],
    operators: Sequence[Operator],
    limits: Sequence[Limit],
    widths: Mapping[str, Sequence[int]],
    linked: Sequence[Sequence[str]],
    together: Sequence[Sequence[str]],
    known: Widths | None,
) -> Widths:
    """The best of `widths`, or those `known` where they hold as much."""
    classes, owner = _classes({name: values[name] for name in widths}, linked, widths, together)
    pairs, fixed = _priced(operators, limits, widths, classes, owner)
    room = np.array([limit.most for limit in limits], dtype=float) - fixed
    try:
        chosen = _chosen(classes, pairs, room)
    except Undecided:
        if known is None:
            rule = f"could not be decided whether any widths keep {'it' if len(limits) == 1 else 'them'}"
            raise UserError(f"{named(limits)}: {rule}; raise select.round_to, so that there are fewer") from None
        chosen = None
    if chosen is None:
        if known is None:
            lower = "select.round_to" if together else "select.floor or select.round_to"
            raise UserError(refusal(classes, pairs, fixed, limits, room * (1 - SLACK), lower))
        return dict(known)
    picked = [zip(each.names, each.widths[k], strict=True) for each, k in zip(classes, chosen, strict=True)]
    found = {name: int(width) for pairs in picked for name, width in pairs}
    if known is not None and _held(values, known) >= (1 - len(classes) * ROUNDING) * _held(values, found):
        return dict(known)
    return found


def _chosen(classes: list[Choices], pairs: dict[Pair, np.ndarray], room: np.ndarray) -> list[int] | None:
    """The combination of each class, which cost at most `room` [limits]; None where none do. Raises Undecided."""
    if len(room) == 1 and not pairs:
        return solve_one(classes, float(room[0]) * (1 - ROUNDING))
    if pairs:
        return solve(classes, pairs, room * (1 - SLACK))
    parts, write_back = split(classes)
    chosen = solve([part.as_choices() for part in parts], {}, room * (1 - SLACK))
    return None if chosen is None else write_back([*zip(parts, chosen, strict=True)])


def _held(values: Mapping[str, Sequence[float]], widths: Widths) -> float:
    return math.fsum(math.fsum(value[: widths[name]]) for name, value in values.items())


def _classes(
    values: Mapping[str, Sequence[float]],
    linked: Sequence[Sequence[str]],
    widths: Mapping[str, Sequence[int]],
    together: Sequence[Sequence[str]],
) -> tuple[list[Choices], dict[str, int]]:
    """Blocks of groups, `linked`, or parts of them where one has too many combinations; and the class of every group.

    A part is a group, or those groups of a residual block, `together`, that may only be emptied together.
    """
    held = {name: np.concatenate([[0.0], np.cumsum(v)])[widths[name]] for name, v in values.items()}
    own = {name: names for names in together for name in names}
    classes: list[Choices] = []
    for names in linked:
        parts = list({id(part): part for part in (own.get(name, [name]) for name in names)}.values())
        whole = _combinations(names, widths) <= MOST_COMBINATIONS
        for part in [names] if whole else parts:
            inside = [[part.index(name) for name in each] for each in parts if {*each} <= {*part} and len(each) > 1]
            classes.append(_choices(part, widths, held, inside))
    return classes, {name: i for i, each in enumerate(classes) for name in each.names}


def _components(
    operators: Sequence[Operator], widths: Mapping[str, Sequence[int]], together: Sequence[Sequence[str]]
) -> list[list[str]]:
    """The groups that share operators, or a residual block, in blocks."""
    joined = {name: [name] for name in widths}
    for pair in chain(*(pairwise(names) for names in together), (_named_sides(op, widths) for op in operators)):
        one, other = (joined.get(str(name)) for name in pair)
        if one is not None and other is not None and one is not other:
            one.extend(other)
            for name in other:
                joined[name] = one
    return list({id(found): found for found in joined.values()}.values())


def _combinations(names: Sequence[str], widths: Mapping[str, Sequence[int]]) -> int:
    return math.prod(len(widths[name]) for name in names)


def _entries(
    operators: Sequence[Operator], widths: Mapping[str, Sequence[int]], blocks: Sequence[Sequence[str]]
) -> int:
    """How many sums are looked at together when `blocks` of groups that share operators choose."""
    place = {name: i for i, name in enumerate(chain(*blocks))}
    sides = (
        (place.get(str(one)), place.get(str(other))) for one, other in (_named_sides(op, widths) for op in operators)
    )
    pairs = {(i, j) for i, j in sides if i is not None and j is not None and i != j}
    return Elimination([len(widths[name]) for name in place], pairs).entries


def _choices(
    names: Sequence[str],
    widths: Mapping[str, Sequence[int]],
    held: Mapping[str, np.ndarray],
    together: Sequence[Sequence[int]],
) -> Choices:
    """All combinations of the groups' widths, but for those that empty some columns out of `together` and not all."""
    if (n := _combinations(names, widths)) > MOST_OF_A_BLOCK:
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
) -> tuple[dict[Pair, np.ndarray], np.ndarray]:
    """Give every class its combinations' costs, and drop those that another one beats.

    Returns the costs of pairs of classes, and those that no choice changes, [limits].
    """
    for each in classes:
        each.costs = np.zeros((len(each.score), len(limits)))
    pairs: dict[Pair, np.ndarray] = {}
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
    pairs: dict[Pair, np.ndarray],
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
