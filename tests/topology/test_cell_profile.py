"""Measuring a table of cells: network by network, stopped and resumed, and its command. Times are made up."""

import json

import pytest
import torch
from cell_tables import SIZE, Stopped, nats
from run_tool import run_tool

from compress.measure import plan_timer
from compress.plan import DARTS, NATS, UserError
from compress.plan.backends import BACKENDS
from compress.topology import DartsSupernetSpace, profile
from compress.topology.edge_latency import edge_costs
from compress.topology.latency import CellTable, open_cells
from compress.topology.profile import CellNetworks, CellTableConfig, PlanTimer, build_cell_table, compared
from compress.topology.space import DartsCellsSpace

RECIPE_CONFIG = CellTableConfig(designs=12, rounds=4)


def build(path, config=RECIPE_CONFIG, **options):
    return build_cell_table(nats, NATS, path, input_size=SIZE, config=config, **options)


def test_a_table_of_networks_that_are_timed_once_each(timed, tmp_path):
    table = build(tmp_path / "table.json")
    assert len(timed) == len({*timed}) == 12
    assert table.record["residual"]["n"] == 12
    assert table.record["residual"]["median"] < 0.05
    assert [each["genotype"] for each in table.record["designs"]] == [genotype.text for genotype in timed]
    assert table.key["space"] == "nats_cells"
    assert table.key["input_size"] == list(SIZE)
    assert table.network_ms == 2.0
    assert not list(tmp_path.glob("*.designs.json"))


def test_a_stopped_measurement_goes_on_where_it_was(timed, tmp_path):
    build(tmp_path / "whole.json")
    whole = list(timed)
    timed.clear()
    timed.stop = 5
    with pytest.raises(Stopped):
        build(tmp_path / "table.json")
    assert len(json.loads((tmp_path / "table.designs.json").read_text())["designs"]) == 5
    with pytest.raises(UserError, match=r"table\.designs\.json: networks of a stopped run; give --resume"):
        build(tmp_path / "table.json")
    for changed in (CellTableConfig(designs=12, rounds=5), CellTableConfig(designs=12, rounds=4, threads=2)):
        with pytest.raises(UserError, match=r"networks of other settings \((rounds|key)\); give the same ones"):
            build(tmp_path / "table.json", changed, resume=True)
    with pytest.raises(UserError, match=r"other settings \(designs or seed\)"):
        build(tmp_path / "table.json", CellTableConfig(designs=12, rounds=4, seed=1), resume=True)
    timed.stop = 10**6
    table = build(tmp_path / "table.json", resume=True)
    assert timed == whole
    first = CellTable.load(tmp_path / "whole.json")
    assert {cell: rows.tolist() for cell, rows in table.costs.items()} == {
        cell: rows.tolist() for cell, rows in first.costs.items()
    }
    build(tmp_path / "table.json", resume=True)  # nothing is left to do
    assert timed == whole


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"designs": 7}, "designs"),
        ({"rounds": 3}, "rounds"),
        ({"threads": 0}, "threads"),
        ({"backend": "x"}, "backend = 'x': is unknown; choose from pytorch, onnxruntime"),
        (
            {"backend": "torch-compile"},
            "compiles every network that it times, .*; choose from pytorch, onnxruntime, openvino$",
        ),
        ({"backend": "tensorrt"}, "backend = 'tensorrt': compiles every network that it times"),
    ],
)
def test_settings_out_of_range(settings, says):
    with pytest.raises(UserError, match=says):
        CellTableConfig(**settings)


