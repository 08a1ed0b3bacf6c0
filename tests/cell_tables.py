"""Tables of cells that are made up, and timers that know them."""

import numpy as np
import pytest
import torch

from compress.measure import table_key
from compress.plan import NATS
from compress.topology import profile
from compress.topology.latency import REFERENCES, CellTable
from compress.topology.profile import CellTableConfig, _fitted, random_genotypes
from compress.topology.space import DartsCellsSpace, NatsCellsSpace

SIZE = (3, 16, 16)
COST = {"skip": 0.005, "nor_conv_1x1": 0.02, "nor_conv_3x3": 0.12, "sep": 0.04, "dil": 0.03, "avg": 0.01, "max": 0.008}


def nats(genotype):
    return NatsCellsSpace(num_classes=10, channels=16, layers=1, genotype=genotype.text)


def darts(genotype):
    return DartsCellsSpace(num_classes=10, channels=8, layers=3, genotype=genotype.text)


TARGETS = {"nats": nats, "darts": darts}


def additive(cells, *, spread=0.0, seed=0):
    """Costs {cell: [E, O]} in which no edge differs from its kind by more than the share `spread`; none is 0."""
    rng = np.random.default_rng(seed)
    base = [next((cost for name, cost in COST.items() if each.startswith(name)), 0.0) for each in cells.operations]
    shape = len(cells.edges), len(base)
    return {cell: np.array(base) * (1 + spread * rng.uniform(-1, 1, shape)) for cell in cells.cells}


def made_up_table(cells, **key):
    """A table of `cells` with additive costs for SIZE, on this machine but for what `key` says."""
    target, config = TARGETS[cells.name], CellTableConfig(designs=8)
    own = {**table_key(target(REFERENCES[cells.name]), SIZE, config), **key}
    true = CellTable(own, cells.name, 2.0, 0.25, additive(cells))
    genotypes = random_genotypes(cells, 8, seed=0)
    designs = [
        {"genotype": g.text, "ratio": true.predict(g).ratio, "network_ms": 2.0, "reference_ms": 1.0} for g in genotypes
    ]
    record = _fitted(cells, {"key": own, "rounds": 9}, designs).record
    return CellTable(own, cells.name, 2.0, 0.25, true.costs, record)


class Stopped(Exception):
    """Raised in place of a kill."""


@pytest.fixture
def timed(monkeypatch):
    """What is timed, in order; `timed.stop` is after how many the process ends."""
    table = made_up_table(NATS)

    class Timed(list):
        stop = 10**6

    found = Timed()

    def take(timer, genotype, *, rounds):
        if len(found) >= found.stop:
            raise Stopped
        found.append(genotype)
        return table.predict(genotype).ratio, 2.0

    class NoNetworks:
        def __init__(self, *arguments, **options):
            self.images = torch.zeros(1)

    monkeypatch.setattr(profile, "compared", take)
    monkeypatch.setattr(profile, "CellNetworks", NoNetworks)
    monkeypatch.setattr(profile, "time_reference", lambda: 1.0)
    return found
