"""A latency budget that another device corrects: the run stops with candidates and goes on with their times."""

import hashlib
import json
from types import SimpleNamespace

import pytest
from run_tool import run_tool
from table_runs import HALF, RECIPE, SIZE, SPACE

from compress.costs import LatencyTable
from compress.measure.kit.ondevice.main import parse
from compress.pipeline import latency_kit
from compress.pipeline.latency_kit import LADDER, PausedError, as_timed, candidates, closest
from compress.pipeline.tables import RunTable, price
from compress.plan import UserError, WidthPlan, read_json
from compress.pruning import Budget, Priced


def measured(kit, table_file, factor, **changes):
    """Write what a device says that takes `factor` times what the table predicts."""
    table = LatencyTable.load(table_file())
    manifest = json.loads((kit / "manifest.json").read_text())
    times = {}
    for network in manifest["networks"]:
        ratio = factor * table.predict(SPACE.operators(SIZE), network["widths"]).ratio
        times[network["name"]] = {"network": [10 * ratio] * 4, "unpruned": [10.0] * 4, "reference_ms": 0.2}
    value = {
        "format": 1,
        "kit": hashlib.sha256((kit / "manifest.json").read_bytes()).hexdigest(),
        **{key: table.key[key] for key in ("device", "processor", "backend", "threads")},
        **{"provider": "CPUExecutionProvider", "versions": {"onnxruntime": "1.0"}, "rounds": 4, "date": "today"},
        "times": times,
        **changes,
    }
    (kit / "measured.json").write_text(json.dumps(value))


def test_a_run_stops_with_candidates_and_goes_on_with_their_times(run_folder, tiny, table_file, tmp_path, capsys):
    kit = tmp_path / "out"
    command = ("prune", RECIPE, "--work-dir", run_folder, "--stage", "select", "--latency-kit", kit, *tiny())
    for _ in range(2):  # again, before there are times: the kit stays as it is
        assert run_tool(*command) == 0
        call = "python measure_kit.py --engine onnxruntime --provider CPUExecutionProvider --threads 1"
        assert f"run `{call}` in it there" in " ".join(capsys.readouterr().out.split())
        assert "select" not in read_json(run_folder / "stages.json")
        written = (kit / "manifest.json").read_bytes()
    assert (kit / "manifest.json").read_bytes() == written
    manifest = json.loads(written)
    fewer = {**manifest, "networks": manifest["networks"][1:]}  # of another run: the trip there would be in vain
    (kit / "manifest.json").write_text(json.dumps(fewer))
    assert run_tool(*command) == 2
    assert "manifest.json: is of other networks than those to choose from" in capsys.readouterr().err
    (kit / "manifest.json").write_bytes(written)
    assert manifest["kind"] == "plans"
    assert 4 < len(manifest["networks"]) <= len(LADDER)

    measured(kit, table_file, 1.1, device="another")
    assert run_tool(*command) == 2
    assert "device = 'another', but the latency table has" in capsys.readouterr().err
    measured(kit, table_file, 1.1)
    assert run_tool(*command) == 0
    plan = WidthPlan.load(run_folder / "plan.json")
    latency, table = plan.record["latency"], LatencyTable.load(table_file())
    assert 0.5 < 1.1 * table.predict(SPACE.operators(SIZE), plan.widths).ratio <= 0.6
    assert latency["correction"] in LADDER
    assert latency["correction"] > 1
    assert len(latency["path"]) == len(manifest["networks"])
    assert latency["ratio"] == next(s["predicted"] for s in latency["path"] if s["correction"] == latency["correction"])
    assert read_json(run_folder / "stages.json")["select"]["latency"]["path"] == latency["path"]


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ({"backend": "openvino", "threads": 4}, "--engine openvino --threads 4"),
        ({"backend": "openvino", "provider": "GPU", "threads": 1}, "--engine openvino --provider GPU --threads 1"),
        ({"backend": "onnxruntime", "provider": "CUDAExecutionProvider"}, "--engine onnxruntime --provider CUDAEx"),
        ({"backend": "tensorrt", "threads": 1}, "--engine tensorrt --threads 1"),
        ({"backend": "tensorrt", "provider": "trtexec", "threads": 2}, "--engine trtexec --threads 2"),
        ({"backend": "phone", "threads": 1}, ""),
    ],
)
def test_the_device_is_told_to_time_as_the_tables_networks_were(key, options):
    """What is timed otherwise is refused when it comes back."""
    given = as_timed(LatencyTable(key, 1.0, {}, {}, 0.0))
    assert " ".join(given).startswith(options)
    assert bool(given) == bool(options)
    parse(given, None)


