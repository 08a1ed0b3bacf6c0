"""Tables made of the profiles of several, and what cannot be merged. About two seconds."""

import json

import pytest
from made_up_profiles import SIZE, SPACE, Formula, late_step, use

from compress.costs import LatencyTable
from compress.costs.stairs import table_stairs
from compress.measure import TableConfig, build_table, describe_table, merge_tables
from compress.measure.kept import pack, unpack
from compress.plan import UserError
from compress.report import write_table_report
from compress.spaces import PreResNetSpace, sizes


@pytest.fixture
def made(monkeypatch, tmp_path):
    """A function that makes a table of 8 networks and returns its file."""
    use(monkeypatch, Formula())

    def make(name, **config):
        build_table(SPACE, tmp_path / name, input_size=SIZE, config=TableConfig(**{"designs": 8, **config}))
        return tmp_path / name

    return make


def merge(folder, *sources, space=SPACE):
    return merge_tables(space, folder / "merged.json", sources, input_size=SIZE)


def test_profiles_come_back_exactly():
    profiles = [Formula().profile(dict.fromkeys(sizes(SPACE.groups), n)) for n in (3, 5)]
    profiles[1].operators.pop("fc")
    profiles[1].nodes.pop("fc")
    assert unpack(json.loads(json.dumps(pack(profiles)))) == profiles
    assert unpack(pack([])) == []


def test_a_merged_table_is_fitted_to_all_networks(made, tmp_path):
    first, second = made("first.json"), made("second.json", seed=1)
    table = merge(tmp_path, first, second)
    parts = [json.loads(path.read_text()) for path in (first, second)]
    assert [d["widths"] for d in table.record["designs"]] == [d["widths"] for p in parts for d in p["designs"]]
    assert table.record["residual"]["n"] == len(table.record["reference_ms"]) == 16
    assert len(table.record["samples"]["fc"]) == 17
    again = LatencyTable.load(tmp_path / "merged.json")
    assert again.key == parts[0]["key"]
    full = sizes(SPACE.groups)
    assert again.predict(SPACE.operators(SIZE), full).ratio == pytest.approx(1, abs=1e-3)
    third = made("third.json", seed=2)
    assert merge(tmp_path, tmp_path / "merged.json", third).record["residual"]["n"] == 24, "merged tables merge, too"


def test_of_merged_tables_nothing_is_said_of_the_machines_speed(made, tmp_path):
    """It was another day, so another speed means nothing; each table told of its own when it was made."""
    first, second, third = made("first.json"), made("second.json", seed=1), made("third.json", seed=2)
    value = json.loads(second.read_text())
    value["profiles"]["reference_ms"] = [0.3] * 8
    second.write_text(json.dumps(value))
    merged = merge(tmp_path, first, second)
    assert max(merged.record["reference_ms"]) > 1.4 * min(merged.record["reference_ms"])
    more = merge_tables(SPACE, tmp_path / "more.json", [tmp_path / "merged.json", third], input_size=SIZE)
    again = merge_tables(SPACE, tmp_path / "again.json", [tmp_path / "more.json"], input_size=SIZE)
    assert [table.record["sources"] for table in (LatencyTable.load(first), merged, more, again)] == [1, 2, 3, 3]
    for table in (merged, more, again):
        assert "speed" not in describe_table(table)
    for file in ("merged", "more", "again"):
        table = LatencyTable.load(tmp_path / f"{file}.json")
        assert "Warning" not in write_table_report(tmp_path / f"{file}.json", table_stairs(table)).read_text()
    value["profiles"]["reference_ms"][0] = 0.2
    second.write_text(json.dumps(value))
    assert "speed changed by 50 %" in describe_table(merge(tmp_path, second))


