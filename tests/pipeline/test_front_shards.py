"""`nncompress front --shard i/n`: jobs share one search and its points, and a call without it gathers them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from engine.quiet import Quiet
from tool_runs import RECIPE

from compress.pipeline import points
from compress.pipeline.folder import RunFolder
from compress.pipeline.points import PointsError, ordered
from compress.plan import Shard, UserError
from compress.plan.locking import sole_use
from compress.pruning import Budget

CHEAP = {"measure__backends": ["onnxruntime"], "finetune__distill": None, "finetune__epochs": 1, "search__epochs": 1}
NAMES = [f"macs_ratio_{ratio}" for ratio in (0.8, 0.7, 0.6)]


def rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_jobs_search_once_share_the_points_and_are_gathered(tool, tiny, baseline, tmp_path):
    folder, cfg = tmp_path / "front", tiny(**CHEAP)
    arguments = [RECIPE, "--checkpoint", baseline, "--macs-ratios", 0.6, 0.8, 0.7, "--work-dir", folder, *cfg]
    jobs = [tool.start("front", *arguments, "--shard", f"{i}/2") for i in (1, 2)]
    results = [job.wait() for job in jobs]
    assert [(result.code, result.stderr) for result in results] == [(0, ""), (0, "")]
    assert "Points of job 2 of 2 are done." in " ".join(results[1].stdout.split())
    assert sorted("waiting for process" in result.stdout for result in results) == [False, True]
    assert not (folder / "front.json").exists()
    assert list(json.loads((folder / "stages.json").read_text())) == ["load", "search"]
    assert [row["stage"] for row in rows(folder / "metrics.jsonl")] == ["search"]
    assert [sum(name in result.stdout for name in NAMES) for result in results] == [2, 1]
    before = {name: (folder / name / "stages.json").read_bytes() for name in NAMES}

    gathered = tool("front", RECIPE, "--work-dir", folder, "--resume", *cfg)
    assert (gathered.code, gathered.stderr) == (0, "")
    assert {name: (folder / name / "stages.json").read_bytes() for name in NAMES} == before, "nothing was done again"
    front = json.loads((folder / "front.json").read_text())
    assert [point["name"] for point in front["points"]] == NAMES
    assert list(folder.rglob(".*")) == []


def test_what_is_no_job_of_several_is_refused_in_a_line(refused, tiny, baseline):
    arguments = [RECIPE, *tiny(), "--checkpoint", baseline, "--macs-ratios", 0.5]
    for text, says in (
        ("3/2", "--shard: 3/2: must be job i of n, with i from 1 to n; write it like 2/8"),
        ("0/2", "--shard: 0/2: must be job"),
        ("2", "--shard: '2' is no job of several; write it like 2/8"),
        ("a/b", "is no job of several"),
        ("1/999999", "1/999999: must be job"),
    ):
        refused("front", *arguments, "--shard", text, says=(says,))
    refused("front", *arguments, "--shard", "1/2", "--macs-ratios", 0.5, 1.5, says=("given twice",))
    refused("front", RECIPE, *tiny(), "--shard", "1/2", says=("--ratios: missing",))


def test_a_job_runs_its_own_points_and_leaves_the_stage_to_the_gathering_call(monkeypatch):
    budgets = ordered([Budget("macs_ratio", value) for value in (0.8, 0.7, 0.6)])
    monkeypatch.setattr(points, "nested", lambda c, budget, **_: budget)
    ran: list[tuple[float, Path]] = []
    monkeypatch.setattr(points, "run_nested", lambda budget, folder: ran.append((budget.value, folder)))
    for shard, values in ((Shard(1, 2), [0.8, 0.6]), (Shard(2, 2), [0.7]), (Shard(4, 4), []), (None, [0.8, 0.7, 0.6])):
        ran.clear()
        c = SimpleNamespace(points=budgets, shard=shard, folder=RunFolder("front"), progress=Quiet())
        points.run_points(c, {})
        assert ran == [(value, Path("front") / f"macs_ratio_{value}") for value in values]
        names = [stage.name for stage in points.in_points(budgets, shard)]
        assert names == ["load", "search"] + (["points"] if shard is None else [])
        names = [stage.name for stage in points.in_points(budgets, shard, measured=True)]
        assert names == ["load", "search", "harms"] + (["points"] if shard is None else []), "once for all points"


def test_a_point_that_cannot_be_made_keeps_no_other_from_being_made(monkeypatch):
    budgets = ordered([Budget("latency_ratio", value) for value in (0.8, 0.5, 0.2)])
    ran: list[float] = []

    def run(budget, folder):
        if budget.value == 0.5:
            raise UserError("out of reach")
        ran.append(budget.value)

    monkeypatch.setattr(points, "nested", lambda c, budget, **_: budget)
    monkeypatch.setattr(points, "run_nested", run)
    c = SimpleNamespace(points=budgets, shard=None, folder=RunFolder("front"), progress=Quiet())
    with pytest.raises(PointsError, match=r"^latency_ratio_0.5: out of reach; made: 2 of 3 points$"):
        points.run_points(c, {})
    assert ran == [0.8, 0.2]


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_every_piece_belongs_to_one_job(of):
    pieces = list("abcde")
    shares = [Shard(job, of).mine(pieces) for job in range(1, of + 1)]
    assert sorted(piece for share in shares for piece in share) == pieces
    assert all(piece in shares[k % of] for k, piece in enumerate(pieces))
    with pytest.raises(UserError, match=f"{of + 1}/{of}: must be job"):
        Shard(of + 1, of)


def test_temporary_files_of_a_point_at_work_elsewhere_stay(tmp_path):
    from compress.pipeline.working import LOCK, sole_worker

    at_work, left = tmp_path / "a", tmp_path / "b"
    files = [folder / ".plan.tmp4194305.json" for folder in (at_work, left)]
    for file in files:
        file.parent.mkdir()
        file.touch()
    with sole_use(at_work / LOCK, what="the point"), sole_worker(tmp_path):
        assert [file.exists() for file in files] == [True, False]
