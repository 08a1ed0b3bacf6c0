"""`nncompress front`: one search, points that are ordinary runs, and a goal that picks one of them."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from tool_runs import RECIPE, TUNED

from compress.pipeline.front import _front
from compress.pipeline.points import ordered, point_folder
from compress.plan import UserError, read_stored, write_json
from compress.plan.front_file import FORMAT, FrontFile
from compress.pruning import Budget

OPTIONS = {
    "measure__backends": ["onnxruntime"],
    "finetune__distill": None,
    "data__holdout": 0.25,
    "finetune__epochs": 1,
}
NAMES = ["latency_ratio_0.8", "latency_ratio_0.6"]
KILLED = ("search/last.pth", f"{NAMES[0]}/finetune/last.pth", f"{NAMES[1]}/plan.json")


def read(path: Path):
    return json.loads(path.read_text())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tool, tiny, tmp_path_factory):
    """A baseline whose data have images set aside."""
    folder = tmp_path_factory.mktemp("trained") / "base"
    assert tool("train", RECIPE, "--work-dir", folder, *tiny(**OPTIONS)).code == 0
    return folder


@pytest.fixture(scope="module")
def front(tool, tiny, trained, table_file, tmp_path_factory):
    """A front of two latencies by a forced table, killed in its search and in both points: folder and last output."""
    folder = tmp_path_factory.mktemp("front") / "front"
    table = ["--latency-table", table_file(), "--force-latency-table"]
    arguments = ["--checkpoint", trained, "--ratios", 0.6, 0.8, *table, "--max-drop", 100]
    for there in KILLED:
        running = tool.start("front", RECIPE, *arguments, "--work-dir", folder, *tiny(**OPTIONS))
        running.wait_until(lambda there=there: (folder / there).exists())
        running.send(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL
        arguments = ["--resume"]  # checkpoint, budgets, table and goal are the folder's own
    result = tool("front", RECIPE, "--resume", "--work-dir", folder, *tiny(**OPTIONS))
    assert (result.code, result.stderr) == (0, "")
    return folder, result.stdout


def test_killed_and_resumed_a_point_is_the_run_that_its_command_makes(front, tuned, same_network, tmp_path):
    folder, _ = front
    point = read(folder / "front.json")["points"][1]
    program, command, *arguments = shlex.split(point["command"])
    assert (program, command) == ("nncompress", "prune")
    assert arguments[-1] == str(folder / point["name"])
    tuned(*arguments[:-1], tmp_path / "run", stages=("load", *TUNED))
    same_network(folder / point["name"], tmp_path / "run")
    assert list(folder.rglob(".*")) == []


def test_the_front_is_what_the_runs_found(front, trained):
    folder, out = front
    stages = read(folder / "stages.json")
    found = read_stored(folder / "front.json", FrontFile, version=FORMAT)
    assert list(stages) == ["load", "search", "points"]
    assert [point["name"] for point in found["points"]] == stages["points"]["points"] == NAMES
    for point in found["points"]:
        summary = read(folder / point["name"] / "summary.json")
        assert point["accuracy"]["top1"] == summary["top1"]["after"]
        assert found["unpruned"]["accuracy"]["top1"] == summary["top1"]["before"] == stages["load"]["top1"]
        assert (point["macs"], point["params"]) == (summary["macs"]["after"], summary["params"]["after"])
        assert point["latency_ratio"] == summary["latency_ratio"]
        assert point["latency_ms"]["onnxruntime"] == pytest.approx(
            found["unpruned"]["latency_ms"]["onnxruntime"] * summary["latency_ratio"]["onnxruntime"]
        )
        assert read(folder / point["name"] / "stages.json")["search"]["copied_from"] == str(folder)
        assert point["budget"] == summary["budget"]
    ratios = {point["name"]: point["latency_ratio"]["onnxruntime"] for point in found["points"]}
    assert found["evaluated_on"] == "holdout"
    assert found["goal"] == {"kind": "max_drop", "value": 100.0, "least": found["goal"]["least"]} | {
        "picked": min(ratios, key=lambda name: ratios[name])
    }
    assert "The fastest point with at least" in " ".join(out.split())
    assert "warning" not in out, "images that were set aside picked it"
    page = (folder / "front.html").read_text()
    assert [f'href="{name}/report.html"' in page for name in NAMES] == [True, True]
    assert "--cfg-options data.holdout=0 in this folder" in page


def test_another_goal_picks_anew_and_changes_nothing_else(front, tool, tiny, tmp_path):
    folder, _ = front
    before = files(folder)
    result = tool("front", RECIPE, "--resume", "--work-dir", folder, "--target-accuracy", 99.9, *tiny(**OPTIONS))
    assert (result.code, result.stderr) == (0, "")
    assert "No point keeps at least 99.90 % top-1" in " ".join(result.stdout.split())
    assert "Nor does the unpruned network" in " ".join(result.stdout.split())
    assert read(folder / "front.json")["goal"]["picked"] is None
    after = files(folder)
    assert {name for name in after if after[name] != before.get(name)} == {"front.json", "front.html"}
    assert tool("front", RECIPE, "--resume", "--work-dir", folder, *tiny(**OPTIONS)).code == 0
    assert files(folder) == before, "without one it is the folder's own again"


def test_what_cannot_be_is_refused_before_anything_is_written(front, refused, tiny, trained, tmp_path):
    folder, _ = front
    cfg = tiny(**OPTIONS)

    def no(*arguments, says, **more):
        refused("front", RECIPE, *cfg, "--checkpoint", trained, *arguments, says=says, **more)

    no(says=("--ratios: missing",))
    no("--macs-ratios", 0.5, 0.5, says=("--macs-ratios 0.5: given twice",))
    no("--macs-ratios", 0.5, 1.5, says=("--macs-ratios 1.5: must lie between 0 and 1",))
    no("--macs-ratios", 0.8, 0.001, says=("--macs-ratios 0.001: out of reach",))
    no("--macs-ratios", 0.5, "--params-ratios", 0.5, says=("not allowed with argument",))
    no("--ratios", 0.5, says=("--latency-ratios: needs a latency table",))
    no("--macs-ratios", 0.5, "--max-drop", -1, says=("--max-drop -1.0: must be",))
    no("--macs-ratios", 0.5, "--max-drop", 1, "--target-accuracy", 90, says=("not allowed with argument",))
    no("--macs-ratios", 0.5, says=("already holds a run",), work_dir=folder)
    refused("front", RECIPE, *cfg, "--resume", "--ratios", 0.8, 0.5, says=("other settings",), work_dir=folder)
    refused("prune", RECIPE, *cfg, "--resume", says=("holds a run of `nncompress front`",), work_dir=folder)


def test_the_page_is_of_the_points_that_there_are(front, tool, tiny, tmp_path):
    """A file stands where the second point's folder would be."""
    folder = tmp_path / "front"
    shutil.copytree(front[0], folder)
    stages = read(folder / "stages.json")
    del stages["points"]
    (folder / "stages.json").write_text(json.dumps(stages))
    shutil.rmtree(folder / NAMES[1])
    (folder / NAMES[1]).write_text("in the way")
    (folder / "front.json").unlink()
    result = tool("front", RECIPE, "--resume", "--work-dir", folder, *tiny(**OPTIONS))
    assert result.code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {NAMES[1]}: --work-dir {folder / NAMES[1]}: is a file")
    assert line.endswith("; made: 1 of 2 points")
    assert [point["name"] for point in read(folder / "front.json")["points"]] == NAMES[:1]
    assert "points" not in read(folder / "stages.json")


