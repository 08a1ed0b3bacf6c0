"""Bad checkpoints, run folders and stages: exit code 2, one line, and nothing created or changed."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"

Refused = Callable[..., str]


def cut(source: Path, target: Path) -> Path:
    """The first half of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: len(data) // 2])
    return target


# Checkpoints


def test_missing_checkpoint(prune: Refused, refused: Refused, tmp_path: Path) -> None:
    prune(checkpoint=tmp_path / "no.pth", says=("--checkpoint", "no.pth", "no such file", "`nncompress train`"))
    for name in ("plan.json", "text"):
        (tmp_path / name).touch()
        beside = Path(name).with_suffix(".safetensors")
        prune(checkpoint=tmp_path / name, says=(f"{name}: is no checkpoint, nor has it one beside it, {beside}; give",))
    refused("prune", RECIPE, says=("--checkpoint: missing", "give"))
    (tmp_path / "folder").mkdir()
    prune(checkpoint=tmp_path / "folder", says=("--checkpoint", "folder", "model.safetensors", "finished run folder"))


def test_corrupt_checkpoints(prune: Refused, baseline: Path, tmp_path: Path) -> None:
    state = tmp_path / "whole.pth"
    torch.save({"conv1.weight": torch.zeros(16, 3, 3, 3)}, state)
    (tmp_path / "noise.pth").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "noise.safetensors").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "empty.pth").touch()
    cut(state, tmp_path / "half.pth")
    cut(baseline / "model.safetensors", tmp_path / "half.safetensors")
    for name in ("noise.pth", "noise.safetensors", "empty.pth", "half.pth", "half.safetensors"):
        prune(checkpoint=tmp_path / name, says=("--checkpoint", name, "corrupt"))
    for name in ("noise.pth", "empty.pth", "half.pth"):
        prune("--trust-checkpoint", checkpoint=tmp_path / name, says=("--checkpoint", name, "corrupt", "copy it again"))


