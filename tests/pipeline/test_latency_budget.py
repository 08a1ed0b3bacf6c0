"""Runs under a latency budget: the selected network is measured, the prediction corrected. About half a minute."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from latency_tables import made_up_table
from table_runs import HALF, RATIO, RECIPE, SIZE, SPACE, Refused, uncorrected

from compress.pipeline import latency_budget
from compress.pipeline.tables import RunTable
from compress.plan import UserError, WidthPlan, read_json, sha256
from compress.pruning import Budget, Priced, SelectConfig, SelectSection, plan_for
from compress.report import wording
from compress.spaces import MobileNetV2Space

ROOT = Path(__file__).resolve().parents[2]


def documented(title: str) -> dict:
    """The second example under a heading of docs/formats.md: what a latency table adds."""
    _, _, section = (ROOT / "docs/formats.md").read_text(encoding="utf-8").partition(f"## `{title}`")
    return json.loads(section.split("```json\n")[2].split("```")[0])


def test_a_whole_run_measures_corrects_and_tells(
    run_folder: Path, finished, timer, going, table_file, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without --latency-table and budget: both are the folder's own."""
    fake = timer(1.3)
    going(run_folder, resume=True)
    plan, summary = WidthPlan.load(run_folder / "plan.json"), read_json(run_folder / "summary.json")
    assert (fake.timed, fake.settings) == (2, {"threads": 1, "batch": 1, "backend": "onnxruntime"})
    assert plan.record["budget"] == {"kind": "latency_ratio", "value": 0.6}
    assert 0.5 < 1.3 * uncorrected(plan, table_file()) <= 0.6
    assert set(plan.widths.values()) <= {4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64}

    latency = plan.record["latency"]
    first, second = latency["path"]
    assert first["correction"] == 1
    assert 0.55 < first["predicted"] <= 0.6
    assert first["measured"] == pytest.approx(1.3 * first["predicted"])
    assert second["correction"] == latency["correction"] == pytest.approx(1.3)
    assert second["predicted"] == latency["ratio"] == pytest.approx(second["measured"])
    assert latency["ms"] == pytest.approx(10 * latency["ratio"])
    assert read_json(run_folder / "stages.json")["select"]["latency"] == {
        "ratio": latency["ratio"],
        "path": latency["path"],
    }

    assert latency.keys() == documented("plan.json")["latency"].keys()
    assert [step.keys() for step in latency["path"]] == [s.keys() for s in documented("plan.json")["latency"]["path"]]
    extra, before = documented("summary.json"), read_json(finished[0] / "summary.json")
    assert extra.keys() == summary.keys() - before.keys()
    assert summary["search"] == before["search"], "it is taken from there"
    assert summary["top1_stages"]["searched"] == before["top1_stages"]["searched"]
    assert summary["prediction"].keys() == extra["prediction"].keys()
    assert summary["budget"] == plan.record["budget"]
    assert summary["predicted_latency_ms"] == {"before": 10.0, "after": latency["ms"]}
    assert summary["prediction"] == {
        key: latency[key] for key in ("backend", "device", "ratio", "correction", "residual", "path")
    }
    note = f"latency ratio: predicted {first['predicted']:.3f}, measured {first['measured']:.3f}"
    assert note in capfd.readouterr().out
    page = (run_folder / "report.html").read_text()
    assert f"predicted {first['predicted']:.3f}, measured {first['measured']:.3f}; then corrected by 1.300, " in page
    assert "Latency predicted for ONNX Runtime" in page
    assert "median error of the table 1.2 %" in page.replace("&nbsp;", " ")
    assert "latency ratio 0.6" in page
    assert "Chosen widths on the latency table" in page
    shown = plan.record["stairs"]["groups"]
    assert {name: group["width"] for name, group in shown.items()} == {name: plan.widths[name] for name in shown}


