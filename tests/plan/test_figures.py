"""Figures are finite, however deep they lie."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.plan import UserError, check_figures, odd_figure

leaves = st.none() | st.booleans() | st.integers() | st.text() | st.floats()
nested = st.recursive(leaves, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x, max_size=3))


def odd_ones(value):
    if isinstance(value, float):
        return int(not math.isfinite(value))
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return sum(map(odd_ones, values))


@settings(max_examples=50, deadline=None)
@given(nested)
def test_the_check_finds_every_odd_number(value):
    assert (odd_figure(value) is None) == (odd_ones(value) == 0)


def test_the_message_names_the_place():
    figures = {"top1": 3.0, "info": {"type": "x", "rates": [0.1, (1, -math.inf)]}, "loss": math.nan}
    assert odd_figure(figures) == "info.rates[1][1] = -inf"
    with pytest.raises(UserError, match=r"^runs/a: loss = nan; figures must be finite numbers; lower the rate$"):
        check_figures("runs/a", {"top1": 3, "loss": math.nan}, remedy="lower the rate")
    check_figures("runs/a", {"top1": 3, "loss": 0.0}, remedy="")
