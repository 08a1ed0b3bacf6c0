"""The widths that keep the most score under limits on what the network costs: a multiple-choice knapsack.

Groups that share operators form a block, whose choices are all combinations of its groups' widths: their costs need not
be sums, and may be stairs. Combinations that another one beats in score and in every cost are dropped, and HiGHS
(`scipy.optimize.milp`) takes one of the rest for each block. Where a block would have too many combinations, every
group chooses for itself and pairs of choices are linked, which is as exact and takes longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np

from ..plan import UserError
from ..spaces import Operator

Widths = dict[str, int]
Prices = Callable[[Operator, Sequence[int], Sequence[int]], np.ndarray]
"""What an operator costs at all pairs of numbers of channels: (operator, n_in [I], n_out [O]) -> [I, O], any unit."""

MOST_COMBINATIONS = 20_000
GAP = 1e-4
"""HiGHS stops when no choice can hold more than the one found by this share."""
MOST_NODES = 1000
"""Or after so many nodes of its tree, with what it has found: where costs are coarse stairs, proofs take longest."""
SLACK = 1e-6
"""HiGHS keeps a limit to 1e-6 of it: it is told one that is smaller by as much."""


@dataclass(frozen=True)
class Limit:
    """One budget: `rest` and the prices of all operators add up to at most `most`, all in one unit.

    `name` is as the user gave it, for messages: "--macs-ratio 0.5"; `unit` follows amounts there.
    """

    name: str
    prices: Prices
    most: float
    rest: float = 0.0
    unit: str = ""

    def cost(self, operators: Sequence[Operator], widths: Mapping[str, int]) -> float:
        """What the network costs at `widths` {group: channels}."""
        sides = [[[widths[n] if isinstance(n, str) else n] for n in (op.n_in, op.n_out)] for op in operators]
        return math.fsum(
            [self.rest, *(self.prices(op, *side).item() for op, side in zip(operators, sides, strict=True))]
        )


@dataclass
class _Class:
    """Groups that choose together: their combinations of widths [K, groups], score [K] and costs [K, limits]."""

    names: tuple[str, ...]
    widths: np.ndarray
    score: np.ndarray
    costs: np.ndarray = field(init=False)


def best_widths(
    values: Mapping[str, Sequence[float]],
    operators: Sequence[Operator],
    limits: Sequence[Limit],
    allowed: Mapping[str, Sequence[int]],
) -> Widths:
    """The `allowed` width of every group with which the kept channels hold the most score, under all `limits`.

    `values` {group: [C]} are the channels' scores, best first: a group of width w keeps the first w. The score held is
    the largest there is, to 1e-4 of it (unless HiGHS stops after MOST_NODES), but for 1e-6 of each limit, which stays
    unused. The order in which `values` lists the groups does not matter.

    Raises UserError for a limit that no allowed widths keep, with the smallest reachable cost, and for limits that can
    be kept one by one but not together.

    Example::

        best_widths(values, operators, [macs_limit, latency_limit], {name: range(8, 65, 8) for name in values})
    """
    widths = {name: sorted(set(allowed[name])) for name in sorted(values)}
    classes, owner = _classes({name: values[name] for name in widths}, operators, widths)
    for each in classes:
        each.costs = np.zeros((len(each.score), len(limits)))
    pairs: dict[tuple[int, int], np.ndarray] = {}
    fixed = np.array([limit.rest for limit in limits], dtype=float)
    for op in operators:
        _add_prices(op, limits, widths, classes, owner, pairs, fixed)
    for i in range(len(classes)):
        _keep(classes, pairs, i, _undominated(classes[i], _linked(pairs, i)))
    most = (np.array([limit.most for limit in limits], dtype=float) - fixed) * (1 - SLACK)
    if not pairs:
        for i, kept in enumerate(_promising(classes, most)):
            _keep(classes, pairs, i, kept)
    chosen = _solve(classes, pairs, [each.score for each in classes], most)
    if chosen is None:
        raise UserError(_refusal(classes, pairs, fixed, limits, most))
    found: Widths = {}
    for each, k in zip(classes, chosen, strict=True):
        found |= {name: int(width) for name, width in zip(each.names, each.widths[k], strict=True)}
    return {name: found[name] for name in values}


def _classes(
    values: Mapping[str, Sequence[float]], operators: Sequence[Operator], widths: Mapping[str, Sequence[int]]
) -> tuple[list[_Class], dict[str, int]]:
    """Blocks of groups, or single ones where a block has too many combinations; and the class of every group."""
    block = {name: [name] for name in values}
    for op in operators:
        if isinstance(op.n_in, str) and isinstance(op.n_out, str) and block[op.n_in] is not block[op.n_out]:
            block[op.n_in].extend(block[op.n_out])
            for name in block[op.n_out]:
                block[name] = block[op.n_in]
    held = {name: np.concatenate([[0.0], np.cumsum(v)])[widths[name]] for name, v in values.items()}
    classes: list[_Class] = []
    for names in {id(found): found for found in block.values()}.values():
        together = math.prod(len(widths[name]) for name in names) <= MOST_COMBINATIONS
        for part in [names] if together else [[name] for name in names]:
            combined = np.array(list(product(*(widths[name] for name in part))))
            score = np.array([sum(found) for found in product(*(held[name] for name in part))])
            classes.append(_Class(tuple(part), combined, score))
    return classes, {name: i for i, each in enumerate(classes) for name in each.names}


def _add_prices(
    op: Operator,
    limits: Sequence[Limit],
    widths: Mapping[str, Sequence[int]],
    classes: Sequence[_Class],
    owner: Mapping[str, int],
    pairs: dict[tuple[int, int], np.ndarray],
    fixed: np.ndarray,
) -> None:
    """Add what `op` costs to its class's combinations, to its pair of classes, or to what no choice changes."""
    sides = (op.n_in, op.n_out)
    grids = [widths[n] if isinstance(n, str) else [n] for n in sides]
    tables = np.stack([limit.prices(op, *grids) for limit in limits], axis=-1).astype(float)
    if not np.isfinite(tables).all():
        raise ValueError(f"prices of {op.name} are not finite")
    owners = sorted({owner[n] for n in sides if isinstance(n, str)})
    if not owners:
        fixed += tables[0, 0]
    elif len(owners) == 1:
        each = classes[owners[0]]
        rows, columns = (
            np.searchsorted(grid, each.widths[:, each.names.index(n)]) if isinstance(n, str) else 0
            for n, grid in zip(sides, grids, strict=True)
        )
        each.costs += tables[rows, columns]
    else:  # classes of one group each
        if owner[str(op.n_in)] > owner[str(op.n_out)]:
            tables = tables.swapaxes(0, 1)
        pair = (owners[0], owners[1])
        pairs[pair] = pairs.get(pair, 0.0) + tables


