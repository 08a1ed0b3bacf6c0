"""The tutorials on latency, followed: all is timed as they say, then made-up times stand in, which no load moves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from followed import QUICK, follow
from latency_tables import made_up_table
from table_runs import SIZE, SPACE, FakeTimer

from compress.costs import LatencyTable, macs
from compress.pipeline import latency_budget
from compress.plan import WidthPlan
from compress.spaces import sizes

SMALL = [*QUICK, "space.depth=11", "data.limit=100", "measure.before_finetune=False", "finetune.warmup_epochs=0"]
RECIPES = {"train": SMALL, "prune": SMALL, "profile": ["space.depth=11"]}
FEW = ["--rounds", "4", "--warmup", "0.01"]


@pytest.mark.slow
def test_a_budget_in_milliseconds(tmp_path, monkeypatch, capsys):
    def settle(words):
        if words[1] == "profile":
            table = replace(made_up_table(SPACE, SIZE, multiple=8), key=LatencyTable.load("table.json").key)
            replace(table, record={"residual": {"median": 0.0125, "p90": 0.03, "rank_correlation": 0.99, "n": 8}}).save(
                "table.json"
            )
            monkeypatch.setattr(latency_budget, "PlanTimer", FakeTimer(table, (1.0,)))

    quick = {"profile": ["--designs", "8", "--rounds", "4"]}
    follow("milliseconds.md", tmp_path, monkeypatch, RECIPES, more=quick, after=settle)
    assert "10.0 0.0125" in capsys.readouterr().out
    for name in ("fast", "searched"):
        plan = WidthPlan.load(tmp_path / "runs" / name / "plan.json")
        assert 0.5 < plan.record["latency"]["ratio"] <= 0.7
        assert json.loads((tmp_path / "runs" / name / "summary.json").read_text())["latency_ratio"]


def by_macs(widths):
    """The share of the unpruned network's time that a network takes: some of it constant."""
    operators, full = SPACE.operators(SIZE), sizes(SPACE.groups)
    return 0.2 + 0.8 * macs(operators, {**full, **widths}) / macs(operators, full)


@pytest.mark.slow
def test_a_device_without_this_package(tmp_path, monkeypatch):
    def settle(words):
        if words[0] == "python":
            file = Path(words[1]).with_name("measured.json")
            measured, manifest = json.loads(file.read_text()), json.loads(file.with_name("manifest.json").read_text())
            assert measured["times"].keys() == {network["name"] for network in manifest["networks"]}
            for network in manifest["networks"]:
                times = {"network": [10 * by_macs(network["widths"])] * 4, "unpruned": [10.0] * 4}
                measured["times"][network["name"]] |= times
            file.write_text(json.dumps(measured))

    more = {"--kit": ["--designs", "8"], "kit/measure_kit.py": FEW, "choice/measure_kit.py": FEW}
    follow("device.md", tmp_path, monkeypatch, RECIPES, more=more, after=settle)
    plan = WidthPlan.load(tmp_path / "runs/device/plan.json")
    assert 0.4 < by_macs(plan.widths) <= 0.7
    assert plan.record["latency"]["path"][0]["measured"] == pytest.approx(by_macs(plan.widths), abs=0.3)
