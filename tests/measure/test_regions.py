"""Layers that hold several operators: which are fitted together, what the fit makes of them, and their file."""

import json

import numpy as np
import pytest
from test_fitting import GRIDS, MS, OPERATORS, profiles

from compress.measure.fitting import fit_table, group_errors, held_out, prediction_error
from compress.measure.kept import pack, unpack
from compress.measure.profiling import Profile
from compress.measure.regions import MOST_OPERATORS, blocks, check_regions, components, members, region
from compress.plan import UserError, check_stored
from compress.plan.table_file import Profiles
from compress.spaces import Operator

NAMES = [op.name for op in OPERATORS]


def found(of, *networks):
    """The blocks as texts."""
    return [("".join(op.name[-1] for op in block.operators), *block.regions) for block in of(OPERATORS, networks)]


def test_a_region_is_named_by_its_operators():
    assert region({"b", "a"}) == "a + b"
    assert region(["a"]) == "a"
    assert members("a + b") == ["a", "b"]


def test_operators_with_layers_of_their_own_are_fitted_alone():
    alone = [("0", "op0"), ("1", "op1"), ("2", "op2"), ("3",), ("4", "op4")]
    assert found(blocks, ["op0", "op1", "op2", "op4", "rest"], ["op4", "op1", "op0"]) == alone, "one without a layer"
    assert found(components, ["op0", "op1", "op2", "op4"]) == alone


def test_regions_that_all_networks_have_are_fitted_alone():
    network = ["op0 + op1", "op1", "op2 + rest", "op3", "op4"]
    assert found(blocks, network, network) == [
        ("01", "op0 + op1"), ("1", "op1"), ("2", "op2 + rest"), ("3", "op3"), ("4", "op4"),
    ]  # fmt: skip
    assert found(components, network) == [
        ("01", "op0 + op1", "op1"), ("2", "op2 + rest"), ("3", "op3"), ("4", "op4"),
    ]  # fmt: skip


def test_regions_of_some_networks_are_fitted_with_those_that_overlap():
    apart, fused, other = ["op0", "op1", "op2", "op3"], ["op0 + op1", "op2", "op3"], ["op0", "op1 + op2", "op3"]
    assert found(blocks, apart, fused)[0] == ("01", "op0", "op0 + op1", "op1")
    chain = ("012", "op0", "op0 + op1", "op1", "op1 + op2", "op2")
    assert found(blocks, apart, fused, other)[0] == chain
    assert found(blocks, other, apart, fused) == found(blocks, fused, other, apart), "in any order"


def test_one_time_for_everything_is_refused():
    many = [Operator(f"layer{i}", "conv", 8, "a", macs=1, weights=1) for i in range(MOST_OPERATORS + 1)]
    whole = [region([op.name for op in many])]
    with pytest.raises(UserError, match=r"one time for 7 layers \(layer0, layer1, \.\.\.\), .*, with --way totals$"):
        blocks(many, [whole, whole])
    with pytest.raises(UserError, match="one time for 7 layers"):
        check_regions(["layer0", *whole])
    assert len(blocks(many[1:], [whole, whole])) == 1


def fused(profile, *regions, when=lambda widths: True):
    """`profile` of an engine that runs each of `regions` as one layer; the unpruned network likewise."""

    def joined(values, widths):
        gone = {name for each in regions for name in each if when(widths)}
        whole = {region(each): sum(values[name] for name in each) for each in regions if when(widths)}
        return {**{name: value for name, value in values.items() if name not in gone}, **whole}

    parts = [joined(values, profile.widths) for values in (profile.operators, profile.nodes)]
    full = [joined(values, profile.sizes) for values in (profile.unpruned, profile.unpruned_nodes)]
    return Profile(profile.widths, profile.sizes, parts[0], full[0], parts[1], full[1], profile.ratio, MS, 0.2)


def error_of(given):
    return prediction_error(held_out(OPERATORS, GRIDS, given).tolist(), [p.ratio for p in given])


@pytest.mark.parametrize(
    "when", [lambda widths: True, lambda widths: widths["b"] > 40], ids=["always", "at some widths"]
)
def test_fused_networks_are_predicted_as_well(when):
    apart, _ = profiles(32, overhead=0.1, seed=1, noise=0.01)
    given = [fused(p, ["op1", "op2"], when=when) for p in apart]
    assert len({frozenset(p.operators) for p in given}) == (1 if when({"b": 0}) else 2)
    table = fit_table({}, OPERATORS, GRIDS, given)
    assert list(table.operators) == NAMES
    assert "op1 + op2" in table.record["samples"]
    full = dict.fromkeys("abc", 96)
    assert table.predict(OPERATORS, full).ratio == pytest.approx(1, abs=0.02)
    one, two = error_of(apart), error_of(given)
    assert two["median"] < 1.5 * one["median"] + 0.002
    assert two["p90"] < 1.5 * one["p90"] + 0.005