def _linked(pairs: Mapping[tuple[int, int], np.ndarray], i: int) -> list[np.ndarray]:
    """What each combination of class `i` costs with every one of the classes that it forms pairs with: [K, ...]."""
    first = [table.reshape(len(table), -1) for (s, _), table in pairs.items() if s == i]
    return first + [table.swapaxes(0, 1).reshape(table.shape[1], -1) for (_, t), table in pairs.items() if t == i]


def _keep(classes: Sequence[_Class], pairs: dict[tuple[int, int], np.ndarray], i: int, kept: np.ndarray) -> None:
    """Leave class `i` the combinations `kept` alone."""
    each = classes[i]
    each.widths, each.score, each.costs = each.widths[kept], each.score[kept], each.costs[kept]
    for (s, t), table in pairs.items():
        if i in (s, t):
            pairs[s, t] = table[kept] if s == i else table[:, kept]


def _undominated(each: _Class, linked: Sequence[np.ndarray]) -> np.ndarray:
    """The combinations that no other one equals or beats in score and in every cost, `linked` ones included."""
    costs = np.concatenate([each.costs, *linked], axis=1)
    order = np.lexsort((*costs.T[::-1], -each.score))  # best score first, then cheapest
    if costs.shape[1] == 1:
        cost = costs[order, 0]
        return order[np.concatenate([[True], cost[1:] < np.minimum.accumulate(cost)[:-1]])]
    front: list[int] = []
    for k in order:
        if not front or not (costs[front] <= costs[k]).all(axis=1).any():
            front.append(int(k))
    return np.array(front)


