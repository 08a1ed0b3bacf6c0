"""Networks that are profiled where the first ones did not suffice. A few seconds."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from made_up_profiles import GROUP, SIZE, SPACE, Formula, late_step, smooth, use

from compress.measure import TableConfig, build_table
from compress.measure.designs import allowed_widths, next_design, sample_designs
from compress.measure.fitting import group_errors
from compress.plan import UserError
from compress.spaces import sizes

GRID = list(range(8, 97, 8))


def wanted(measured, errors):
    """The next width of one group."""
    return next_design({"a": GRID}, [{"a": n} for n in measured], {"a": np.array(errors)}, seed=0)["a"]


def test_the_next_width_lies_in_the_middle_of_those_beside_the_largest_error():
    assert wanted([8, 48, 88], [0.0, 0.0, 0.3]) == 64, "of 56 to 80"
    assert wanted([8, 64, 72, 88], [0.1, 0.0, 0.3, 0.0]) == 80
    assert wanted([8, 8, 48, 88], [0.0, 0.2, 0.05, 0.0]) == 24, "errors at a width are averaged"


def test_the_next_width_is_one_that_was_measured_least_often():
    every = [*GRID[:-1], *GRID[:-1]]
    assert wanted(GRID[:-1], [0.1] * 10 + [0.3]) == 88
    assert wanted([n for n in every if n != 24] + [24], [1.0] * 20 + [0.0] * 1) == 24
    assert wanted(every, [0.0] * len(every)) != 96, "the full width is measured beside every network"


def test_the_worst_groups_are_steered_and_the_others_drawn():
    grids = dict.fromkeys("abcd", GRID)
    measured = sample_designs(grids, 9, seed=3)
    errors = {"a": np.full(9, 0.01), "b": np.full(9, 0.3), "c": np.full(9, 0.02), "d": np.full(9, 0.01)}
    drawn = sample_designs(grids, 8, seed=3 + 1 + 1)[1]
    found = next_design(grids, measured, errors, seed=3)
    assert {name: found[name] for name in "acd"} == {name: drawn[name] for name in "acd"}
    assert found["b"] not in {design["b"] for design in measured}
    assert found == next_design(grids, measured, errors, seed=3)


def test_narrow_groups_have_a_next_width_too():
    assert next_design({"a": [5]}, [{"a": 5}], {"a": np.zeros(1)}, seed=0) == {"a": 5}


CONFIG = TableConfig(designs=8, multiple=4, max_designs=14, target=1e-4)


def build(folder, config, **options):
    return build_table(SPACE, folder / "table.json", input_size=SIZE, config=config, **options)


def distance(designs):
    """Of the nearest measured width on either side of the step: 4 channels where its place is known."""
    found = [design[GROUP] for design in designs]
    return min((n for n in [*found, 64] if n > 52), default=64) - max(n for n in found if n <= 52)


def test_a_step_between_measured_widths_is_found(monkeypatch, tmp_path):
    profiler = use(monkeypatch, Formula(late_step))
    table = build(tmp_path, CONFIG)
    widths = [design["widths"] for design in table.record["designs"]]
    assert widths[:8] == sample_designs(allowed_widths(SPACE.groups, 4), 8, seed=0)
    assert distance(widths[:8]) > 4
    assert len(widths) == 14
    assert distance(widths) == 4
    assert profiler.asked == widths


@pytest.mark.parametrize(
    ("factor", "options", "number"),
    [
        (smooth, {}, 8),
        (late_step, {"target": 0.1}, 8),
        (late_step, {"target": 0.012, "max_designs": 20}, 13),  # 0.0190 with 12 networks, 0.0118 with 13
        (late_step, {"max_designs": 0}, 8),
        (late_step, {"max_designs": 8}, 8),
    ],
)
def test_no_more_are_profiled_than_the_target_asks_for(monkeypatch, tmp_path, factor, options, number):
    profiler = use(monkeypatch, Formula(factor))
    table = build(tmp_path, replace(CONFIG, **options))
    assert len(profiler.asked) == table.record["residual"]["n"] == number
    if 8 < number < 14:
        assert table.record["residual"]["median"] <= options["target"]


@pytest.mark.parametrize("stop_after", [5, 11])
def test_a_stopped_table_goes_on_with_the_same_networks(monkeypatch, tmp_path, stop_after):
    whole = use(monkeypatch, Formula(late_step))
    table = build(tmp_path, CONFIG)
    stopped = use(monkeypatch, Formula(late_step, stop_after=stop_after))
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, CONFIG)
    rest = use(monkeypatch, Formula(late_step))
    again = build(tmp_path, CONFIG, resume=True)
    assert [*stopped.asked, *rest.asked] == whole.asked
    for name, costs in table.operators.items():
        assert np.array_equal(again.operators[name].shares, costs.shares)


def test_a_stopped_table_may_get_another_target(monkeypatch, tmp_path):
    use(monkeypatch, Formula(late_step, stop_after=9))
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, CONFIG)
    rest = use(monkeypatch, Formula(late_step))
    build(tmp_path, replace(CONFIG, max_designs=10), resume=True)
    assert len(rest.asked) == 1


def test_kept_profiles_are_not_lost_where_resume_is_forgotten(monkeypatch, tmp_path):
    use(monkeypatch, Formula(stop_after=3))
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, CONFIG)
    (kept,) = tmp_path.iterdir()
    before, again = kept.read_text(), use(monkeypatch, Formula())
    with pytest.raises(
        UserError, match=r"table\.profiles\.json: profiles of a stopped run; give --resume .* delete it"
    ):
        build(tmp_path, CONFIG)
    assert kept.read_text() == before
    assert again.asked == []


def test_a_finished_table_stays_as_it_is_or_gets_more_networks(monkeypatch, tmp_path):
    few = replace(CONFIG, max_designs=0)
    first = use(monkeypatch, Formula(late_step))
    build(tmp_path, few)
    before = (tmp_path / "table.json").read_text()
    again = use(monkeypatch, Formula(late_step))
    for config in (few, replace(CONFIG, max_designs=8), replace(CONFIG, target=0.5)):
        table = build(tmp_path, config, resume=True)
        assert table.record["residual"]["n"] == 8
    assert again.asked == []
    assert (tmp_path / "table.json").read_text() == before

    table = build(tmp_path, CONFIG, resume=True)
    whole = use(monkeypatch, Formula(late_step))
    (tmp_path / "other").mkdir()
    at_once = build(tmp_path / "other", CONFIG)
    assert [*first.asked, *again.asked] == whole.asked
    for name, costs in at_once.operators.items():
        assert np.array_equal(table.operators[name].shares, costs.shares)
    assert [file.name for file in (tmp_path / "other").iterdir()] == ["table.json"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"multiple": 8}, r"\(multiple\)"),
        ({"rounds": 30, "threads": 2}, r"\(key, rounds\)"),
        ({"seed": 1}, r"\(designs or seed\)"),
        ({"designs": 9}, r"\(designs or seed\)"),
    ],
)
@pytest.mark.parametrize("stop_after", [None, 3])
def test_profiles_of_other_settings_are_not_gone_on_with(monkeypatch, tmp_path, options, named, stop_after):
    use(monkeypatch, Formula(stop_after=stop_after))
    with contextlib.suppress(KeyboardInterrupt):
        build(tmp_path, CONFIG)
    before = {file: file.read_text() for file in tmp_path.iterdir()}
    with pytest.raises(UserError, match=rf"profiles of other settings {named}; give the same ones"):
        build(tmp_path, replace(CONFIG, **options), resume=True)
    assert {file: file.read_text() for file in tmp_path.iterdir()} == before


def test_every_network_is_profiled_once(monkeypatch, tmp_path):
    """With few widths many draws are equal: what is held out must not be in what predicts it."""
    config = TableConfig(designs=40, multiple=16)
    drawn = sample_designs(allowed_widths(SPACE.groups, 16), 40, seed=0)
    distinct = [design for i, design in enumerate(drawn) if design not in drawn[:i]]
    assert 8 < len(distinct) < 40
    profiler = use(monkeypatch, Formula(late_step))
    table = build(tmp_path, config)
    assert profiler.asked == distinct
    assert table.record["residual"]["n"] == len(distinct)
    further = use(monkeypatch, Formula(late_step))
    build(tmp_path, replace(config, max_designs=70, target=1e-9), resume=True)
    every = {tuple(design.values()) for design in (*distinct, *further.asked)}
    assert len(every) == len(distinct) + len(further.asked) <= 64, "there are no more"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"multiple": 64}, r"multiple=64: no group has a second width"),
        ({"multiple": 32}, r"designs=8: only \d networks"),
    ],
)
def test_networks_that_hardly_differ_make_no_table(monkeypatch, tmp_path, options, named):
    profiler = use(monkeypatch, Formula())
    with pytest.raises(UserError, match=named):
        build(tmp_path, TableConfig(designs=8, **options))
    assert profiler.asked == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"max_designs": 19}, {"max_designs": 30.5}, {"target": 0}, {"target": 2.0}])
def test_bad_config(options):
    (name,) = options
    with pytest.raises(UserError, match=name):
        TableConfig(**options)


def test_the_group_with_a_step_is_the_one_that_is_predicted_worst():
    grids = allowed_widths(SPACE.groups, 4)
    designs = sample_designs(grids, 12, seed=1)
    plain, stepped = ([Formula(*f).profile(widths) for widths in designs] for f in ((), (late_step,)))
    exact = group_errors(SPACE.operators(SIZE), grids, plain)
    assert exact.keys() == sizes(SPACE.groups).keys()
    assert max(error.max() for error in exact.values()) < 1e-3
    odd = group_errors(SPACE.operators(SIZE), grids, stepped)
    means = {name: error.mean() for name, error in odd.items()}
    assert max(means, key=means.get) == GROUP
    assert means[GROUP] > 0.01