def test_candidates_are_of_the_tables_batch_and_of_an_engine_that_kits_have(monkeypatch, tmp_path):
    written = []
    monkeypatch.setattr(latency_kit, "write_kit", lambda *args, config, **options: written.append(config))
    monkeypatch.setattr(latency_kit, "candidates", lambda *args: [(SimpleNamespace(widths={"a": 8}), 1.0)])
    context = SimpleNamespace(
        latency_kit=str(tmp_path / "out"),
        recipe=SimpleNamespace(measure=SimpleNamespace(batch=1)),
        progress=None,
        card=lambda space: SimpleNamespace(input_size=SIZE),
    )

    def select(**key):
        latency_kit.select_by_kit(context, SPACE, None, Priced(LatencyTable(key, 1.0, {}, {}, 0.0)))

    with pytest.raises(PausedError):
        select(backend="openvino", batch=8)
    assert [config.batch for config in written] == [8]
    with pytest.raises(UserError, match="the latency table is of 'pytorch', which kits are not timed by"):
        select(backend="pytorch", batch=8)


def test_it_is_refused_where_it_would_do_nothing(going, finished, baseline, table_file, tmp_path):
    def refused(says, **options):
        with pytest.raises(UserError, match=says) as error:
            going(tmp_path / "run", checkpoint=str(baseline), latency_kit=str(tmp_path / "kit"), **options)
        assert not isinstance(error.value, PausedError)
        assert list(tmp_path.iterdir()) == []

    table = {"budget": HALF, "latency_table": str(table_file())}
    refused("--latency-kit .*kit: corrects a latency budget; give --latency-ratio", budget=Budget("macs_ratio", 0.5))
    refused("--latency-kit .*kit: a run of --steps 2 selects in every round", steps=2, **table)


def stand_in(ratio):
    """A plan of which only the latency is known."""
    record = {"latency": {"ratio": ratio, "unpruned_ms": 10.0}, "budget": HALF.to_json()}
    return WidthPlan("none", {"a": 8}, {"a": (0,)}, record)


@pytest.mark.parametrize(
    ("ratios", "kept"), [((0.7, 0.58, 0.5), 1), ((0.6, 0.59, 0.58), 0), ((0.9, 0.8, 0.7), 2), ((0.61, 0.3, 0.2), 1)]
)
def test_the_candidate_closest_below_the_budget_is_kept(ratios, kept):
    found = [(stand_in(0.59 + 0.001 * i), correction) for i, correction in enumerate((1.0, 1.1, 1.2))]
    notes = []
    plan = closest(found, ratios, notes.append)
    assert plan.record["latency"]["ratio"] == found[kept][0].record["latency"]["ratio"]
    assert [step["measured"] for step in plan.record["latency"]["path"]] == list(ratios)
    assert f"{ratios[kept]:.3f}" in notes[0]


def test_candidates_differ_and_those_out_of_reach_are_left_out():
    asked = []

    def plan_with(priced):
        asked.append(priced.correction)
        if priced.correction > 1.1:
            raise UserError("out of reach")
        return SimpleNamespace(widths={"a": 8 * round(8 / priced.correction / 1.02)})

    found = candidates(plan_with, Priced(LatencyTable({}, 1.0, {}, {}, 0.0)))
    assert asked == list(LADDER)
    assert len({plan.widths["a"] for plan, _ in found}) == len(found) > 2
    assert found[0][1] == 1.0
    with pytest.raises(UserError, match="out of reach"):
        candidates(lambda priced: plan_with(SimpleNamespace(correction=2.0)), Priced(None))


def test_a_forced_table_may_be_of_a_backend_that_is_not_here(table_file):
    """As a kit's is that was timed by an engine which this package does not know."""
    file = table_file("far", backend="phone", provider="NPU")
    options = (SimpleNamespace(threads=1, batch=1, backends=("onnxruntime",)), HALF, SPACE, SIZE)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert price(RunTable(str(file), digest, forced=True), *options).table.key["backend"] == "phone"
    with pytest.raises(UserError, match=r"--latency-table .*far\.json: backend = 'phone': is unknown"):
        price(RunTable(str(file), digest), *options)