def _promising(classes: Sequence[_Class], most: np.ndarray) -> list[np.ndarray]:
    """The combinations of each class that can be in a choice at least as good as one that is known.

    For multipliers l >= 0, f(l) = sum over classes of max(score - l cost) + l most bounds every choice that keeps the
    limits; a combination that falls short of its class's maximum by more than f(l) minus a known choice's score is out.
    """
    multipliers, bound = _dual(classes, most)
    reduced = [each.score - each.costs @ multipliers for each in classes]
    known = _known(classes, most, multipliers)
    if known is None:
        return [np.arange(len(found)) for found in reduced]
    room = bound - known + 1e-9 * abs(bound)
    return [np.flatnonzero(found >= found.max() - room) for found in reduced]


def _dual(classes: Sequence[_Class], most: np.ndarray) -> tuple[np.ndarray, float]:
    """The multipliers [limits] of the smallest bound f(l), and the bound, by cutting planes."""
    from scipy.optimize import linprog

    unit = np.where(most > 0, most, 1.0)
    cuts: list[tuple[float, np.ndarray]] = []
    best, multipliers, at = np.inf, np.zeros(len(most)), np.zeros(len(most))
    top = sum(float(each.score.max()) for each in classes)
    for _ in range(60):
        chosen = [int((each.score - each.costs @ (at / unit)).argmax()) for each in classes]
        score = sum(float(each.score[k]) for each, k in zip(classes, chosen, strict=True))
        left = (most - np.sum([each.costs[k] for each, k in zip(classes, chosen, strict=True)], axis=0)) / unit
        if score + left @ at < best:
            best, multipliers = score + float(left @ at), at
        cuts.append((score, left))
        slopes = np.array([[-1.0, *slope] for _, slope in cuts])
        model = linprog(
            [1.0, *np.zeros(len(most))],
            slopes,
            [-value for value, _ in cuts],
            bounds=[(None, None), *[(0, 1e3 * max(top, 1e-300))] * len(most)],
        )
        if model.x is None or best - model.x[0] <= 1e-9 * abs(best):
            break
        at = model.x[1:]
    return multipliers / unit, best


def _known(classes: Sequence[_Class], most: np.ndarray, multipliers: np.ndarray) -> float | None:
    """The score of a good choice within the limits: the bound's, made cheaper until it fits, then filled up."""
    for factor in (1.0, 1.001, 1.01, 1.05, 1.2, 2.0, 10.0, 1e3):
        chosen = [int((each.score - factor * each.costs @ multipliers).argmax()) for each in classes]
        left = most - np.sum([each.costs[k] for each, k in zip(classes, chosen, strict=True)], axis=0)
        if (left >= 0).all():
            break
    else:
        return None
    while True:
        best, found = 0.0, None
        for i, each in enumerate(classes):
            gain = np.where((each.costs - each.costs[chosen[i]] <= left).all(axis=1), each.score, -np.inf)
            k = int(gain.argmax())
            if gain[k] - each.score[chosen[i]] > best:
                best, found = float(gain[k] - each.score[chosen[i]]), (i, k)
        if found is None:
            return sum(float(each.score[k]) for each, k in zip(classes, chosen, strict=True))
        i, k = found
        left = left - classes[i].costs[k] + classes[i].costs[chosen[i]]
        chosen[i] = k


def _refusal(
    classes: Sequence[_Class],
    pairs: Mapping[tuple[int, int], np.ndarray],
    fixed: np.ndarray,
    limits: Sequence[Limit],
    most: np.ndarray,
) -> str:
    """The limit that no choice keeps, with the least that it could be; else that they cannot be kept together."""
    for j, limit in enumerate(limits):
        least = _smallest(classes, pairs, fixed, limits, j)
        if len(limits) == 1 or least > fixed[j] + most[j]:
            return (
                f"{limit.name}: out of reach; allowed are {limit.most:.6g}{limit.unit}, and with this floor and "
                f"rounding no widths take less than {_up(least):.6g}{limit.unit}; raise it to that, or lower "
                "select.floor or select.round_to"
            )
    named = " and ".join(limit.name for limit in limits)
    return f"{named}: no widths found that keep them together, though each alone could be kept; raise one of them"


