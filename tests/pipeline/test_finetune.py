"""tools/finetune.py: pruned networks trained again at their widths. Some fifteen seconds."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from compress.plan import sha256
from compress.spaces import load_card

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"
ALONE = {"finetune__distill": None}

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def pruned(finished: tuple[Path, object]) -> Path:
    return finished[0]


def test_the_stage_of_a_run_done_alone_gives_the_same_weights(tool, tiny, pruned: Path, tmp_path: Path) -> None:
    folder, sliced = tmp_path / "tuned", pruned / "sliced.safetensors"
    result = tool(
        "finetune", RECIPE, *tiny(), "--checkpoint", sliced, "--teacher", pruned / "baseline", "--work-dir", folder
    )
    assert (result.code, result.stderr) == (0, "")
    assert sha256(folder / "model.safetensors") == sha256(pruned / "model.safetensors")
    assert load_card(folder).arch["widths"] == load_card(pruned / "sliced").arch["widths"]
    stages, whole = (json.loads((path / "stages.json").read_text()) for path in (folder, pruned))
    assert stages["finetune"]["before"]["top1"] == whole["slice"]["top1"]
    assert stages["finetune"]["top1"] == whole["finetune"]["top1"]


def test_the_unpruned_network_of_the_checkpoints_run_is_the_teacher(
    tool, tiny, refused: Refused, pruned: Path, tmp_path: Path
) -> None:
    folder, sliced = tmp_path / "tuned", pruned / "sliced.safetensors"
    result = tool("finetune", RECIPE, *tiny(), "--checkpoint", sliced, "--work-dir", folder)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"  --teacher {pruned / 'baseline'}, the unpruned network of that run")
    assert sha256(folder / "model.safetensors") == sha256(pruned / "model.safetensors")
    record = json.loads((folder / "recipe.json").read_text())
    assert record["teacher"]["sha256"] == sha256(pruned / "baseline.safetensors")
    again = tool("finetune", RECIPE, *tiny(), "--work-dir", folder, "--resume")  # it has one already
    assert (again.code, again.stderr) == (0, "")
    alone = Path(shutil.copy(sliced, tmp_path / "alone.safetensors"))
    shutil.copy(sliced.with_suffix(".json"), alone.with_suffix(".json"))
    refused("finetune", RECIPE, *tiny(), "--checkpoint", alone, says=("--teacher: missing", f"{tmp_path} has no"))


def test_a_killed_fine_tuning_resumes_to_the_same_weights(tool, tiny, pruned: Path, tmp_path: Path) -> None:
    arguments = [RECIPE, *tiny(finetune__epochs=3, **ALONE), "--checkpoint", pruned / "sliced.safetensors"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert tool("finetune", *arguments, "--work-dir", whole).code == 0
    running = tool.start("finetune", *arguments, "--work-dir", killed)
    running.wait_until(lambda: (killed / "metrics.jsonl").exists() and (killed / "metrics.jsonl").read_text().strip())
    running.send(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    result = tool("finetune", *arguments, "--work-dir", killed, "--resume")
    assert (result.code, result.stderr) == (0, "")
    assert sha256(whole / "model.safetensors") == sha256(killed / "model.safetensors")
    before, after = (load_file(path) for path in (pruned / "sliced.safetensors", whole / "model.safetensors"))
    assert any((before[name] != after[name]).any() for name in before)


@pytest.mark.parametrize(
    ("options", "arguments", "says"),
    [
        (ALONE, [], ("--checkpoint: missing", "sliced.safetensors")),
        ({}, ["--checkpoint", "baseline"], ("--teacher: missing", "baseline.safetensors", "finetune.distill=None")),
        ({}, ["--checkpoint", "nowhere/sliced.safetensors"], ("--checkpoint", "nowhere/sliced", "no such file")),
        (ALONE, ["--checkpoint", "sliced", "--teacher", "baseline"], ("--teacher", "distill is None", "leave it away")),
        ({}, ["--checkpoint", "sliced", "--teacher", "nowhere"], ("--teacher", "nowhere", "no such file")),
    ],
)
def test_what_does_not_go_together_is_refused(
    refused: Refused, tiny, pruned: Path, options: dict, arguments: list[str], says: tuple[str, ...]
) -> None:
    given = [pruned / value if not value.startswith("--") else value for value in arguments]
    refused("finetune", RECIPE, *tiny(**options), *given, says=says)


def test_its_folder_is_no_run_of_the_other_tools(refused: Refused, tool, tiny, pruned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    arguments = [*tiny(**ALONE), "--checkpoint", pruned / "sliced.safetensors"]
    assert tool("finetune", RECIPE, *arguments, "--work-dir", folder).code == 0
    refused("prune", RECIPE, *arguments, "--resume", work_dir=folder, says=("holds a run of `nncompress finetune`",))
