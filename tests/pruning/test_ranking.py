"""What channels rank by, by hand: shares of their kind, logarithms of their group's score."""

import math

import pytest
import torch

from compress.pruning import SelectConfig
from compress.pruning.pools import _shared
from compress.pruning.ranking import Ranking


def ranked(scores, kinds, **settings):
    return Ranking({name: torch.tensor(s) for name, s in scores.items()}, SelectConfig(**settings), kinds)


def test_a_kind_s_channels_rank_by_the_share_of_it_that_is_not_better():
    scores = {"b": [0.5, -2.0, 2.0], "a": [-3.0, 1.0], "c": [9.0], "d": [1.0, 0.0]}
    found = ranked(scores, {"a": "attention", "b": "attention", "c": "mlp"}, ranking="kind").value
    # From worst to best: 0.5 of b, 1 of a, both 2 of b, 3 of a.
    assert found["a"] == pytest.approx([0.9, 0.3])
    assert found["b"] == pytest.approx([0.7, 0.5, 0.1])
    assert found["c"] == [0.5]
    assert found["d"] == [0.75, 0.25], "of no kind that is named: channels"


def test_equal_scores_of_a_kind_rank_in_equal_shares_of_its_groups_then_by_name():
    found = ranked({"b": [1.0] * 3, "a": [1.0] * 2}, {}, ranking="kind").value
    assert found["a"] == pytest.approx([0.7, 0.3])
    assert found["b"] == pytest.approx([0.9, 0.5, 0.1])
    same = ranked({"b": [1.0] * 2, "a": [1.0] * 2}, {}, ranking="kind").value
    assert same == {"b": [0.875, 0.375], "a": [0.625, 0.125]}


def test_a_layer_s_channels_rank_by_their_place_alone_and_are_worth_their_price():
    found = ranked({"a": [5.0, 7.0], "b": [0.1, 0.3, 0.2, 0.4]}, {}, ranking="layer")
    assert found.order == {"a": [1, 0], "b": [3, 1, 2, 0]}
    assert found.value == {"a": [0.75, 0.25], "b": [0.875, 0.625, 0.375, 0.125]}
    assert found.gains() == found.value
    assert found.gains({"a": 4.0, "b": 8.0}) == {"a": [3.0, 1.0], "b": [7.0, 5.0, 3.0, 1.0]}
    assert found.worst_first == ["b", "a", "b", "b", "a", "b"]


def test_scores_are_worth_themselves_whatever_a_channel_costs_or_the_logarithm_of_what_is_held():
    scores = {"a": [1.0, -2.0, 1.0], "dead": [0.0, 0.0]}
    assert ranked(scores, {}).gains({"a": 4.0, "dead": 2.0}) == {"a": [2.0, 1.0, 1.0], "dead": [0.0, 0.0]}
    logs = ranked(scores, {}, gain="log").gains({"a": 4.0, "dead": 2.0})
    assert logs["a"] == pytest.approx([0.0, math.log(3 / 2), math.log(4 / 3)])
    assert logs["dead"] == [0.0, 0.0]
    nearly = ranked({"a": [1e-30, 1e-30]}, {}, gain="log").gains()
    assert nearly["a"] == pytest.approx([0.0, math.log(2)])


def test_allowed_widths_are_multiples_from_the_floor_and_the_full_width():
    found = ranked({"a": list(range(20)), "b": [1.0, 2.0, 3.0]}, {}, floor=5, round_to=4)
    assert found.allowed == {"a": [8, 12, 16, 20], "b": [3]}
    assert found.smallest == {"a": 8, "b": 3}
    assert [found.allow("a", n) for n in (0, 8, 11, 12, 20)] == [8, 8, 8, 12, 20]
    assert [found.allow_at_least("a", n) for n in (0, 8, 9, 20)] == [8, 8, 12, 20]
    assert [found.next_width("a", n) for n in (8, 11, 16, 20)] == [12, 12, 20, None]
    assert ranked({"a": [1.0] * 18}, {}, round_to=8).allowed == {"a": [8, 16, 18]}


@pytest.mark.parametrize(("count", "expected"), [(0, (0, 0)), (1, (0, 1)), (2, (1, 1)), (3, (1, 2)), (6, (2, 4))])
def test_steps_are_shared_in_proportion(count, expected):
    assert _shared({7: 2, 9: 4}, count) == dict(zip((7, 9), expected, strict=True))
