"""What "auto" becomes: whole blocks of an engine, or in narrow groups parts of one, where the budget asks for it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress.plan import UserError
from compress.pruning import Budget, SelectConfig, SelectSection, select
from compress.pruning.ranking import Ranking
from compress.pruning.rounding import settled
from compress.spaces import Operator


def allowed(n: int, config: SelectConfig) -> list[int]:
    return Ranking({"a": torch.ones(n)}, config, {}).allowed["a"]


@pytest.mark.parametrize(
    ("n", "widths"),
    [
        (5, [2, 4, 5]),
        (16, [4, 8, 16]),
        (24, [8, 16, 24]),
        (32, [8, 16, 32]),
        (48, [16, 32, 48]),
        (64, [16, 32, 48, 64]),
    ],
)
def test_narrow_groups_may_keep_a_half_or_a_quarter_of_a_block(n, widths):
    assert allowed(n, SelectConfig(round_to=16, finer=True)) == widths
    assert allowed(n, SelectConfig(round_to=16)) == [width for width in widths if width % 16 == 0 or width == n]


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 40))
def test_finer_widths_ascend_keep_to_the_floor_and_hold_the_coarser_ones(n, round_to, floor):
    finer = allowed(n, SelectConfig(round_to=round_to, floor=floor, finer=True))
    assert finer == sorted(set(finer))
    assert min(min(floor, n), finer[-1]) <= finer[0]
    assert finer[-1] == n
    assert set(allowed(n, SelectConfig(round_to=round_to, floor=floor))) <= set(finer)


def test_whole_blocks_are_taken_where_the_budget_allows_it():
    asked = []

    def check(config):
        asked.append(config)
        if config.finer is not True:
            raise UserError("out of reach")

    section = SelectSection(floor=2, gain="balanced")
    assert settled(section, 16, asked.append) == SelectConfig(floor=2, round_to=16, gain="balanced")
    assert len(asked) == 1
    assert settled(section, 16, check) == SelectConfig(floor=2, round_to=16, gain="balanced", finer=True)
    assert settled(section, 16, None).finer, "scores at zero go, as many as they are"
    assert settled(section, 1, check) == SelectConfig(floor=2, gain="balanced")


@pytest.mark.parametrize(("fits", "found"), [(8, (8, True)), (2, (2, True)), (1, (1, False)), (0, (1, False))])
def test_blocks_are_halved_until_the_budget_can_be_met(fits, found):
    def check(config):
        if config.round_to > fits:
            raise UserError("out of reach")

    config = settled(SelectSection(), 16, check)
    assert (config.round_to, config.finer) == found


def test_parts_of_blocks_are_tried_first_where_spatial_convolutions_read_them():
    asked = []

    def check(config):
        asked.append(config.finer)
        if config.finer != "spatial":
            raise UserError("out of reach")

    assert settled(SelectSection(), 16, check).finer == "spatial"
    assert asked == [False, "single", "spatial"]
    widths = {"c1": 32, "c2": 16, "stream": 16}
    ops = [
        Operator("one", "conv", "stream", "c1", macs=64, weights=1),
        Operator("wide", "conv", "c1", "c2", macs=576, weights=9),
        Operator("deep", "depthwise", 1, "c2", macs=576, weights=9),
        Operator("fc", "linear", "c2", 10, macs=49, weights=49),
    ]
    scores = {name: torch.ones(n) for name, n in widths.items()}
    plan = select(scores, ops, Budget("macs_ratio", 0.3), SelectConfig(round_to=16, finer="spatial"), space="a")
    assert plan.widths == {"c1": 8, "c2": 16, "stream": 16}
    assert plan.record["select"]["finer"] == "spatial"
    with pytest.raises(UserError, match="out of reach"):
        select(scores, ops, Budget("macs_ratio", 0.3), SelectConfig(round_to=16, finer="single"), space="a")
    plan = select(scores, ops, Budget("macs_ratio", 0.6), SelectConfig(round_to=16, finer="single"), space="a")
    assert plan.widths == {"c1": 16, "c2": 16, "stream": 16}


def test_a_number_of_the_users_stays_as_it_is():
    refusing = pytest.fail
    assert settled(SelectSection(round_to=3, floor=2), 16, refusing) == SelectConfig(floor=2, round_to=3)
    assert SelectSection().round_to == "auto"


def test_plans_tell_of_finer_widths_alone():
    assert SelectConfig(round_to=16, finer=True).to_json()["finer"] is True
    assert "finer" not in SelectConfig(round_to=16).to_json()


@pytest.mark.parametrize("value", ["8", "atuo", 0, 2.5, None])
def test_what_is_neither_a_number_nor_auto_is_refused(value):
    with pytest.raises(UserError, match=r"select.round_to"):
        SelectSection(round_to=value)
