"""Which latency table a run takes: the search's and the budget's are one, checked before anything is written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from latency_tables import made_up_table
from table_runs import HALF, RATIO, RECIPE, SIZE, SPACE, Refused, uncorrected
from tool_runs import SIZED

from compress.measure import MeasureConfig, TableConfig, table_key
from compress.pipeline.images import CONTEXTS, ImageContext, make_context
from compress.pipeline.recipe import load_recipe
from compress.pipeline.tables import RunTable, record_table, run_table
from compress.plan import UserError, WidthPlan, read_json, sha256
from compress.pruning import Budget
from compress.report.progress import TerminalProgress
from compress.spaces import MobileNetV2Space


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
    recipe = replace(load_recipe(RECIPE, SIZED), measure=other)
    context = make_context(recipe, TerminalProgress(quiet=True), table=table, budget=budget)
    assert context.priced(SPACE).table.key["backend"] == backend


def test_networks_that_are_not_exported_have_no_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Such as one-stage detectors; the remedy is another budget, not `nncompress profile`."""
    own = type("Own", (ImageContext,), {"untimed": "it is not exported"})
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
        with pytest.raises(
            UserError, match=f"^{says}: no latency table is measured of this preresnet.*--macs-ratio"
        ) as refusal:
            context.check(["load", "search", "select"])
        assert "nncompress profile" not in str(refusal.value)


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
    noise = tmp_path / "noise.json"
    prune(*RATIO, "--latency-table", noise, says=(f"error: --latency-table {noise}: format is missing",))
    prune(
        *RATIO,
        "--latency-table",
        tmp_path / "no.json",
        says=("--latency-table", "no such file", "`nncompress profile`"),
    )


@pytest.mark.parametrize("kind", ["missing", "device"])
def test_a_search_for_speed_needs_its_table_before_anything_is_written(
    prune: Refused, table_file, tmp_path: Path, kind: str
) -> None:
    """A search may use another machine's table, but not another network's."""
    file = tmp_path / "mobilenet.json"
    if kind == "device":
        made_up_table(MobileNetV2Space(10, 0.35), SIZE).save(file)
    options = {"search__penalty": "latency", "search__latency_table": file}
    says = (
        f"error: search.latency_table = '{file}': ",
        f"'{file}': no such file" if kind == "missing" else "space = 'mobilenetv2'",
    )
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


# The search's table


PENALISED = {"search__penalty": "latency", "search__gamma": 0.2}
FREE = Budget("macs_ratio", 0.5)


def chosen(given, searched, found=None, *, budget: Budget = FREE, force: bool = False) -> RunTable | None:
    files = [None if file is None else str(file) for file in (searched, given)]
    where = {"found": found or {}, "place": "--work-dir runs/a"}
    return run_table(files[0], given=files[1], force=force, priced=budget.latency is not None, **where)


def record_of(table: RunTable | None, searched, found=None) -> dict:
    record = {"recipe": {"search": {"latency_table": None if searched is None else str(searched)}}}
    record_table(record, table, found or {})
    return record


def test_a_run_has_one_table_whoever_reads_it(table_file, tmp_path: Path) -> None:
    table, other = table_file(), table_file("other one", device="another processor")
    copy = Path(shutil.copy(table, tmp_path / "copy.json"))
    assert chosen(None, None) is None
    search, budget = chosen(None, table), chosen(table, None)
    assert (search.readers, search.priced, budget.readers, budget.searched) == (("search",), False, ("budget",), False)
    assert search.sha256 == budget.sha256 == sha256(table)
    # A latency budget is kept by the search's table where no other is given.
    assert chosen(None, table, budget=HALF).readers == chosen(copy, table).readers == ("search", "budget")
    with pytest.raises(UserError, match=r"^--latency-table .*other one.json: another table than search\.latency_table"):
        chosen(other, table)
    # Runs whose budget alone reads a table are recorded as ever.
    assert record_of(budget, None)["latency_table"].keys() == {"path", "sha256", "forced"}
    for one in (search, budget, chosen(copy, table, force=True)):
        assert RunTable.from_json(one.to_json()) == one


def test_a_run_that_goes_on_needs_the_searchs_table_unchanged(table_file, tmp_path: Path) -> None:
    table = Path(shutil.copy(table_file(), tmp_path / "table.json"))
    found = record_of(chosen(None, table), table)
    assert found["latency_table"]["readers"] == ["search"]
    assert record_of(chosen(None, table, found), table, found) == found
    moved = Path(shutil.copy(table, tmp_path / "moved.json"))
    again = chosen(None, moved, found)
    assert again.path == str(moved)
    assert record_of(again, moved, found) == found
    table.write_text(table.read_text().replace('"unpruned_ms": 10.0', '"unpruned_ms": 11.0'))
    with pytest.raises(
        UserError, match=r"^search\.latency_table = '.*table.json': has changed since the run began; re"
    ):
        chosen(None, table, found)
    table.unlink()
    gone = chosen(None, table, found)  # the search may be done
    with pytest.raises(UserError, match=r"^search\.latency_table = '.*table.json': no such file; .* again$"):
        gone.load(SPACE, SIZE)
    with pytest.raises(UserError, match=r"^search\.latency_table = '.*table.json': no such file; make one"):
        chosen(None, table)


@pytest.mark.parametrize("latency_table", [None, {"path": "b.json", "sha256": "0", "forced": False}])
def test_runs_that_did_not_record_their_searchs_table_do_not_go_on(table_file, latency_table: dict | None) -> None:
    table = table_file()
    found = {"recipe": {"search": {"latency_table": str(table)}}, "latency_table": latency_table}
    with pytest.raises(UserError, match=r"^--work-dir runs/a: begun by a version that did not record .*--search-from"):
        chosen(None, table, found)


def test_a_search_for_speed_is_recorded_with_its_table(
    going, prune: Refused, table_file, baseline: Path, tmp_path: Path
) -> None:
    """Another machine's table, whose search is then taken by a run with another one."""
    folder, table = tmp_path / "run", tmp_path / "table.json"
    shutil.copy(table_file("of another", device="another processor"), table)
    options = {**PENALISED, "search__latency_table": table}
    going(folder, stage="search", budget=FREE, checkpoint=str(baseline), **options)
    recorded = read_json(folder / "recipe.json")["latency_table"]
    assert recorded == {"path": str(table), "sha256": sha256(table), "forced": False, "readers": ["search"]}
    going(folder, stage="select", **options)
    plan = WidthPlan.load(folder / "plan.json")
    assert plan.record["stairs"]["device"] == "another processor"
    assert "latency" not in plan.record
    table.write_text(table.read_text().replace('"unpruned_ms": 10.0', '"unpruned_ms": 11.0'))
    prune("--resume", work_dir=folder, options=options, says=("search.latency_table", "has changed", "restore"))
    says = (f"--search-from {folder}", "searched with another latency table")
    prune("--macs-ratio", 0.5, "--search-from", folder, options=options, says=says)