@pytest.mark.parametrize(
    ("factors", "corrections"),
    [
        ((1.0,), [1.0]),
        ((1.029,), [1.0]),
        ((0.971,), [1.0]),
        ((1.04,), [1.0, 1.04]),
        ((0.7,), [1.0, 0.7]),
        ((1.3, 0.8), [1.0, 1.3, 0.8, 1.3]),
        ((1.3, 1.5, 1.5), [1.0, 1.3, 1.5]),
    ],
)
def test_the_prediction_is_corrected_three_times_at_most(
    run_folder: Path, timer, going, table_file, factors: tuple[float, ...], corrections: list[float]
) -> None:
    fake = timer(*factors)
    going(run_folder, stage="select")
    plan = WidthPlan.load(run_folder / "plan.json")
    path = plan.record["latency"]["path"]
    assert [step["correction"] for step in path] == pytest.approx(corrections)
    assert fake.timed == len(corrections)
    assert all(0.5 < step["predicted"] <= 0.6 for step in path)
    assert plan.record["latency"]["ratio"] == pytest.approx(path[-1]["predicted"])
    assert corrections[-1] * uncorrected(plan, table_file()) == pytest.approx(path[-1]["predicted"])


@pytest.mark.parametrize(
    ("measured", "kept"),
    [
        ([0.7, 0.5, 0.68, 0.45], 1),  # two meet the budget: the one that uses more of it
        ([0.7, 0.45, 0.68, 0.5], 3),
        ([0.66, 0.75, 0.4, 0.7], 2),  # one meets it, though others are closer
        ([0.7, 0.64, 0.66, 0.68], 1),  # none meets it
        ([0.5, 0.61], 1),  # its prediction holds: no better one is looked for
        ([0.5, 30.0], 0),  # then the budget is out of reach
    ],
)
@pytest.mark.parametrize("budget", [HALF, Budget("latency_ms", 6.0)])
def test_the_selection_that_meets_the_budget_best_is_kept(budget: Budget, measured: list[float], kept: int) -> None:
    table, notes, timed, selected = made_up_table(SPACE, SIZE), [], iter(measured), []

    def plan_with(priced: Priced) -> WidthPlan:
        plan = plan_for(SPACE, random_scores(), budget, SelectConfig(), input_size=SIZE, priced=priced)
        selected.append(plan)
        return plan

    first = plan_with(Priced(table))
    plan = latency_budget.corrected(first, plan_with, Priced(table), lambda widths: next(timed), notes.append)
    latency = plan.record["latency"]
    assert [step["measured"] for step in latency["path"]] == measured
    assert plan.kept == selected[kept].kept
    step = latency["path"][kept]
    assert (latency["ratio"], latency["correction"]) == (step["predicted"], step["correction"])
    chosen = [f"kept: the selection that measured {measured[kept]:.3f}, closest to the budget of 0.600"]
    assert notes[len(measured) :] == (chosen if kept < len(measured) - 1 else [])


def random_scores() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {group.name: torch.rand(group.size, generator=generator) for group in SPACE.groups}


@pytest.mark.parametrize("network", ["own", "another", "none"])
def test_a_search_for_speed_shows_its_table_whatever_the_budget(table_file, tmp_path: Path, network: str) -> None:
    file = table_file("search", device="another processor")
    if network == "another":
        made_up_table(MobileNetV2Space(10, 0.35), SIZE).save(file := tmp_path / "mobilenet.json")
    table = RunTable(str(file), sha256(file), readers=("search",))
    if network == "none":
        table = replace(table, path=str(file := tmp_path / "gone.json"))
    notes: list[str] = []
    context = SimpleNamespace(
        recipe=SimpleNamespace(select=SelectSection(round_to=1)),
        table=table,
        budget=Budget("pruning_ratio", 0.4),
        card=lambda space: SimpleNamespace(input_size=SIZE),
        priced=lambda space: None,
        progress=SimpleNamespace(note=notes.append),
    )
    plan = latency_budget.select_plan(context, SPACE, random_scores())
    assert "latency" not in plan.record
    if network == "own":
        assert plan.record["stairs"]["device"] == "another processor"
        assert notes == []
    else:
        assert "stairs" not in plan.record
        assert len(notes) == 1
        assert str(file) in notes[0] or "mobilenetv2" in notes[0]
    context.table = None
    assert "stairs" not in latency_budget.select_plan(context, SPACE, random_scores()).record


