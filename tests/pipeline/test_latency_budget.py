"""Runs under a latency budget: the table is checked first, the selected network is measured, the prediction corrected.

The table is made up and bears this machine's key; what would be measured is made up too, but for one slow test. About
half a minute beside the run that the fixtures make.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from latency_tables import made_up_table

from compress.costs import LatencyTable
from compress.measure import MeasureConfig, TableConfig, table_key
from compress.pipeline import latency_budget
from compress.pipeline.images import CONTEXTS, ImageContext, make_context
from compress.pipeline.recipe import load_recipe
from compress.pipeline.run import prune as prune_run
from compress.pipeline.tables import RunTable
from compress.plan import UserError, WidthPlan, read_json, sha256
from compress.pruning import Budget, Priced, SelectConfig, plan_for
from compress.report import wording
from compress.report.progress import TerminalProgress
from compress.spaces import MobileNetV2Space, PreResNetSpace

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"
SPACE, SIZE = PreResNetSpace(11, 10), (3, 32, 32)
RATIO = ("--latency-ratio", 0.6)
HALF = Budget("latency_ratio", 0.6)

Refused = Callable[..., str]


def documented(title: str) -> dict:
    """The second example under a heading of docs/formats.md: what a latency table adds."""
    _, _, section = (ROOT / "docs/formats.md").read_text(encoding="utf-8").partition(f"## `{title}`")
    return json.loads(section.split("```json\n")[2].split("```")[0])


class FakeTimer:
    """Stands for PlanTimer: what the table predicts, times the next of `factors`."""

    def __init__(self, table: LatencyTable, factors: tuple[float, ...]) -> None:
        self.table, self.factors, self.timed, self.settings = table, cycle(factors), 0, {}

    @contextmanager
    def open(self, space: object, input_size: tuple[int, int, int], **settings: int) -> Iterator[FakeTimer]:
        assert input_size == SIZE
        self.settings = settings
        yield self

    def ratio(self, widths: Mapping[str, int]) -> float:
        self.timed += 1
        return next(self.factors) * self.table.predict(SPACE.operators(SIZE), widths).ratio


@pytest.fixture(scope="session")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`table_file("other", device="x")` writes a table of this machine, but for what is given, and returns its path."""
    folder = tmp_path_factory.mktemp("tables")

    def write(name: str = "table", **key: object) -> Path:
        table = made_up_table(SPACE, SIZE)
        residual = {"median": 0.012, "p90": 0.03, "rank_correlation": 0.99, "n": 20}
        own = {**table_key(SPACE, SIZE, TableConfig()), **key}
        replace(table, key=own, record={"residual": residual}).save(folder / f"{name}.json")
        return folder / f"{name}.json"

    return write


@pytest.fixture(scope="session")
def going(tiny: Callable[..., list[str]]) -> Callable[..., None]:
    """`going(folder, stage="select")` runs stages in this process, so that measuring can be replaced."""

    def run(folder: Path, **arguments: object) -> None:
        with TerminalProgress() as progress:
            prune_run(load_recipe(RECIPE, tiny()[1:]), folder, progress=progress, **arguments)

    return run


