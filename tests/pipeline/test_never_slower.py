"""Widths that the engine likes by default, and a run that says before fine-tuning if its network is not faster."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compress.measure import environment
from compress.pipeline import speed
from compress.plan import UserError, WidthPlan, read_json
from compress.pruning import Budget

AVX512, AVX2 = "x: avx2 avx512f", "x: avx2"
HALF = Budget("macs_ratio", 0.5)
SLOW = {"median": 1.6, "p10": 1.5, "p90": 1.7}
NOISY = {"median": 0.6, "p10": 0.3, "p90": 1.9}
FAST = {"median": 0.8, "p10": 0.7, "p90": 0.9}


@pytest.fixture(scope="module")
def begun(going, finished, tmp_path_factory) -> Path:
    """A run with select.round_to="auto" on a machine with AVX2, whose search is taken from `finished`; copy it."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "processor", lambda: AVX2)
        going(folder, stage="search", search_from=str(finished[0]), budget=HALF, select__round_to="auto")
    return folder


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    shutil.copytree(begun, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def timed(monkeypatch):
    """`timed(SLOW)`: what timing gives from here on."""

    def install(ratio) -> list:
        seen = []

        def pretend(before, after, **settings):
            seen.append((before[0], after[0], settings["backend"].name))
            return ratio

        monkeypatch.setattr(speed, "sliced_ratio", pretend)
        return seen

    return install


def test_the_number_is_the_one_of_the_machine_where_the_run_began(going, run, begun, finished, monkeypatch, capfd):
    assert read_json(begun / "stages.json")["load"]["round_to"] == 8
    assert read_json(begun / "recipe.json")["recipe"]["select"]["round_to"] == "auto"
    assert (begun / "baseline.safetensors").read_bytes() == (finished[0] / "baseline.safetensors").read_bytes()
    monkeypatch.setattr(environment, "processor", lambda: AVX512)
    going(run, stage="select", select__round_to="auto")
    plan = WidthPlan.load(run / "plan.json")
    assert plan.record["select"]["round_to"] == 8
    assert all(n % 8 == 0 or n == plan.sizes[name] for name, n in plan.widths.items())
    assert 0.25 < plan.record["macs"]["after"] / plan.record["macs"]["before"] <= 0.5


def test_another_machine_and_a_budget_that_whole_blocks_cannot_meet(going, finished, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(environment, "processor", lambda: AVX512)
    given = {"search_from": str(finished[0]), "select__round_to": "auto"}
    for ratio, round_to, finer in ((0.7, 16, None), (0.45, 16, True), (0.37, 8, True)):
        folder = tmp_path / str(ratio)
        for stage in ("search", "select"):
            going(folder, stage=stage, budget=Budget("macs_ratio", ratio) if stage == "search" else None, **given)
        plan = WidthPlan.load(folder / "plan.json")
        select = plan.record["select"]
        assert (select["round_to"], select.get("finer")) == (round_to, finer)
        assert plan.record["macs"]["after"] <= ratio * plan.record["macs"]["before"]
    out = capfd.readouterr().out
    assert "widths: multiples of 16, as ONNX Runtime takes them here" in out
    assert "widths: multiples of 8, in narrow groups a half or a quarter of that, because the budget asks" in out


def test_a_latency_budget_leaves_widths_to_its_table(going, baseline, table_file, finished, tmp_path):
    first = {"latency_table": str(table_file()), "budget": Budget("latency_ratio", 0.6), "checkpoint": str(baseline)}
    going(tmp_path / "run", stage="search", search_from=str(finished[0]), select__round_to="auto", **first)
    assert read_json(tmp_path / "run/stages.json")["load"]["round_to"] == 1


def test_a_slower_network_is_told_with_its_reason(going, run, timed, capfd):
    options = {"select__round_to": "auto", "measure__before_finetune": True}
    seen = timed(SLOW)
    # As recipe.json has it from its beginning.
    record = (run / "recipe.json").read_text()
    (run / "recipe.json").write_text(record.replace('"before_finetune": false', '"before_finetune": true'))
    going(run, stage="select", **options)
    going(run, stage="slice", **options)
    (before, after, backend), figures = seen[0], read_json(run / "stages.json")["slice"]["speed"]
    assert len(seen) == 1
    assert backend == figures["backend"] == "onnxruntime"
    assert sum(p.numel() for p in after.parameters()) < sum(p.numel() for p in before.parameters())
    assert figures["ratio"] == SLOW
    out = capfd.readouterr().out
    assert "selected: 1.60 times slower in ONNX Runtime before fine-tuning (ratio 1.600, p10 1.500, p90 1.700)" in out
    assert f"because: {figures['reason']}" in out
    with pytest.raises(UserError, match=r"^--require-speedup 1.2: not reached: 1.60 times slower in .*--resume and wi"):
        going(run, stage="finetune", require_speedup=1.2, **options)
    assert "finetune" not in read_json(run / "stages.json")
    going(run, stage="finetune", **options)
    assert "finetune" in read_json(run / "stages.json")


def test_a_faster_network_has_no_reason(going, run, timed, capfd):
    record = (run / "recipe.json").read_text()
    (run / "recipe.json").write_text(record.replace('"before_finetune": false', '"before_finetune": true'))
    options = {"select__round_to": "auto", "measure__before_finetune": True}
    timed(FAST)
    for stage in ("select", "slice"):
        going(run, stage=stage, **options)
    assert read_json(run / "stages.json")["slice"]["speed"] == {"backend": "onnxruntime", "ratio": FAST}
    assert "1.25 times faster in ONNX Runtime before fine-tuning" in capfd.readouterr().out
    going(run, stage="finetune", require_speedup=1.2, **options)


def test_a_machine_too_busy_to_tell_is_the_reason_and_no_speedup(going, run, timed, capfd):
    record = (run / "recipe.json").read_text()
    (run / "recipe.json").write_text(record.replace('"before_finetune": false', '"before_finetune": true'))
    options = {"select__round_to": "auto", "measure__before_finetune": True}
    timed(NOISY)
    for stage in ("select", "slice"):
        going(run, stage=stage, **options)
    assert "because: samples of the same pair differ too much to tell" in capfd.readouterr().out
    assert read_json(run / "stages.json")["slice"]["speed"]["reason"].startswith("MACs fell to ")
    with pytest.raises(
        UserError, match=r"not reached: latency not distinguishable .*; or go on with --resume and with"
    ):
        going(run, stage="finetune", require_speedup=1.2, **options)
    going(run, stage="finetune", require_speedup=0.9, **options)


def costs(**macs) -> dict:
    rows = [
        {"name": name, "macs": {"before": {"formula": a}, "after": {"formula": b}}} for name, (a, b) in macs.items()
    ]
    whole = {side: {"formula": sum(row["macs"][side]["formula"] for row in rows)} for side in ("before", "after")}
    return {"macs": whole, "operators": rows}


def test_reasons_name_widths_off_the_block_else_layers_that_did_not_shrink():
    plan = WidthPlan("x", {"a": 64, "b": 64}, {"a": tuple(range(37)), "b": tuple(range(64))})
    found = costs(a=(100, 50), b=(100, 100))
    text = speed.reason(plan, found, 16, engine="ONNX Runtime")
    assert text.startswith("MACs fell to 0.75 of what they were, but ONNX Runtime computes 16 channels at once")
    assert "1 of 2 widths are no multiples of it (a 37); try select.round_to=16" in text
    plan = WidthPlan("x", {"a": 64, "b": 64}, {"a": tuple(range(32)), "b": tuple(range(64))})
    text = speed.reason(plan, found, 16, engine="ONNX Runtime")
    assert "layers that did not shrink hold 67 % of the rest (b 67 %)" in text


@pytest.mark.parametrize(
    ("options", "arguments", "says"),
    [
        ({}, ("--require-speedup", 1.2), "measure.before_finetune is False"),
        ({"measure__before_finetune": True}, ("--require-speedup", 0), "--require-speedup 0"),
    ],
)
def test_a_speedup_that_cannot_be_required(prune, options, arguments, says):
    prune("--macs-ratio", 0.5, *arguments, options=options, says=("--require-speedup", says))