def _smallest(
    classes: Sequence[_Class],
    pairs: Mapping[tuple[int, int], np.ndarray],
    fixed: np.ndarray,
    limits: Sequence[Limit],
    j: int,
) -> float:
    """The least that the network can cost of limit `j`."""
    if not pairs:
        return float(fixed[j] + sum(each.costs[:, j].min() for each in classes))
    none = np.full(len(limits), np.inf)
    chosen = _solve(classes, pairs, [-each.costs[:, j] for each in classes], none, pair_cost=j)
    assert chosen is not None, "one choice of each class is always allowed"
    own = sum(each.costs[k, j] for each, k in zip(classes, chosen, strict=True))
    return float(fixed[j] + own + sum(table[chosen[s], chosen[t], j] for (s, t), table in pairs.items()))


def _solve(
    classes: Sequence[_Class],
    pairs: Mapping[tuple[int, int], np.ndarray],
    gains: Sequence[np.ndarray],
    most: np.ndarray,
    *,
    pair_cost: int | None = None,
) -> list[int] | None:
    """One choice of each class with the largest sum of `gains` whose costs are at most `most` [limits]; None if none.

    With `pair_cost` the costs of pairs of that limit count against the gains. Choices are binary variables; a pair's
    variables [K_s, K_t] are 1 where both are chosen: their sums over either side equal the other side's choices.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, hstack, identity, kron, vstack

    counts = [len(gain) for gain in gains]
    starts = np.cumsum([0, *counts])
    n, n_pairs = int(starts[-1]), sum(table[..., 0].size for table in pairs.values())
    one = csr_array(
        (np.ones(n), (np.repeat(np.arange(len(classes)), counts), np.arange(n))), shape=(len(classes), n + n_pairs)
    )
    constraints = [LinearConstraint(one, 1, 1)]
    flat = [table.reshape(-1, table.shape[-1]) for table in pairs.values()]
    at = n
    for (s, t), table in pairs.items():
        a, b = table.shape[:2]
        for side, size, sums in (
            (s, a, kron(identity(a), np.ones((1, b)))),
            (t, b, kron(np.ones((1, a)), identity(b))),
        ):
            row = [
                csr_array((size, int(starts[side]))),
                -identity(size),
                csr_array((size, at - int(starts[side]) - size)),
            ]
            constraints.append(
                LinearConstraint(hstack([*row, sums, csr_array((size, n + n_pairs - at - a * b))]), 0, 0)
            )
        at += a * b
    costs = np.concatenate([*(each.costs for each in classes), *flat])
    rows = [j for j in range(len(most)) if np.isfinite(most[j])]
    if rows:
        if (most[rows] <= 0).any():
            return None
        constraints.append(LinearConstraint(vstack([csr_array(costs[:, [j]].T / most[j]) for j in rows]), -np.inf, 1))
    loss = -np.concatenate([*gains, np.zeros(n_pairs)])
    if pair_cost is not None:
        loss[n:] += np.concatenate([table[:, pair_cost] for table in flat])
    result = milp(
        loss / max(np.abs(loss).max(), 1e-300),
        integrality=np.concatenate([np.ones(n), np.zeros(n_pairs)]),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": GAP, "node_limit": MOST_NODES},
    )
    if result.x is None and result.status in (1, 2):  # out of nodes, infeasible
        return None
    if result.x is None:
        raise RuntimeError(f"HiGHS: {result.message}")
    return [int(result.x[start:end].argmax()) for start, end in pairwise(starts)]


def _up(value: float) -> float:
    """Rounded up to four digits, and by more than SLACK, so that the value named can be chosen."""
    step = 10.0 ** (math.floor(math.log10(value)) - 3) if value > 0 else 1.0
    return math.ceil(value * (1 + 2 * SLACK) / step) * step