@pytest.fixture(scope="session")
def searched(
    going: Callable[..., None],
    table_file: Callable[..., Path],
    finished: tuple[Path, object],
    baseline: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run with a latency budget whose search is done: copy it."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    first = {"budget": HALF, "latency_table": str(table_file()), "checkpoint": str(baseline)}
    going(folder, stage="search", search_from=str(finished[0]), **first)
    return folder


@pytest.fixture
def run_folder(searched: Path, tmp_path: Path) -> Path:
    """A copy of `searched`."""
    shutil.copytree(searched, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch, table_file: Callable[..., Path]) -> Callable[..., FakeTimer]:
    """`timer(1.3)`: what is measured from here on is 1.3 times what the table says."""

    def install(*factors: float) -> FakeTimer:
        fake = FakeTimer(LatencyTable.load(table_file()), factors)
        monkeypatch.setattr(latency_budget, "PlanTimer", fake)
        return fake

    return install


def uncorrected(plan: WidthPlan, file: Path) -> float:
    return LatencyTable.load(file).predict(SPACE.operators(SIZE), plan.widths).ratio


# The correction


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
    extra = documented("summary.json")
    assert extra.keys() == summary.keys() - read_json(finished[0] / "summary.json").keys()
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
        recipe=SimpleNamespace(select=SelectConfig()),
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


# Which table


def test_a_forced_table_of_another_device_is_taken_and_not_measured(
    going, timer, table_file, finished, baseline: Path, tmp_path: Path
) -> None:
    fake = timer(1.3)
    other = table_file("other", device="another processor, 8 cores", threads=8)
    first = {"checkpoint": str(baseline), "search_from": str(finished[0]), "latency_table": str(other)}
    going(tmp_path / "run", stage="search", budget=HALF, force_table=True, **first)
    going(tmp_path / "run", stage="select")
    plan = WidthPlan.load(tmp_path / "run/plan.json")
    assert fake.timed == 0
    assert 0.55 < uncorrected(plan, other) == pytest.approx(plan.record["latency"]["ratio"])
    assert "path" not in plan.record["latency"]
    assert plan.record["latency"]["device"] == "another processor, 8 cores"
    assert read_json(tmp_path / "run/recipe.json")["latency_table"]["forced"] is True


def test_a_table_of_another_backend_needs_that_backend_among_the_measured_ones(
    prune: Refused, going, timer, table_file, finished, baseline: Path, tmp_path: Path
) -> None:
    fake = timer(1.0)
    key = table_key(SPACE, SIZE, TableConfig(backend="pytorch"))
    eager = table_file("eager", backend=key["backend"], versions=key["versions"])
    own = (eager, "pytorch", "onnxruntime"), (table_file(), "onnxruntime", "pytorch")
    for file, backend, other in own:
        says = (f"--latency-table {file}: is of '{backend}'", "--latency-ratio", f"measure.backends = ['{other}'] does")
        prune(*RATIO, "--latency-table", file, options={"measure__backends": f"['{other}']"}, says=says)
    first = {"checkpoint": str(baseline), "search_from": str(finished[0]), "latency_table": str(eager)}
    going(tmp_path / "run", stage="search", budget=HALF, **first)
    going(tmp_path / "run", stage="select")
    assert fake.settings["backend"] == "pytorch"
    assert fake.timed > 0


@pytest.mark.parametrize("backend", ["onnxruntime", "pytorch"])
@pytest.mark.parametrize(("budget", "forced"), [(Budget("macs_ratio", 0.5), False), (HALF, True)])
def test_where_a_table_corrects_nothing_its_backend_need_not_be_measured(
    table_file, backend: str, budget: Budget, forced: bool
) -> None:
    key = table_key(SPACE, SIZE, TableConfig(backend=backend))
    file = table_file(f"of {backend}", backend=backend, versions=key["versions"])
    table = RunTable(str(file), sha256(file), forced)
    other = MeasureConfig(backends=({"onnxruntime": "pytorch", "pytorch": "onnxruntime"}[backend],))
    recipe = replace(load_recipe(RECIPE), measure=other)
    context = make_context(recipe, TerminalProgress(quiet=True), table=table, budget=budget)
    assert context.priced(SPACE).table.key["backend"] == backend


def test_detectors_have_no_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As all whose runs measure in their own way; the remedy is another budget, not tools/profile_latency.py."""
    own = type("Own", (ImageContext,), {"has_tables": False})
    monkeypatch.setitem(CONTEXTS, "preresnet", own)
    recipe = load_recipe(RECIPE)
    searched = replace(recipe, search=replace(recipe.search, penalty="latency", latency_table="t.json"))
    for says, recipe_given, options in (
        ("--latency-ratio", recipe, {"budget": HALF}),
        ("--latency-ms", recipe, {"budget": Budget("macs_ratio", 0.5, also=(Budget("latency_ms", 5),))}),
        ("--latency-table", recipe, {"table": RunTable("t.json", "", forced=True)}),
        (r"search\.latency_table", searched, {}),
    ):
        context = make_context(recipe_given, TerminalProgress(quiet=True), **options)
        with pytest.raises(UserError, match=f"^{says}: a preresnet has no latency table.*--macs-ratio") as refusal:
            context.check(["load", "search", "select"])
        assert "profile_latency" not in str(refusal.value)


def test_tables_that_do_not_hold_here_are_refused_before_anything_is_written(
    prune: Refused, table_file, tmp_path: Path
) -> None:
    other = table_file("elsewhere", device="another processor, 8 cores")
    table = ("--latency-table", other)
    prune(*RATIO, *table, says=(f"--latency-table {other}", "device = 'another processor, 8 cores' there", "profile"))
    own = ("--latency-table", table_file())
    says = ("--latency-table", "threads = 1 there, 2 here")
    prune(*RATIO, *own, options={"measure__threads": 2}, says=says)
    space = MobileNetV2Space(10, 0.35)
    made_up_table(space, SIZE).save(tmp_path / "mobilenet.json")
    foreign = ("--latency-table", tmp_path / "mobilenet.json", "--force-latency-table")
    prune(*RATIO, *foreign, says=("--latency-table", "space = 'mobilenetv2' there, 'preresnet' here"))
    (tmp_path / "noise.json").write_text("{}")
    prune(*RATIO, "--latency-table", tmp_path / "noise.json", says=("--latency-table", "noise.json: format is missing"))
    prune(*RATIO, "--latency-table", tmp_path / "no.json", says=("--latency-table", "no such file", "profile_latency"))


def test_latency_budgets_that_cannot_work_are_refused(prune: Refused, table_file) -> None:
    own = ("--latency-table", table_file())
    for budget in (RATIO, ("--latency-ms", 5)):
        prune(*budget, says=(str(budget[0]), "needs a latency table", "profile_latency", "--latency-table"))
    prune(*RATIO, "--force-latency-table", says=("--force-latency-table: needs --latency-table",))
    prune(*RATIO, "--latency-ms", 5, *own, says=("--latency-ms", "same cost", "drop one"))
    prune(*RATIO, "--pruning-ratio", 0.5, *own, says=("--pruning-ratio and --latency-ratio", "only costs go together"))
    prune("--latency-ms", 50, *own, says=("--latency-ms 50", "takes 10 ms", "give less"))
    prune("--latency-ratio", 0.01, *own, says=("--latency-ratio 0.01", "out of reach", "select.floor"))
    floor = {"select__floor": 12, "select__round_to": 4}
    prune(*RATIO, "--macs-ratio", 0.1, *own, options=floor, says=("--macs-ratio 0.1", "out of reach", "select.floor"))


@pytest.mark.parametrize("kind", ["missing", "device"])
def test_a_search_for_speed_needs_its_table_before_anything_is_written(
    prune: Refused, table_file, tmp_path: Path, kind: str
) -> None:
    """A search may use another machine's table, but not another network's."""
    file = tmp_path / "mobilenet.json"
    if kind == "device":
        made_up_table(MobileNetV2Space(10, 0.35), SIZE).save(file)
    options = {"search__penalty": "latency", "search__latency_table": file}
    says = ("search.latency_table", "mobilenet.json", "no such file" if kind == "missing" else "space = 'mobilenetv2'")
    prune("--pruning-ratio", 0.4, options=options, says=says)


def test_a_run_goes_on_with_its_own_table_alone(prune: Refused, run_folder: Path, table_file, tmp_path: Path) -> None:
    says = ("--work-dir", str(run_folder), "other settings", "latency_table.")
    other = table_file("another", device="another processor, 8 cores")
    prune("--resume", "--latency-table", other, work_dir=run_folder, says=(*says, "another.json"))
    forced = ("--latency-table", table_file(), "--force-latency-table")
    prune("--resume", *forced, work_dir=run_folder, says=(*says, "forced"))
    prune("--resume", "--latency-ratio", 0.7, work_dir=run_folder, says=("budget.value: 0.6 there, 0.7 now",))


def test_the_table_may_move_but_not_change(
    prune: Refused, run_folder: Path, going, timer, table_file, tmp_path: Path
) -> None:
    recorded = read_json(run_folder / "recipe.json")
    gone = tmp_path / "gone.json"
    recorded["latency_table"]["path"] = str(gone)
    (run_folder / "recipe.json").write_text(json.dumps(recorded))
    prune("--resume", work_dir=run_folder, says=(f"--latency-table {gone}", "no such file", "again"))
    shutil.copy(table_file(), gone)
    gone.write_text(gone.read_text().replace('"unpruned_ms": 10.0', '"unpruned_ms": 11.0'))
    prune("--resume", work_dir=run_folder, says=(f"--latency-table {gone}", "has changed", "restore"))
    gone.unlink()
    timer(1.0)
    going(run_folder, stage="select", latency_table=str(table_file()))
    assert (run_folder / "plan.json").is_file()
    assert read_json(run_folder / "recipe.json") == recorded


# With the real tools


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
