"""The numbers that methods take: each refused by its whole name just outside its range, and taken at its edge."""

import re

import pytest

from compress.plan import UserError
from compress.search import Darts2, Magnitude, MiLeNas1, Rarts, Rvsm, Tas, Taylor, WdPruning

REFUSED = [
    (Darts2, "xi", -0.1), (Darts2, "epsilon", 0), (Darts2, "epsilon", -0.1), (MiLeNas1, "lam", -0.1),
    (Rarts, "lam", -0.1), (Rarts, "beta", -0.1), (Rarts, "order", "jacobi"), (Rvsm, "beta", 0), (Rvsm, "beta", -0.1),
    (Rvsm, "penalty", "l2"), (Magnitude, "p", 3), (Taylor, "batches", 0), (Taylor, "batches", 1.5),
    (Taylor, "batches", -1), (Taylor, "latency_weight", -0.1), (Tas, "target", 0), (Tas, "target", 1.1),
    (Tas, "cost_weight", -0.1), (Tas, "tau", 0), (Tas, "tau", -0.1),
    (Tas, "tau_end", 0), (Tas, "tau_end", 10.1), (WdPruning, "target", 0), (WdPruning, "target", 1.1),
    (WdPruning, "start", 21), (WdPruning, "multiplier_rate", 0),
]  # fmt: skip
TAKEN = [
    (Darts2, "xi", None), (Darts2, "xi", 0), (Darts2, "epsilon", 1e-9), (MiLeNas1, "lam", 0), (MiLeNas1, "lam", 0.5),
    (Rarts, "lam", 0), (Rarts, "beta", 0), (Rarts, "beta", 0.5), (Rarts, "order", "fused"), (Rvsm, "beta", 0.01),
    (Magnitude, "p", 2), (Taylor, "batches", 1), (Taylor, "latency_weight", 0), (Taylor, "latency_weight", 0.5),
    (Tas, "target", 0.01), (Tas, "target", 1), (Tas, "cost_weight", 0), (Tas, "cost_weight", 0.5), (Tas, "tau", 0.5),
    (Tas, "tau_end", 10), (WdPruning, "target", 1), (WdPruning, "start", -20), (WdPruning, "multiplier_rate", 0.1),
    (Tas, "ratios", (0.5, 1.0)), (Tas, "ratios", [0.01, 0.02, 1]),
]  # fmt: skip


@pytest.mark.parametrize(("method", "name", "value"), REFUSED)
def test_values_outside_are_refused_by_name(method, name, value):
    with pytest.raises(UserError, match=rf"^search\.method\.{name} = {re.escape(repr(value))}: .*must be"):
        method(**{name: value})


@pytest.mark.parametrize(("method", "name", "value"), TAKEN)
def test_values_at_the_edge_are_taken(method, name, value):
    assert getattr(method(**{name: value}), name) == value


@pytest.mark.parametrize("ratio", [0, -0.1, 1.01])
def test_the_ratio_that_is_wrong_is_named(ratio):
    with pytest.raises(UserError, match=rf"^search\.method\.ratios = {ratio}: must be"):
        Tas(ratios=(0.5, ratio))
