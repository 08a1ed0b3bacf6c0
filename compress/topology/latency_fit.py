"""From the latencies of whole networks to the cost of every operation on every edge, and how well the sum predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..measure.fitting import FOLDS
from ..plan import Genotype
from ..plan.genotype import CellSpace
from .latency import REFERENCES, running, summed
from .network import REDUCTION

RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0, None)
"""How strongly an edge's cost is drawn to the mean of its kind; None: edges of a kind cost the same."""

TINY = 1e-3
"""Draws all costs to 0, so that what every network has alike goes to the constant: cells of DARTS all have as many
edges, and no measurement tells the two apart."""

Feature = tuple[str, int, int]
"""Cell, edge, operation."""


class Fit(NamedTuple):
    """The constant, the costs {cell: [E, O]}, and the ridge's weight, out of RIDGES."""

    rest: float
    costs: dict[str, np.ndarray]
    ridge: float | None

    def predict(self, genotype: Genotype) -> float:
        """The latency ratio of the network of `genotype`."""
        return summed(self.rest, self.costs, genotype)


def fit_costs(cells: CellSpace, genotypes: Sequence[Genotype], ratios: Sequence[float]) -> Fit:
    """The costs that explain `ratios`, the latencies of the networks of `genotypes` over the reference network's.

    ratio = rest + sum over the operations that run of their costs, none of them negative, by least squares of relative
    errors; the reference network itself, of ratio 1, counts as one more. Costs are drawn to the mean of their kind, the
    same operation at the same stride in the same kind of cell: few networks tell edges apart. How strongly is chosen by
    cross-validation among RIDGES; where genotypes leave edges out, as DARTS's do, edges of a kind cost the same.

    Example::

        fit_costs(NATS, genotypes, ratios).costs["cell"][5, 3]  # of a 3x3 convolution on the last edge
    """
    ridge = None
    if cells.kept is None:
        unseen = [_unseen(partial(_solved, cells, ridge=each), genotypes, ratios) for each in RIDGES]
        ridge = RIDGES[int(np.argmin([np.square(_relative(found, ratios)).sum() for found in unseen]))]
    return _solved(cells, genotypes, ratios, ridge=ridge)


def held_out(cells: CellSpace, genotypes: Sequence[Genotype], ratios: Sequence[float]) -> list[float]:
    """The ratio of every network, predicted by costs that were fitted, ridge and all, without its quarter of them."""
    return [max(ratio, 0.0) for ratio in _unseen(partial(fit_costs, cells), genotypes, ratios)]


def _unseen(
    fit: Callable[[list[Genotype], list[float]], Fit], genotypes: Sequence[Genotype], ratios: Sequence[float]
) -> list[float]:
    found = [0.0] * len(genotypes)
    for own, rest in _quarters(len(genotypes)):
        costs = fit([genotypes[i] for i in rest], [ratios[i] for i in rest])
        for i in own:
            found[i] = costs.predict(genotypes[i])
    return found


def _quarters(n: int) -> list[tuple[list[int], list[int]]]:
    """Every quarter of n networks, and the others."""
    return [([i for i in range(n) if i % FOLDS == k], [i for i in range(n) if i % FOLDS != k]) for k in range(FOLDS)]


def _relative(predicted: Sequence[float], measured: Sequence[float]) -> np.ndarray:
    return np.array(predicted) / np.array(measured) - 1


def _solved(cells: CellSpace, genotypes: Sequence[Genotype], ratios: Sequence[float], *, ridge: float | None) -> Fit:
    """Non-negative least squares in (rest, a mean of every kind) and, with a ridge, a cost of every feature.

    Shape legend: N networks, F features, K kinds of them.
    """
    from scipy.optimize import nnls

    features, kind_of = _features(cells)
    kinds = list(dict.fromkeys(kind_of))
    of_FK = np.array([[own == kind for kind in kinds] for own in kind_of], dtype=float)
    known, measured = [*genotypes, REFERENCES[cells.name]], np.array([*ratios, 1.0])
    found = [{*running(genotype)} for genotype in known]
    has_NF = np.array([[feature in own for feature in features] for own in found], dtype=float)
    ones = np.ones((len(known), 1))
    if ridge is None:
        data, drawn = np.hstack([ones, has_NF @ of_FK]), np.zeros((0, 1 + len(kinds)))
    else:
        data = np.hstack([ones, np.zeros((len(known), len(kinds))), has_NF])
        drawn = ridge**0.5 * np.hstack([np.zeros((len(features), 1)), -of_FK, np.eye(len(features))])
    small = TINY * np.eye(data.shape[1])[1:]
    matrix = np.vstack([data / measured[:, None], drawn, small])
    solution, _ = nnls(matrix, np.append(np.ones(len(known)), np.zeros(len(matrix) - len(known))))
    own_F = of_FK @ solution[1:] if ridge is None else solution[1 + len(kinds) :]
    costs = {cell: np.zeros((len(cells.edges), len(cells.operations))) for cell in cells.cells}
    for (cell, edge, name), cost in zip(features, own_F, strict=True):
        costs[cell][edge, name] = cost
    return Fit(float(solution[0]), costs, ridge)


def _features(cells: CellSpace) -> tuple[list[Feature], list[tuple[str, int, int]]]:
    """What has a cost, and the kind of each: cell, stride, operation."""
    features, kinds = [], []
    for cell in cells.cells:
        for edge, (source, _) in enumerate(cells.edges):
            stride = 2 if cell == REDUCTION and source < cells.inputs else 1
            for i, name in enumerate(cells.operations):
                if name != "none":
                    features.append((cell, edge, i))
                    kinds.append((cell, stride, i))
    return features, kinds