def test_corrupt_run_folder_as_checkpoint(prune: Refused, baseline: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(baseline / "model.json", folder)
    cut(baseline / "model.safetensors", folder / "model.safetensors")
    prune(checkpoint=folder, says=("--checkpoint", str(folder), "corrupt"))
    shutil.copy(baseline / "model.safetensors", folder)
    cut(baseline / "model.json", folder / "model.json")
    prune(checkpoint=folder, says=("--checkpoint", str(folder / "model.json"), "not valid JSON"))


class Code:
    """Runs something when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("plain", [False, True])
def test_pickle_with_code(prune: Refused, tmp_path: Path, plain: bool) -> None:
    path, trace = tmp_path / "code.pth", tmp_path / "ran"
    payload = {"state_dict": {}, "note": Code(trace)}
    if plain:
        path.write_bytes(pickle.dumps(payload, protocol=2))
    else:
        torch.save(payload, path)
    prune(checkpoint=path, says=("--checkpoint", "code.pth", "refused", "--trust-checkpoint"))
    assert not trace.exists()


def test_checkpoint_of_another_architecture(prune: Refused, baseline: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(4), "conv1.weight": torch.zeros(3)}, path)
    prune(
        checkpoint=path,
        says=("--checkpoint", "another architecture", "features.0.weight", "layer1.0.bn1.weight", "space"),
    )
    prune(
        "--pruning-ratio",
        0.4,
        options={"space__depth": 20},
        says=("--checkpoint", str(baseline), "depth", "11", "20", "space.depth"),
    )
    torch.save({"epoch": 3}, path)
    prune(checkpoint=path, says=("--checkpoint", "holds no state dict", "torch.save"))


# Folders


def test_occupied_folders(prune: Refused, refused: Refused, tiny, baseline: Path, finished, tmp_path: Path) -> None:
    folder, _ = finished
    prune("--pruning-ratio", 0.4, work_dir=folder, says=("--work-dir", str(folder), "already holds a run", "--resume"))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("do not touch")
    for arguments in ((), ("--resume",), ("--stage", "search")):
        prune(*arguments, work_dir=foreign, says=("--work-dir", str(foreign), "not empty", "new folder"))
        prune(*arguments, work_dir=foreign / "thesis.tex", says=("--work-dir", "is a file", "give a folder"))
        prune(*arguments, work_dir=baseline, says=("--work-dir", str(baseline), "new folder"))
    prune(
        "--pruning-ratio",
        0.4,
        work_dir=foreign / "thesis.tex" / "run",
        says=("--work-dir", "is a file", "another folder"),
    )
    refused(
        "train",
        RECIPE,
        *tiny(),
        "--resume",
        work_dir=folder,
        says=("--work-dir", str(folder), "holds a run of `nncompress prune`"),
    )


def test_resume_with_other_settings(prune: Refused, finished, tmp_path: Path) -> None:
    folder, _ = finished
    says = ("--work-dir", str(folder), "other settings")
    prune("--resume", "--macs-ratio", 0.5, work_dir=folder, says=(*says, "budget.kind", "macs_ratio"))
    prune("--resume", options={"seed": 7}, work_dir=folder, says=(*says, "recipe.seed: 0 there, 7 now"))
    other = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, other)
    prune("--resume", checkpoint=other, work_dir=folder, says=(*says, "checkpoint.path", "other.pth"))


def test_damaged_records(prune: Refused, finished, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    cut(copy / "stages.json", copy / "stages.json")
    prune("--resume", work_dir=copy, says=("stages.json", "not valid JSON"))
    (copy / "recipe.json").write_text("[]")
    prune("--resume", work_dir=copy, says=("recipe.json", "--work-dir"))


# Stages


def test_stages_out_of_order(prune: Refused, finished) -> None:
    for stage, missing in (("select", "search"), ("slice", "search, select"), ("report", "measure")):
        prune("--stage", stage, says=("--stage", stage, missing, "--stage search"))
    folder, _ = finished
    for stage in ("load", "search", "report"):
        prune("--stage", stage, work_dir=folder, says=(f"--stage {stage}", "already finished", "--work-dir"))


BUDGET = ("--pruning-ratio", 0.4)


def test_search_from(prune: Refused, finished, tool, tiny, baseline: Path, tmp_path: Path) -> None:
    folder, _ = finished
    prune(*BUDGET, "--search-from", tmp_path / "no", says=("--search-from", "no", "no such folder"))
    unfinished = tmp_path / "unfinished"
    shutil.copytree(folder, unfinished)
    stages = json.loads((unfinished / "stages.json").read_text())
    del stages["search"]
    (unfinished / "stages.json").write_text(json.dumps(stages))
    prune(*BUDGET, "--search-from", unfinished, says=("--search-from", str(unfinished), "has not finished", "--resume"))
    other = tmp_path / "other"
    assert tool("train", RECIPE, *tiny(seed=5), "--work-dir", other).code == 0
    prune(*BUDGET, "--search-from", folder, checkpoint=other, says=("--search-from", str(folder), "another checkpoint"))
    wider = {"space__score_inputs": True}
    prune(
        *BUDGET,
        "--search-from",
        folder,
        options=wider,
        says=("--search-from", str(folder), "another recipe", "space.score_inputs: ", "recipe.json as the recipe"),
    )
    stronger = {"search__gamma": 0.5}
    prune(
        *BUDGET,
        "--search-from",
        folder,
        options=stronger,
        says=("--search-from", "(search.gamma: ", " there, 0.5 now)"),
    )
    (unfinished / "scores.safetensors").unlink()
    shutil.copy(folder / "stages.json", unfinished)
    record = json.loads((unfinished / "recipe.json").read_text())
    assert record["recipe"]["data"].pop("cutout") is None  # as an older version wrote it, which is no other recipe
    (unfinished / "recipe.json").write_text(json.dumps(record))
    prune(*BUDGET, "--search-from", unfinished, says=("--search-from", "scores.safetensors missing"))


def test_a_free_ratio_that_would_prune_nothing(prune: Refused) -> None:
    prune(says=("budget: none", "'subgradient'", "no score exactly zero", "--pruning-ratio"))


def test_a_checkpoint_trained_with_other_preprocessing(prune: Refused) -> None:
    other = {"data__mean": "(0.5,0.5,0.5)", "data__std": "(0.2,0.2,0.2)"}
    prune(*BUDGET, options=other, says=("--checkpoint", "trained with mean", "data section"))