def test_a_budget_that_measuring_puts_out_of_reach_says_so(run_folder: Path, timer, going) -> None:
    timer(20.0)
    with pytest.raises(UserError, match=r"^--latency-ratio 0\.6: out of reach; .*were multiplied by 20\.000, after"):
        going(run_folder, stage="select")
    assert not (run_folder / "plan.json").exists()
    assert "select" not in read_json(run_folder / "stages.json")


def test_other_budgets_are_predicted_and_not_measured(
    going, timer, table_file, finished, baseline: Path, tmp_path: Path
) -> None:
    fake = timer(1.3)
    first = {"checkpoint": str(baseline), "search_from": str(finished[0]), "latency_table": str(table_file())}
    going(tmp_path / "run", stage="search", budget=Budget("pruning_ratio", 0.4), **first)
    going(tmp_path / "run", stage="select")
    latency = WidthPlan.load(tmp_path / "run/plan.json").record["latency"]
    assert fake.timed == 0
    assert "path" not in latency
    assert latency["correction"] == 1
    assert latency["ratio"] is None or 0 < latency["ratio"] < 1


def test_budgets_in_words() -> None:
    assert wording.budget(Budget("latency_ms", 2.5).to_json()) == "latency 2.5 ms"
    both = Budget("latency_ratio", 0.5, also=(Budget("macs_ratio", 0.6), Budget("params_ratio", 0.7)))
    assert wording.budget(both.to_json()) == "latency ratio 0.5, MACs ratio 0.6, parameter ratio 0.7"


def test_latency_budgets_that_cannot_work_are_refused(prune: Refused, table_file) -> None:
    own = ("--latency-table", table_file())
    for budget in (RATIO, ("--latency-ms", 5)):
        prune(*budget, says=(str(budget[0]), "needs a latency table", "`nncompress profile`", "--latency-table"))
    prune(*RATIO, "--force-latency-table", says=("--force-latency-table: needs --latency-table",))
    prune(*RATIO, "--latency-ms", 5, *own, says=("--latency-ms", "same cost", "drop one"))
    prune(*RATIO, "--pruning-ratio", 0.5, *own, says=("--pruning-ratio and --latency-ratio", "only costs go together"))
    prune("--latency-ms", 50, *own, says=("--latency-ms 50", "takes 10 ms", "give less"))
    prune("--latency-ratio", 0.01, *own, says=("--latency-ratio 0.01", "out of reach", "select.floor"))
    floor = {"select__floor": 12, "select__round_to": 4}
    prune(*RATIO, "--macs-ratio", 0.1, *own, options=floor, says=("--macs-ratio 0.1", "out of reach", "select.floor"))


@pytest.mark.slow
def test_profiled_pruned_and_measured(tool, tiny, finished, baseline: Path, tmp_path: Path) -> None:
    """Half a minute; the machine should be quiet."""
    table, folder = tmp_path / "table.json", tmp_path / "run"
    options = tiny(measure__repeats=60, measure__warmup_seconds=0.25, measure__backends="['onnxruntime']")
    result = tool("profile_latency", RECIPE, *options, "-o", table, "--multiple", 4, "--designs", 12)
    assert (result.code, result.stderr) == (0, "")
    assert "Predicted against measured" in table.with_suffix(".html").read_text()
    budget = ("--latency-ratio", 0.75, "--latency-table", table, "--search-from", finished[0])
    result = tool("prune", RECIPE, *options, "--checkpoint", baseline, *budget, "--work-dir", folder)
    assert (result.code, result.stderr) == (0, "")
    summary = read_json(folder / "summary.json")
    assert summary["prediction"]["ratio"] <= 0.75
    assert summary["latency_ratio"]["onnxruntime"] == pytest.approx(summary["prediction"]["ratio"], rel=0.15)
    assert "latency ratio: predicted" in result.stdout
