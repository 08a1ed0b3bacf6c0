"""Latency tables: exact look-up, refusals, interpolation, and files. Fast: no timing."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from small_table import KEY, OPERATORS, SECOND, WIDTHS

from compress.costs import LatencyTable
from compress.costs.latency import check_timeable
from compress.plan import UserError
from compress.spaces import PreResNetSpace, Sum


def test_prices_are_the_entries_on_the_grid(table):
    for i, a in enumerate(WIDTHS["a"]):
        for j, b in enumerate(WIDTHS["b"]):
            assert table.price("second", a, b) == SECOND[i, j]
    assert table.price(OPERATORS[1], 16, 24) == 0.2


def test_a_network_costs_the_sum_of_its_operators_and_the_rest(table):
    found = table.predict(OPERATORS, {"a": 16, "b": 8})
    assert found.ratio == pytest.approx(0.01 + 0.2 + 0.12 + 0.15 + 0.04)
    assert found.ms == pytest.approx(40 * found.ratio)
    assert table.predict(OPERATORS, {"a": 16, "b": 0}).ratio == pytest.approx(0.01 + 0.2 + 0.12)
    assert table.predict(OPERATORS[:2], {"a": 8}).ratio == pytest.approx(0.01 + 0.2 + 0.1)


@pytest.mark.parametrize(
    ("op", "n_in", "n_out"), [("second", 12, 8), ("second", 8, 9), ("first", 16, 32), ("stem", 4, 16)]
)
def test_widths_off_the_grid_are_refused(table, op, n_in, n_out):
    with pytest.raises(UserError, match=r"not measured.*select\.round_to"):
        table.price(op, n_in, n_out)


def test_a_network_off_the_grid_is_refused_unless_interpolation_is_asked_for(table):
    with pytest.raises(UserError, match=r"^width 12 for a of second: not measured, .* grid is 8, 16, 24; round widths"):
        table.predict(OPERATORS[2:], {"a": 12, "b": 8})


def test_interpolation_begins_at_a_single_channel(table):
    narrow = replace(table, widths={"a": (0, 1, 3)})
    assert narrow.price("first", 16, 2, interpolate=True) == pytest.approx(0.16)


def test_long_grids_are_shown_by_their_ends(table):
    for n, shown in ((7, "1, 2, 3, 4, 5, 6, 7"), (8, "1, 2, 3, ..., 7, 8")):
        long = replace(table, widths={"a": tuple(range(1, n + 1))})
        with pytest.raises(
            UserError, match=f"^width 9 for a of first: not measured, .* grid is {shown}; round widths to those .select"
        ):
            long.price("first", 16, 9)


def test_interpolation_is_asked_for_and_multilinear(table):
    assert table.price("second", 12, 10, interpolate=True) == pytest.approx(SECOND[:2, 1:].mean())
    assert table.price("second", 8, 9, interpolate=True) == pytest.approx(0.75 * 0.10 + 0.25 * 0.11)
    assert table.predict(OPERATORS[:2], {"a": 20}, interpolate=True).ratio == pytest.approx(0.01 + 0.2 + 0.16)


@pytest.mark.parametrize(("n_in", "n_out"), [(7, 8), (25, 8), (8, 13), (8, -1), (8, 7), (8, 1)])
def test_nothing_is_extrapolated(table, n_in, n_out):
    with pytest.raises(UserError, match="not measured"):
        table.price("second", n_in, n_out, interpolate=True)


def test_unknown_operators_and_missing_groups_are_named(table):
    with pytest.raises(UserError, match=r"'third'.*`nncompress profile`"):
        table.predict([replace(OPERATORS[0], name="third")], {})
    with pytest.raises(UserError, match="'b'"):
        table.predict(OPERATORS, {"a": 8})


def test_a_file_holds_the_whole_table(table, tmp_path):
    table.save(tmp_path / "table.json")
    again = LatencyTable.load(tmp_path / "table.json")
    assert (again.key, again.unpruned_ms, again.rest, again.record) == (KEY, 40.0, 0.01, table.record)
    assert again.widths == WIDTHS
    assert again.operators.keys() == table.operators.keys()
    for name, costs in table.operators.items():
        assert (again.operators[name].n_in, again.operators[name].n_out) == (costs.n_in, costs.n_out)
        np.testing.assert_allclose(again.operators[name].shares, costs.shares, rtol=1e-5)


def test_shares_are_floats_whatever_a_file_s_numbers_are(table, tmp_path):
    path = tmp_path / "table.json"
    table.save(path)
    value = json.loads(path.read_text())
    value["operators"]["stem"]["shares"] = [[1]]
    path.write_text(json.dumps(value))
    assert LatencyTable.load(path).operators["stem"].shares.dtype == float


def test_what_is_no_number_is_not_written(table, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        replace(table, rest=float("nan")).save(tmp_path / "table.json")
    assert not list(tmp_path.iterdir())


def test_a_table_that_is_not_there_is_named_with_what_makes_one(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: no such file; .* make a table with `nncompress profile`$"):
        LatencyTable.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": 2}, "format = 2: this version reads format 1; use the version of compress"),
        ({"widths": {"a": [8, 16], "b": [0, 8, 12]}}, r"operators\.first\.shares must be 1 x 2, as its widths are"),
        ({"widths": {**WIDTHS, "a": [8, 8, 16]}}, r"widths\.a = \[8, 8, 16\]: must be ascending, without repeats"),
        ({"widths": {**WIDTHS, "a": [16, 8, 4]}}, "must be ascending"),
        ({"unpruned_ms": 0}, "unpruned_ms = 0: must be greater"),
        ({"rest": -3.0}, "rest = -3.0: must be greater"),
        ({"operators": None}, "operators = None: must be an object"),
        ({"unpruned_ms": "fast"}, "unpruned_ms = 'fast': must be a valid number"),
    ],
)
def test_broken_files_are_refused(table, tmp_path, change, named):
    path = tmp_path / "table.json"
    table.save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=named):
        LatencyTable.load(path)


@pytest.mark.parametrize("text", ["{}", "[]", "{"])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(UserError, match=r"table\.json: .*; profile this one with `nncompress profile`$"):
        LatencyTable.load(tmp_path / "table.json")


@pytest.mark.parametrize(("name", "value"), [("device", "another processor"), ("threads", 2), ("space", "swin")])
def test_a_table_of_something_else_is_refused_unless_forced(table, name, value):
    assert table.check_key(KEY) == []
    other = {**KEY, name: value}
    with pytest.raises(UserError, match=f"{name} = {KEY[name]!r} there, {value!r} here"):
        table.check_key(other)
    assert table.check_key(other, force=True) == [name]


def test_a_table_of_other_networks_is_refused_with_all_that_differs(table):
    space, size = PreResNetSpace(20, 10), (3, 32, 32)
    key = {**KEY, "space": "preresnet", "arch": dict(space.arch), "input_size": list(size)}
    replace(table, key=key).check_space(space, size)
    replace(table, key={**key, "device": "another processor"}).check_space(space, size)
    for change, shown in (
        ({"space": "swin"}, "space = 'swin' there, 'preresnet' here"),
        ({"input_size": [3, 64, 64]}, "input_size = [3, 64, 64] there, [3, 32, 32] here"),
        ({"input_size": None}, "input_size = [] there, [3, 32, 32] here"),
        ({"arch": {**space.arch, "depth": 29}}, "arch.depth = 29 there, 20 here"),
        (
            {"arch": {**space.arch, "depth": 29, "num_classes": 7}, "input_size": [1, 8, 8]},
            "input_size = [1, 8, 8] there, [3, 32, 32] here (arch.depth, arch.num_classes differ too)",
        ),
        (
            {"arch": None},
            "arch.depth = None there, 20 here (arch.num_classes, arch.in_channels, arch.score_inputs, arch.widths "
            "differ too)",
        ),
    ):
        with pytest.raises(UserError, match=f"^{re.escape(f'latency table: {shown}; profile this one with')}"):
            replace(table, key={**key, **change}).check_space(space, size)


@pytest.mark.parametrize("side", ["n_in", "n_out"])
def test_a_network_with_a_concatenation_has_no_table(side):
    check_timeable(OPERATORS)
    check_timeable([replace(OPERATORS[4], **{side: Sum((("a", 1), ("b", 1)))})])  # of a kind that is not timed
    with pytest.raises(UserError, match=r"second has a concatenation on one side \(a, b\).* use --macs-ratio"):
        check_timeable([*OPERATORS[:2], replace(OPERATORS[2], **{side: Sum((("a", 1), ("b", 1)), 16)})])
