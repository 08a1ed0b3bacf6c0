"""Stairs of a latency table, by hand: what is shown, in which order, and what all other groups cost together."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from compress.costs import LatencyTable
from compress.costs.latency import OperatorCosts
from compress.costs.stairs import SHOWN, STEPS, chosen_stairs, table_stairs

KEY = {"device": "a processor", "backend": "torch", "batch": 1}


def costs(n_in, n_out, *rows):
    return OperatorCosts(n_in, n_out, np.array(rows))


# The rest takes 0.01; `b` is a block's, which can go.
TABLE = LatencyTable(
    KEY,
    40.0,
    {"b": (0, 8, 24), "a": (8, 16)},
    {
        "stem": costs(3, "a", [0.1, 0.2]),
        "middle": costs("a", "b", [0.0, 0.1, 0.15], [0.0, 0.2, 0.3]),
        "head": costs("b", 10, [0.0], [0.02], [0.04]),
        "softmax": costs(3, 16, [0.05]),
    },
    0.01,
)


GRID = (20, 55, 79, 100)


def many(n):
    """`n` groups of 100 channels, the next one always dearer; neighbours have an operator of their own."""
    names = [f"g{i}" for i in range(1, n + 1)]
    own = {f"own {name}": costs(3, name, [i * w for w in GRID]) for i, name in enumerate(names, 1)}
    between = {f"{a} to {b}": costs(a, b, *np.full((4, 4), 0.25)) for a, b in pairwise(names)}
    return LatencyTable(
        KEY, 40.0, dict.fromkeys(names, GRID), {**own, **between, "softmax": costs(3, 16, [0.5])}, 0.125
    )


def test_a_group_s_stairs_have_all_others_at_full_width():
    found = table_stairs(TABLE)
    assert list(found["groups"]) == ["a", "b"], "0.5 and 0.34 of the time at full width"
    assert found["groups"]["a"] == {"widths": [8, 16], "shares": pytest.approx([0.25, 0.5])}
    assert found["groups"]["b"] == {"widths": [0, 8, 24], "shares": pytest.approx([0.0, 0.22, 0.34])}
    assert found["fixed"] == pytest.approx(0.06)
    assert found["together"] is None


def test_all_other_groups_are_shown_together_at_shares_of_their_channels():
    """The three cheapest of them: two operators between them, one to a group that is shown and is left out."""
    found = table_stairs(many(SHOWN + 3))
    assert list(found["groups"]) == [f"g{i}" for i in range(SHOWN + 3, 3, -1)]
    assert found["fixed"] == 0.625
    together = found["together"]
    assert together["number"] == 3
    assert together["kept"] == [i / STEPS for i in range(1, STEPS + 1)]
    assert together["kept"][-1] == 1
    # 55 of 100 channels are 11 / 20 of them, though in floating point a little more; 79 are not 16 / 20.
    expected = [(1 + 2 + 3) * width + 2 * 0.25 for width, n in zip(GRID, (4, 7, 4, 5), strict=True) for _ in range(n)]
    assert together["shares"] == expected


@pytest.mark.parametrize(("n", "shown"), [(SHOWN, SHOWN), (SHOWN + 1, SHOWN + 1), (SHOWN + 2, SHOWN)])
def test_one_group_is_never_left_out_alone(n, shown):
    table = many(n)
    assert len(table_stairs(table)["groups"]) == shown
    found = chosen_stairs(table, dict.fromkeys(table.widths, 55))
    assert (len(found["groups"]), found["others"]) == (shown, n - shown)


def test_equally_dear_groups_are_shown_by_name():
    costs_of = {name: costs(3, name, [0.1, 0.2]) for name in ("c", "a", "b")}
    table = replace(TABLE, widths=dict.fromkeys(costs_of, (8, 16)), operators=costs_of)
    assert list(table_stairs(table)["groups"]) == ["a", "b", "c"]


def test_a_plan_s_stairs_have_the_others_at_its_widths():
    found = chosen_stairs(TABLE, {"a": 12, "b": 8})
    groups = found.pop("groups")
    assert found == {"device": "a processor", "backend": "torch", "unpruned_ms": 40.0, "others": 0}
    assert groups["a"] == {"widths": [8, 16], "shares": [0.2, 0.4], "width": 12, "share": 0.3}
    assert groups["b"] == {"widths": [0, 8, 24], "shares": [0.0, 0.17, 0.265], "width": 8, "share": 0.17}


def test_shares_of_a_plan_have_six_digits():
    third = replace(TABLE, operators={"stem": costs(3, "a", [1 / 3, 2 / 3])}, widths={"a": (8, 16)})
    group = chosen_stairs(third, {"a": 8})["groups"]["a"]
    assert (group["shares"], group["share"]) == ([0.333333, 0.666667], 0.333333)


@pytest.mark.parametrize(("width", "nearest"), [(3, 8), (8, 8), (16, 16), (40, 16)])
def test_widths_outside_of_the_table_have_no_share_and_count_as_its_nearest(width, nearest):
    found = chosen_stairs(TABLE, {"a": width, "b": 24})["groups"]
    assert found["b"]["shares"] == chosen_stairs(TABLE, {"a": nearest, "b": 24})["groups"]["b"]["shares"]
    assert (found["a"]["share"] is None) == (width != nearest)
    assert found["a"]["width"] == width


def test_a_removed_block_is_a_width_and_what_lies_below_the_narrowest_layer_is_none():
    found = {b: chosen_stairs(TABLE, {"a": 16, "b": b})["groups"] for b in (0, 3, 8)}
    assert [found[b]["b"]["share"] for b in (0, 3, 8)] == [0.0, None, 0.22]
    assert [found[b]["a"]["share"] for b in (0, 3, 8)] == [0.2, 0.4, 0.4]