def test_a_network_is_timed_in_turn_with_the_reference(tmp_path, monkeypatch):
    """The real exporter and engine; what is made sure of are files and names, not times."""
    backend = BACKENDS.need("backend", "onnxruntime")
    genotype = profile.random_genotypes(NATS, 8, seed=0)[0]
    networks = CellNetworks(nats, profile.REFERENCES["nats"], tmp_path, backend=backend, images=torch.zeros(1, *SIZE))
    seen = []

    def time(pair, images, **options):
        seen.append((dict(pair), tuple(images.shape), options))
        return profile_times({name: [2.0 if name == "unpruned" else 0.5] * 8 for name in pair})

    monkeypatch.setattr(backend, "time", time)
    timer = PlanTimer(networks, backend, threads=1)
    assert compared(timer, genotype, rounds=12) == (0.25, 2.0)
    assert len(seen) == 3
    assert {tuple(pair) for pair, _, _ in seen} == {("unpruned", "pruned"), ("pruned", "unpruned")}
    for pair, shape, options in seen:
        assert {path.name for path in pair.values()} == {"reference.onnx", "cells.onnx"}
        assert shape == (1, *SIZE)
        assert (options["threads"], options["repeats"]) == (1, 4)
    monkeypatch.undo()
    small, whole = (backend.open(tmp_path / f"{name}.onnx") for name in ("cells", "reference"))
    assert small(torch.randn(2, *SIZE)).shape == whole(torch.randn(2, *SIZE)).shape == (2, 10)
    assert genotype != profile.REFERENCES["nats"]


@pytest.mark.slow
def test_a_table_of_darts_cells_is_measured_in_pytorch(tmp_path, monkeypatch):
    """All of it is real, but for the patience: a search reads the table."""
    monkeypatch.setattr(profile, "SAMPLE_MS", 0.01)
    monkeypatch.setattr(profile, "WARMUP_SECONDS", 0.0)
    monkeypatch.setattr(plan_timer, "SESSIONS", 1)
    size, path = (3, 8, 8), tmp_path / "table.json"

    def target(genotype):
        return DartsCellsSpace(num_classes=3, channels=2, layers=3, genotype=genotype.text)

    config = CellTableConfig(backend="pytorch", designs=8, rounds=4)
    table = build_cell_table(target, DARTS, path, input_size=size, config=config)
    assert (table.key["backend"], len(table.record["designs"])) == ("pytorch", 8)
    assert all(table.predict(genotype).ms > 0 for genotype in profile.random_genotypes(DARTS, 3, seed=1))
    costs = edge_costs(str(path), DartsSupernetSpace(channels=2, layers=3), size)
    assert costs.latency_EO.shape == (28, 8)
    assert costs.latency_EO.sum() > 0
    assert (costs.latency_EO[:, DARTS.operations.index("none")] == 0).all()
    assert open_cells(path, target(table.reference), size).key == table.key


def profile_times(samples):
    from compress.measure.backends import Times

    return Times(samples, dict.fromkeys(samples, 0.0))


@pytest.fixture
def recipe(request):
    from pathlib import Path

    return Path(__file__).resolve().parents[2] / "recipes/topology/nats_digits_rarts.py"


OPTIONS = ("--cfg-options", "data.limit=60", "data.input_size=16", "data.resize=16")


def test_the_command_takes_recipes_of_cells(timed, recipe, tmp_path, capsys):
    path = tmp_path / "table.json"
    assert run_tool("profile_latency", recipe, "-o", path, "--designs", 12, "--rounds", 4, "--seed", 3, *OPTIONS) == 0
    printed = capsys.readouterr().out
    assert "Networks that it had not seen were predicted with a median error of" in printed
    assert f"Table: {path}" in printed
    assert len(timed) == 12
    page = (tmp_path / "table.html").read_text()
    assert "Costs of the operations" in page
    table = CellTable.load(path)
    assert (table.record["rounds"], table.key["input_size"]) == (4, [3, 16, 16])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--multiple", 8), "--multiple: for tables of widths"),
        (("--max-designs", 60, "--target", 0.01), "--max-designs, --target: for tables of widths"),
        (("--merge", "a.json"), "--merge: for tables of widths"),
        (("--checkpoint", "x"), "--checkpoint: for tables of widths"),
        (("--designs", 3), "designs"),
    ],
)
def test_options_of_widths_are_refused(timed, recipe, tmp_path, capsys, arguments, says):
    assert run_tool("profile_latency", recipe, "-o", tmp_path / "t.json", *arguments, *OPTIONS) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert not timed
    assert not (tmp_path / "t.json").exists()
