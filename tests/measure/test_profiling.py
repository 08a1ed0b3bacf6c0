"""Latency tables measured in context: shares of the unpruned network, resuming."""

import json

import pytest
from exported_spaces import made

from compress.costs import LatencyTable
from compress.measure import TableConfig, build_table, networks, ort_profiling, profiling, table_key
from compress.measure import table as table_module
from compress.measure.designs import allowed_widths, sample_designs
from compress.measure.owners import REST
from compress.measure.profiling import Profile, Profiler
from compress.plan import UserError
from compress.spaces import MobileNetV2Space, sizes


def test_a_profile_accounts_for_all_nodes(tmp_path):
    """Three calls count, two were warm-up."""
    events = [{"cat": "Session", "name": "model_run", "dur": 999}]
    for us in (70, 80, 10, 10, 10):
        events += [
            {"cat": "Node", "name": f"{n}_kernel_time", "dur": us * k} for n, k in (("a", 1), ("b", 2), ("c", 5))
        ]
        events += [{"cat": "Node", "name": "a_fence_before", "dur": 7}]
    (tmp_path / "profile.json").write_text(json.dumps(events))
    found = ort_profiling._operator_us(str(tmp_path / "profile.json"), {"a": "conv", "b": "conv", "c": REST}, 3)
    assert found == {"conv": pytest.approx(30), REST: pytest.approx(50)}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("interrupted", [0, 1, 4, 8])
def test_interruptions_of_half_of_the_calls_do_not_count(interrupted):
    samples = [10.0, 11.0] * 8
    samples[:interrupted] = [500.0] * interrupted
    assert 10 <= profiling.steady_mean(samples) <= 11
    assert profiling.steady_mean([7.0]) == 7


class Recorder:
    def __init__(self):
        self.begun, self.steps, self.notes = None, 0, []

    def start(self, stage, total, done):
        self.begun = (total, done)

    def advance(self):
        self.steps += 1

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(profiling, "WARMUP_SECONDS", 0.0)
    monkeypatch.setattr(profiling, "SAMPLE_MS", 0.01)
    monkeypatch.setattr(profiling, "time_reference", lambda: 0.2)


def test_profiles_are_shares_of_the_unpruned_network(quick, monkeypatch):
    space, size, _, graphs = made("preresnet")
    narrow = dict.fromkeys(graphs.sizes, 1)
    monkeypatch.setattr(networks, "WidthGraphs", lambda *args, **options: graphs)  # saves an export
    with table_module._profiler(space, size, TableConfig(batch=2, rounds=12)) as profiler:
        found = profiler.profile(narrow)
        folder = profiler.networks.folder
        assert {file.name for file in folder.iterdir()} == {"sliced.onnx", "unpruned.onnx"}
    assert not folder.exists()
    assert sum(found.unpruned.values()) == pytest.approx(1)
    assert found.operators.keys() == found.nodes.keys()
    assert set(found.operators) <= {REST, *(op.name for op in space.operators(size))}
    assert found.widths == narrow
    assert found.sizes == sizes(space.groups)
    assert 0 < found.ratio < 2
    assert found.unpruned_ms > 0


def test_a_stopped_table_goes_on(quick, monkeypatch, tmp_path):
    space, size, _, graphs = made("preresnet")
    monkeypatch.setattr(networks, "WidthGraphs", lambda *args, **options: graphs)  # saves two exports
    config = TableConfig(designs=8, rounds=4)
    path, kept = tmp_path / "table.json", tmp_path / "table.profiles.json"
    profile, done = Profiler.profile, []

    def stops(self, widths):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(widths)
        return profile(self, widths)

    monkeypatch.setattr(Profiler, "profile", stops)
    with pytest.raises(KeyboardInterrupt):
        build_table(space, path, input_size=size, config=config)
    assert len(json.loads(kept.read_text())["profiles"]["ratio"]) == 3
    assert not path.exists()
    with pytest.raises(UserError, match=r"other settings \(multiple\)"):
        build_table(space, path, input_size=size, config=TableConfig(designs=8, rounds=4, multiple=16), resume=True)

    monkeypatch.setattr(Profiler, "profile", profile)
    progress = Recorder()
    table = build_table(space, path, input_size=size, config=config, resume=True, progress=progress)
    assert progress.begun == (8, 3)
    assert progress.steps == len(progress.notes) == 5
    assert not kept.exists()
    allowed = allowed_widths(space.groups, 8)
    assert [design["widths"] for design in table.record["designs"]] == sample_designs(allowed, 8, seed=0)
    assert [design["widths"] for design in table.record["designs"][:3]] == done

    again = LatencyTable.load(path)
    assert again.check_key(table_key(space, size, config)) == []
    operators = space.operators(size)
    assert again.predict(operators, done[0]).ratio == pytest.approx(table.predict(operators, done[0]).ratio, rel=1e-4)
    assert again.record["residual"]["n"] == len(again.record["reference_ms"]) == 8
    assert again.widths == {name: tuple(widths) for name, widths in allowed.items()}
    rows = again.record["samples"]["layer2.0.conv2"]
    assert [row[:2] for row in rows[:-1]] == [
        [design["widths"]["layer2.0.conv1"], design["widths"]["layer2.0.conv2"]] for design in again.record["designs"]
    ]
    assert rows[-1][:2] == [32, 32]


def test_blocks_that_can_go_have_width_zero(monkeypatch, tmp_path):
    space, size = MobileNetV2Space(5, 0.35), (3, 32, 32)
    operators, full = space.operators(size), sizes(space.groups)
    shares = {op.name: 1 / len(operators) for op in operators if op.macs}  # BatchNorms are merged
    nodes = dict.fromkeys(shares, 1)

    def fake(space, input_size, config, designs):
        return (Profile({**full, **widths}, full, shares, shares, nodes, nodes, 1.0, 5.0, 0.2) for widths in designs)

    monkeypatch.setattr(table_module, "_profiles", fake)
    table = build_table(space, tmp_path / "table.json", input_size=size, config=TableConfig(designs=8))
    removable = {group.name for group in space.groups if group.rest is not None}
    assert removable
    assert {name for name, widths in table.widths.items() if widths[0] == 0} == removable
    gone = dict.fromkeys(removable, 0)
    assert table.predict(operators, {**full, **gone}).ratio < table.predict(operators, full).ratio - 0.1
    # What is left of the network without those blocks costs the same.
    left = space.with_widths(gone)
    assert table.predict(left.operators(size), sizes(left.groups)).ratio == pytest.approx(
        table.predict(operators, {**full, **gone}).ratio
    )


@pytest.mark.parametrize(
    "options",
    [
        {"backend": "tflite"},
        {"threads": 0},
        {"batch": 0},
        {"designs": 7},
        {"multiple": 0},
        {"rounds": 3},
        {"batch": 1.5},
    ],
)
def test_bad_config(options):
    (name,) = options
    with pytest.raises(UserError, match=name):
        TableConfig(**options)