def test_what_two_operators_have_in_common_is_of_the_one_with_more_macs():
    """Their widths are always the same, so only the order could tell them apart."""
    small, large = (Operator(name, "conv", "a", 96, macs=n, weights=1) for name, n in (("small", 1), ("large", 9)))
    apart, _ = profiles(16, overhead=0.0, seed=0)
    name = region(["small", "large"])
    made = [
        Profile(p.widths, p.sizes, {name: cost}, {name: 1.0}, {name: 1}, {name: 1}, cost, 1.0, 0.2)
        for p in apart
        for cost in [0.2 + 0.8 * p.widths["a"] / 96]
    ]
    table = fit_table({}, [small, large], GRIDS, made)
    assert not table.operators["small"].shares.any()
    assert table.price("large", 48, 96) == pytest.approx(0.6, abs=0.01)


def test_a_full_width_in_a_region_may_cost_more_than_a_gathered_one():
    """What the sliced widths save is taken from no other operator's time."""
    gathers = Operator("gathers", "norm", 1, "a", macs=0, weights=0)
    other = Operator("other", "conv", "b", 96, macs=9, weights=1)
    apart, _ = profiles(24, overhead=0.0, seed=5)
    name, full = region(["gathers", "other"]), {"a": 96, "b": 96}

    def cost(widths):
        return 0.2 + 0.2 * widths["b"] / 96 + (0.05 + 0.2 * widths["a"] / 96 if widths["a"] < 96 else 0.5)

    made = [
        Profile(p.widths, p.sizes, {name: cost(p.widths)}, {name: cost(full)}, {name: 1}, {name: 1}, 1.0, 1.0, 0.2)
        for p in apart
    ]
    table = fit_table({}, [gathers, other], GRIDS, made, gathered={"a"})
    for widths in (full, {"a": 88, "b": 96}, {"a": 96, "b": 16}, {"a": 16, "b": 16}):
        assert table.predict([gathers, other], widths).ratio == pytest.approx(cost(widths), abs=0.02)


def test_an_operator_in_two_regions_costs_both():
    """Half of op2's time is in a layer with op1."""
    apart, _ = profiles(24, overhead=0.0, seed=0)

    def halved(values, part=0.5):
        return {**values, "op1 + op2": values["op1"] + part * values["op2"], "op2": (1 - part) * values["op2"]}

    def changed(p):
        own, full = halved(p.operators), halved(p.unpruned)
        nodes, full_nodes = (halved(each, part=0) for each in (p.nodes, p.unpruned_nodes))
        for each in (own, full, nodes, full_nodes):
            del each["op1"]
        return Profile(p.widths, p.sizes, own, full, nodes, full_nodes, p.ratio, MS, 0.2)

    given = [changed(p) for p in apart]
    one, two = (fit_table({}, OPERATORS, GRIDS, each) for each in (apart, given))
    for widths in ({"a": 96, "b": 96, "c": 96}, {"a": 16, "b": 64, "c": 32}, {"a": 80, "b": 8, "c": 96}):
        assert two.predict(OPERATORS, widths).ratio == pytest.approx(one.predict(OPERATORS, widths).ratio, abs=0.01)
    errors = group_errors(OPERATORS, GRIDS, given)
    assert all(np.mean(each) < 0.01 for each in errors.values()), "both parts of op2 are counted"


def test_profiles_of_regions_go_to_their_file_and_back():
    apart, _ = profiles(8, overhead=0.1, seed=0)
    assert "regions" not in pack(apart), "tables of engines that fuse nothing stay what they are"
    given = [fused(p, ["op1", "op2"], ["op0", "op3"], when=lambda widths: widths["b"] > 40) for p in apart]
    value = json.loads(json.dumps(pack(given)))
    assert value["operators"] == NAMES
    assert [0, 3] in value["regions"]
    assert unpack(check_stored(value, Profiles, source="profiles", remedy="measure again")) == given


@pytest.mark.parametrize(
    ("regions", "says"),
    [
        ([[0], [1], [2], [3], [5]], "must be ascending numbers of operators"),
        ([[0], [1], [2], [3], [4, 1]], "must be ascending numbers of operators"),
        ([[0], [1], [2], [3], [3]], "regions must differ"),
        ([[0], [1], [2], [3, 4]], "shares must have rows of 4 entries"),
        ([[0], [1], [2], [3], []], "at least 1"),
    ],
)
def test_damaged_regions_are_refused(regions, says):
    given, _ = profiles(8, overhead=0.1, seed=0)
    with pytest.raises(UserError, match=says):
        check_stored({**pack(given), "regions": regions}, Profiles, source="profiles", remedy="measure again")