def test_a_merged_table_goes_on(made, monkeypatch, tmp_path):
    """Its networks are those of several seeds, and stay; what is asked for beyond them comes to them."""
    use(monkeypatch, Formula(late_step))
    table = merge(tmp_path, made("first.json", multiple=4), made("second.json", multiple=4, seed=1))
    file, before = tmp_path / "merged.json", (tmp_path / "merged.json").read_bytes()

    def go_on(n, **options):
        config = TableConfig(designs=8, multiple=4, max_designs=n, target=1e-9, **options)
        return build_table(SPACE, file, input_size=SIZE, config=config, resume=True)

    go_on(16)
    assert file.read_bytes() == before, "it has as many"
    with pytest.raises(UserError, match=r"merged\.json: profiles of other settings \(key\)"):
        go_on(18, threads=2)
    use(monkeypatch, Formula(late_step, stop_after=1))
    with pytest.raises(KeyboardInterrupt):
        go_on(18)
    use(monkeypatch, Formula(late_step))
    more = go_on(18)
    assert more.record["sources"] == 2, "the machine's speed says nothing still"
    widths = [design["widths"] for design in more.record["designs"]]
    assert widths[:16] == [design["widths"] for design in table.record["designs"]]
    assert len({tuple(each.values()) for each in widths}) == 18


def test_one_table_alone_is_made_again(made, tmp_path):
    table = LatencyTable.load(made("first.json"))
    again = merge(tmp_path, tmp_path / "first.json")
    for name, costs in table.operators.items():
        assert again.operators[name].shares == pytest.approx(costs.shares, rel=1e-4, abs=1e-9)
    assert again.record["residual"] == pytest.approx(table.record["residual"])


def test_networks_that_were_measured_twice_count_once(made, tmp_path):
    first, second = made("first.json"), made("second.json", seed=1)
    value = json.loads(second.read_text())
    twice = json.loads(first.read_text())["profiles"]
    for column in ("widths", "shares", "unpruned_shares", "nodes", "unpruned_nodes", "unpruned_ms", "reference_ms"):
        value["profiles"][column][:3] = twice[column][:3]
    value["profiles"]["ratio"][:3] = [9.0] * 3
    second.write_text(json.dumps(value))
    table = merge(tmp_path, first, second)
    assert table.record["residual"]["n"] == 13
    assert max(design["ratio"] for design in table.record["designs"]) < 2, "the first measurement counts"
    with pytest.raises(UserError, match=r"first\.json: all of its networks are in the tables before it.*--seed"):
        merge(tmp_path, second, first, first)


def test_profiles_of_stopped_runs_merge_too(made, monkeypatch, tmp_path):
    first = made("first.json")
    use(monkeypatch, Formula(stop_after=3))
    with pytest.raises(KeyboardInterrupt):
        made("second.json", seed=1)
    assert merge(tmp_path, first, tmp_path / "second.profiles.json").record["residual"]["n"] == 11
    with pytest.raises(UserError, match=r"3 networks in all; a table needs 8"):
        merge(tmp_path, tmp_path / "second.profiles.json")


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"threads": 2}, "threads = 2, but .*first.json has 1;"),
        ({"batch": 4, "rounds": 30}, r"batch = 4, but .* has 1 \(rounds differ too\)"),
        ({"multiple": 16}, "multiple = 16, but .* has 8"),
        ({"backend": "pytorch"}, "backend = 'pytorch', but .* has 'onnxruntime'"),
    ],
)
def test_tables_of_other_settings_do_not_merge(made, tmp_path, other, named):
    first, second = made("first.json"), made("second.json", seed=1, **other)
    with pytest.raises(UserError, match=rf"second\.json: {named}"):
        merge(tmp_path, first, second)
    assert not (tmp_path / "merged.json").exists()


def test_tables_of_other_networks_and_other_files_are_refused(made, tmp_path):
    first = made("first.json")
    with pytest.raises(UserError, match=r"first\.json: latency table: arch\.depth = 11 there, 20 here"):
        merge(tmp_path, first, space=PreResNetSpace(20, 5))
    for absent in (lambda path: merge(tmp_path, first, path), LatencyTable.load):
        with pytest.raises(UserError, match=r"none\.json: no such file; .*make a table with `nncompress profile`"):
            absent(tmp_path / "none.json")
    value = json.loads(first.read_text())
    for broken in ([], {}, {**value, "profiles": []}, {**value, "rounds": None}, {**value, "key": None}):
        (tmp_path / "odd.json").write_text(json.dumps(broken))
        with pytest.raises(UserError, match=r"odd\.json: .*; profile this one with `nncompress profile`"):
            merge(tmp_path, first, tmp_path / "odd.json")
