"""Means with intervals, paired differences and what may be said of them."""

import math
import sys
from pathlib import Path

import pytest
from scipy.stats import ttest_rel

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from _seeds import Interval, draw, interval, p_value, paired, verdict

OURS = {1: 50.0, 2: 54.0, 3: 52.0}
THEIRS = {1: 49.0, 2: 50.0, 3: 51.0, 9: 80.0}


def test_an_interval_is_students():
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3)
    assert found.half == pytest.approx(4.302652729911275 / math.sqrt(3)), "t of 2 degrees of freedom at 0.975"
    assert (found.low, found.high) == pytest.approx((2 - found.half, 2 + found.half))
    assert found.shown() == "2.00 [-0.48, 4.48]"


def test_one_seed_has_no_interval():
    found = interval([3.0])
    assert found.half == math.inf
    assert found.shown() == "3.00"
    assert p_value(found) is None
    assert verdict("a", "b", found) == "a and b cannot be told apart by one seed (+3.00 points of top-1)."


def test_pairs_are_seeds_that_both_have():
    found = paired(OURS, THEIRS)
    assert (found.mean, found.n) == (2.0, 3)
    assert found.half == pytest.approx(interval([1.0, 4.0, 1.0]).half)
    with pytest.raises(ValueError, match="no seed"):
        paired(OURS, {9: 1.0})


def test_the_p_value_is_that_of_the_paired_test():
    expected = ttest_rel(list(OURS.values()), [THEIRS[seed] for seed in OURS]).pvalue
    assert p_value(paired(OURS, THEIRS)) == pytest.approx(expected)
    assert p_value(Interval(1.0, 0.0, 3)) == 0.0
    assert p_value(Interval(0.0, 0.0, 3)) == 1.0


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (Interval(2.0, 1.5, 5), "a is ahead of b: +2.00 points of top-1 [0.50, 3.50], 5 seeds."),
        (Interval(-2.0, 1.5, 5), "a is behind b: -2.00 points of top-1 [-3.50, -0.50], 5 seeds."),
        (Interval(2.0, 2.0, 5), "a and b cannot be told apart: +2.00 points of top-1 [0.00, 4.00], 5 seeds."),
    ],
)
def test_the_sentence_is_what_the_interval_allows(difference, said):
    assert verdict("a", "b", difference) == said


def test_the_figure_is_the_same_every_time(tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        draw({"ours": [1.0, 2.0], "one seed": [1.5]}, tmp_path / name / "x.svg", label="top-1")
    assert (tmp_path / "a/x.svg").read_bytes() == (tmp_path / "b/x.svg").read_bytes()
