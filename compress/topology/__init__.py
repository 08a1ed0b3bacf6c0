"""Topology search (thesis, chapter 3): cells found by their edges' scores, retrained, and pruned like any network."""

from .bench import Bench, load_bench
from .discretise import discretise
from .logits import EdgeLogits, edge_scores
from .methods import EDGE_METHODS
from .operations import OPERATIONS
from .settings import TopologySearch
from .supernet_space import DartsSupernetSpace, NatsSupernetSpace, SupernetSpace

__all__ = [
    "EDGE_METHODS",
    "OPERATIONS",
    "Bench",
    "DartsSupernetSpace",
    "EdgeLogits",
    "NatsSupernetSpace",
    "SupernetSpace",
    "TopologySearch",
    "discretise",
    "edge_scores",
    "load_bench",
]