@pytest.mark.parametrize("lacks", ["recipe", "seed", "top1", "latency_ms", "latency_ratio"])
def test_a_point_whose_summary_lacks_something_is_named(tmp_path, lacks):
    """As after somebody else's hands: the shape of a summary leaves more open than a front needs."""
    pair, times = {"before": 2, "after": 1}, {"median": 1.0, "p10": 1.0, "p90": 1.0, "n": 4}
    whole = {
        "format": 1, "model": "m", "dataset": "d", "recipe": "r", "seed": 0, "evaluated_on": "test", "device": "CPU",
        "versions": {}, "params": pair, "macs": pair, "top1": pair, "latency_ratio": {"onnxruntime": 0.5},
        "latency_ms": {"onnxruntime": {"before": times, "after": times}},
    }  # fmt: skip
    points = ordered([Budget("macs_ratio", value) for value in (0.8, 0.5)])
    for budget, summary in zip(points, (whole, {key: whole[key] for key in whole if key != lacks}), strict=True):
        (tmp_path / point_folder(budget)).mkdir()
        write_json(tmp_path / point_folder(budget) / "summary.json", summary)
    context = SimpleNamespace(folder=tmp_path, points=points)
    with pytest.raises(UserError, match=rf"macs_ratio_0\.5/summary\.json: {lacks}\S* is missing; remove its folder"):
        _front(context, None, "recipe")


def test_budgets_go_from_what_keeps_most_to_what_keeps_least() -> None:
    assert [b.value for b in ordered([Budget("macs_ratio", v) for v in (0.5, 0.8, 0.2)])] == [0.8, 0.5, 0.2]
    assert [b.value for b in ordered([Budget("pruning_ratio", v) for v in (0.5, 0.8, 0.2)])] == [0.2, 0.5, 0.8]
    with pytest.raises(UserError, match=r"^macs_ratio: 101 values; a front has at most 100; give fewer"):
        ordered([Budget("macs_ratio", i / 200) for i in range(1, 102)])
