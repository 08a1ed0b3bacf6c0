"""`--steps N`: rounds before the last are runs in folders of their own; all are judged by the unpruned network."""

from __future__ import annotations

import json
import math
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tool_runs import RECIPE

from compress.engine.settings import FinetuneConfig
from compress.engine.tuning import short
from compress.pipeline.rounds import settled_steps
from compress.plan import UserError, WidthPlan, write_json
from compress.spaces import load_model, sizes

OPTIONS = {"measure__backends": ["onnxruntime"], "finetune__distill": None}


def read(path: Path):
    return json.loads(path.read_text())


def snapshot(folder: Path) -> dict[str, bytes]:
    """The files of a round that hold no times."""
    names = ("scores", "searched", "sliced", "model")
    return {name: (folder / f"{name}.safetensors").read_bytes() for name in names} | {
        name: (folder / name).read_bytes() for name in ("plan.json", "complexity.json", "model.json")
    }


@pytest.fixture(scope="module")
def two_rounds(tool, tiny, baseline, tmp_path_factory):
    """A whole run of tools/prune.py in two rounds. Only read it."""
    folder = tmp_path_factory.mktemp("rounds") / "run"
    arguments = ["--checkpoint", baseline, "--macs-ratio", 0.5, "--steps", 2, "--work-dir", folder]
    result = tool("prune", RECIPE, *arguments, *tiny(**OPTIONS))
    assert (result.code, result.stderr) == (0, "")
    assert "round 1 of 2: --macs-ratio 0.7071" in result.stdout
    return folder


def test_files_of_the_run_are_of_the_unpruned_network(two_rounds, baseline):
    summary, costs, plan = (read(two_rounds / name) for name in ("summary.json", "complexity.json", "plan.json"))
    first = WidthPlan.load(two_rounds / "step1/plan.json")
    second = WidthPlan.load(two_rounds / "plan.json")
    network, space, card = load_model(two_rounds)
    whole, full, _ = load_model(two_rounds / "baseline")
    assert all(
        torch.equal(value, whole.state_dict()[key]) for key, value in load_model(baseline)[0].state_dict().items()
    )
    assert second.sizes == first.sizes == sizes(full.groups)
    assert all({*second.kept[name]} <= {*first.kept[name]} for name in first.kept)
    assert sizes(space.groups) == second.widths
    assert first.record["budget"] == {"kind": "macs_ratio", "value": math.sqrt(0.5)}
    assert first.record["macs"]["after"] <= math.sqrt(0.5) * first.record["macs"]["before"]
    assert plan["budget"] == summary["budget"] == {"kind": "macs_ratio", "value": 0.5}
    assert summary["macs"]["after"] <= 0.5 * summary["macs"]["before"] < first.record["macs"]["after"]
    assert summary["macs"] == second.record["macs"] == {side: c["formula"] for side, c in costs["macs"].items()}
    assert summary["params"]["after"] == sum(p.numel() for p in network.parameters())
    assert summary["top1"]["before"] == read(two_rounds / "stages.json")["load"]["top1"]
    scores = load_file(two_rounds / "scores.safetensors")
    for name, score in scores.items():
        assert {*score.nonzero().flatten().tolist()} <= {*first.kept[name]}, "what has gone scores 0"
    assert card.plan_sha256 is not None


