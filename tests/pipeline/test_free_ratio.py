"""A free ratio, the budget that removes what is exactly zero, is refused where no score can be."""

from __future__ import annotations

import pytest

from compress.engine.settings import SearchConfig
from compress.pipeline.checks import check_budget
from compress.plan import UserError
from compress.pruning import Budget


def check(budget=None, **search):
    check_budget(SearchConfig(epochs=1, **search), budget or Budget())


@pytest.mark.parametrize("name", ["rarts", "netslim", "grouplasso"])
def test_a_proximal_penalty_makes_zeros(name):
    check(method={"type": name}, penalty="proximal")
    check(Budget("macs_ratio", 0.5), method={"type": name})
    for given in ({"penalty": "subgradient"}, {"penalty": "proximal", "gamma": 0.0}):
        with pytest.raises(UserError, match=rf"^budget: none, but {name} with search\.penalty = '{given['penalty']}'"):
            check(method={"type": name}, **given)


def test_rvsm_makes_zeros_by_its_own_penalty_if_that_has_a_weight():
    check(method={"type": "rvsm"})
    with pytest.raises(UserError, match=r"budget: none, but rvsm .* search\.gamma = 0 makes no score exactly zero"):
        check(method={"type": "rvsm"}, gamma=0.0)


@pytest.mark.parametrize("name", ["tas", "random", "magnitude", "taylor", "wdpruning"])
def test_methods_without_a_penalty_make_none_and_are_offered_none(name):
    with pytest.raises(UserError, match=r"no score exactly zero.*give pruning_ratio$"):
        check(method={"type": name}, penalty="proximal")
