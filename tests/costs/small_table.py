"""A latency table of a toy network, written out."""

import numpy as np

from compress.costs import LatencyTable
from compress.costs.latency import OperatorCosts
from compress.spaces import Operator

KEY = {"device": "a processor, 2 cores", "backend": "onnxruntime", "batch": 1, "threads": 1, "space": "toy"}
WIDTHS = {"a": (8, 16, 24), "b": (0, 8, 12)}
OPERATORS = (
    Operator("stem", "conv", 3, 16, macs=9, weights=9),
    Operator("first", "conv", 16, "a", macs=1, weights=1),
    Operator("second", "conv", "a", "b", macs=1, weights=1),
    Operator("depthwise", "depthwise", 1, "b", macs=1, weights=1),
    Operator("token", "parameter", 1, 1, macs=0, weights=7),
    Operator("left", "shift", 1, 16, macs=0, weights=0, biases=1),
)
RESIDUAL = {"median": 0.01, "p90": 0.02, "rank_correlation": 0.9, "n": 8}
SECOND = np.array([[0.0, 0.10, 0.11], [0.0, 0.15, 0.17], [0.0, 0.25, 0.30]])


def small_table():
    costs = {
        "stem": OperatorCosts(3, 16, np.array([[0.2]])),
        "first": OperatorCosts(16, "a", np.array([[0.1, 0.12, 0.2]])),
        "second": OperatorCosts("a", "b", SECOND),
        "depthwise": OperatorCosts(1, "b", np.array([[0.0, 0.04, 0.05]])),
    }
    return LatencyTable(KEY, 40.0, WIDTHS, costs, 0.01, {"residual": RESIDUAL})