def test_a_round_is_a_run_of_its_own_with_short_fine_tuning_and_no_export(two_rounds):
    stages, tuned = read(two_rounds / "stages.json"), read(two_rounds / "step1/stages.json")
    assert list(stages) == ["load", "steps", "search", "select", "slice", "finetune", "export", "measure", "report"]
    assert list(tuned) == ["load", "search", "select", "slice", "finetune"]
    rows = {
        folder: [json.loads(line)["stage"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (two_rounds / "step1", two_rounds)
    }
    assert [[*row].count("finetune") for row in rows.values()] == [1, 2]
    assert [[*row].count("search") for row in rows.values()] == [2, 2]
    (left,) = read(two_rounds / "summary.json")["steps"]
    assert left == stages["steps"]["rounds"][0]
    assert left["macs"] == read(two_rounds / "step1/plan.json")["macs"]["after"]
    assert left["top1"] == tuned["finetune"]["top1"]
    page = (two_rounds / "report.html").read_text()
    assert "Rounds" in page
    assert f"{left['macs']:,}" in page


def test_killed_in_both_rounds_and_resumed_it_is_the_same_network(
    tool, tuned, tiny, baseline, two_rounds, same_network, tmp_path
):
    folder = tmp_path / "run"
    arguments = ["--checkpoint", baseline, "--macs-ratio", 0.5, "--steps", 2]
    for there in ("step1/search/last.pth", "search/last.pth"):
        running = tool.start("prune", RECIPE, *arguments, "--work-dir", folder, *tiny(**OPTIONS))
        running.wait_until(lambda there=there: (folder / there).exists())
        running.send(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL
        arguments = ["--resume"]  # checkpoint, budget and rounds are the folder's own
    tuned(RECIPE, "--work-dir", folder, *tiny(**OPTIONS))
    same_network(two_rounds, folder)
    assert snapshot(folder / "step1") == snapshot(two_rounds / "step1")
    assert list(folder.rglob(".*")) == []


def test_the_first_search_is_taken_from_another_run_and_no_later_one(tool, tiny, baseline, two_rounds, prune, tmp_path):
    for source in (two_rounds, two_rounds / "step2"):
        if source != two_rounds:  # a later round, as a run in three has
            shutil.copytree(two_rounds / "step1", source)
            write_json(source / "recipe.json", read(source / "recipe.json") | {"before": {"path": "x", "sha256": "y"}})
        says = (f"--search-from {source}: searched what an earlier round had left", "step1, the first round")
        prune("--macs-ratio", 0.5, "--search-from", source, says=says, options=OPTIONS)
    arguments = ["--work-dir", tmp_path / "run", *tiny(**OPTIONS), "--stage"]
    first = ["--checkpoint", baseline, "--macs-ratio", 0.5, "--steps", 2, "--search-from", two_rounds / "step1"]
    for more in (["load", *first], ["steps"]):
        result = tool("prune", RECIPE, *arguments, *more)
        assert (result.code, result.stderr) == (0, "")
    assert "taken from" in result.stdout
    assert snapshot(tmp_path / "run/step1") == snapshot(two_rounds / "step1")


@pytest.mark.parametrize("steps", ["0", "-1", "101", "1.5"])
def test_a_number_of_rounds_that_makes_no_sense_is_refused(prune, steps):
    prune("--macs-ratio", 0.5, "--steps", steps, says=("--steps", steps))


def test_a_run_keeps_its_number_of_rounds(prune, finished, two_rounds):
    prune("--steps", 2, "--resume", work_dir=finished[0], says=("--steps 2: the run in", "has 1; leave it away"))
    options = {"options": OPTIONS, "work_dir": two_rounds}
    prune("--macs-ratio", 0.5, says=("already holds a run; add --resume",), **options)
    prune("--stage", "steps", says=("--stage steps: already finished",), **options)


def test_rounds_and_a_latency_table_of_the_search_do_not_go_together():
    recipe = SimpleNamespace(search=SimpleNamespace(latency_table="t.json"))
    assert settled_steps(None, {}, recipe, "runs/x") == 1
    assert settled_steps(None, {"steps": 3}, SimpleNamespace(search=SimpleNamespace(latency_table=None)), "runs/x") == 3
    with pytest.raises(UserError, match=r"^--steps 2: search.latency_table = 't.json' is of the unpruned network, and"):
        settled_steps(2, {}, recipe, "runs/x")


def test_short_fine_tuning_is_a_tenth_unless_the_recipe_says_more():
    assert [short(FinetuneConfig(epochs=n)).epochs for n in (1, 9, 10, 39, 100)] == [1, 1, 1, 3, 10]
    config = FinetuneConfig(epochs=20, warmup_epochs=5, between=3)
    assert (short(config).epochs, short(config).warmup_epochs, short(config).between) == (3, 2, None)
