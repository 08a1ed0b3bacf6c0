"""Training that starts from a checkpoint, of another number of classes too: what is loaded, resuming, and refusals.

Some twenty seconds.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compress.plan import sha256
from compress.spaces import Card, PreResNetSpace, load_card, save_model

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"
STILL = {"train__optimizer__lr": 0.0, "train__optimizer__weight_decay": 0.0}
"""Overrides under which training leaves the weights as they are, but for the statistics of BatchNorm."""

Refused = Callable[..., str]


def network(n_classes: int, **changes: object) -> torch.nn.Module:
    torch.manual_seed(7)
    return PreResNetSpace(11, n_classes, **changes).build()


def weights(state: dict) -> dict:
    """Without the statistics of BatchNorm."""
    return {name: value for name, value in state.items() if "running_" not in name and "num_batches" not in name}


def last_rows(folder: Path) -> list[int]:
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["epoch"] for line in lines if line.endswith("\n")]


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A foreign checkpoint of 7 classes."""
    path = tmp_path_factory.mktemp("seven") / "seven.pth"
    torch.save({"state_dict": network(7).state_dict()}, path)
    return path


def own(folder: Path, baseline: Path, n_classes: int, **changes: object) -> Path:
    """A run folder's network, prepared as that of `baseline`, of other classes."""
    space = PreResNetSpace(11, n_classes, **changes)
    card = load_card(baseline)
    classes = tuple(f"class {i}" for i in range(n_classes))
    save_model(
        folder / "model", network(n_classes, **changes), Card(space.name, space.arch, classes, card.preprocessing)
    )
    return folder


def test_a_checkpoint_of_seven_classes_becomes_one_of_ten_that_can_be_pruned(
    tool, tiny, prune: Refused, seven: Path, tmp_path: Path
) -> None:
    says = (
        "--checkpoint",
        "classifier (fc) has 7 classes",
        "the data have 10",
        "`nncompress train RECIPE --checkpoint F",
    )
    prune("--pruning-ratio", 0.4, checkpoint=seven, says=(*says, "then give --checkpoint D"))
    folder = tmp_path / "adapted"
    result = tool("train", RECIPE, *tiny(), "--checkpoint", seven, "--work-dir", folder)
    assert result.code == 0
    assert result.stderr == (
        f"warning: --checkpoint {seven}: the classifier (fc) has 7 classes there and 10 here, so it keeps its fresh "
        "initialisation; all other weights are the checkpoint's\n"
    )
    said = "adapting: the fresh classifier (fc) learns at the recipe's rate, all other weights at 0.1 of it"
    assert said in result.stdout
    record = json.loads((folder / "recipe.json").read_text())
    adapted = {"fresh": ["fc"], "lr_factor": 0.1}
    assert record["checkpoint"] == {"path": str(seven), "sha256": sha256(seven), "adapted": adapted}
    assert load_card(folder).classes == tuple(str(i) for i in range(10))
    pruned = tool(
        "prune", RECIPE, *tiny(), "--checkpoint", folder, "--pruning-ratio", 0.4, "--stage", "load",
        "--work-dir", tmp_path / "pruned",
    )  # fmt: skip
    assert (pruned.code, pruned.stderr) == (0, "")
    assert sha256(tmp_path / "pruned/baseline.safetensors") == sha256(folder / "model.safetensors")


def test_training_starts_from_the_checkpoints_weights_and_a_seeded_classifier(
    tool, tiny, seven, tmp_path: Path
) -> None:
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = tiny(**STILL, seed=seed)
        assert tool("train", RECIPE, *options, "--checkpoint", seven, "--work-dir", tmp_path / name).code == 0
        found.append(load_file(tmp_path / name / "model.safetensors"))
    first, again, other = found
    theirs = weights(network(7).state_dict())
    for name, value in weights(first).items():
        assert torch.equal(value, again[name])
        if name.startswith("fc."):
            assert len(value) == 10
            assert not torch.equal(value, other[name])
        else:
            assert torch.equal(value, theirs[name]), name


def test_a_checkpoint_of_the_same_classes_keeps_its_classifier(tool, tiny, baseline: Path, tmp_path: Path) -> None:
    result = tool("train", RECIPE, *tiny(**STILL), "--checkpoint", baseline, "--work-dir", tmp_path / "more")
    assert (result.code, result.stderr) == (0, "")
    before, after = (load_file(folder / "model.safetensors") for folder in (baseline, tmp_path / "more"))
    assert all(torch.equal(value, before[name]) for name, value in weights(after).items())


def test_a_run_folder_of_other_classes_is_adapted(tool, tiny, prune: Refused, baseline: Path, tmp_path: Path) -> None:
    checkpoint = own(tmp_path / "seven", baseline, 7)
    prune(
        "--pruning-ratio",
        0.4,
        checkpoint=checkpoint,
        says=(
            "a preresnet with 7 classes",
            "with 10",
            "checkpoint's recipe, or adapt it with `nncompress train RECIPE",
        ),
    )
    result = tool("train", RECIPE, *tiny(**STILL), "--checkpoint", checkpoint, "--work-dir", tmp_path / "run")
    assert result.code == 0
    assert result.stderr.startswith(f"warning: --checkpoint {checkpoint}: the classifier (fc) has 7 classes there")
    assert result.stderr.count("\n") == 1
    after, theirs = load_file(tmp_path / "run/model.safetensors"), network(7).state_dict()
    assert all(torch.equal(v, theirs[name]) for name, v in weights(after).items() if not name.startswith("fc."))


def test_a_killed_training_goes_on_from_its_own_weights_without_the_checkpoint(
    tool, tiny, seven: Path, tmp_path: Path
) -> None:
    options, whole, killed = tiny(train__epochs=3), tmp_path / "whole", tmp_path / "killed"
    copy = shutil.copy(seven, tmp_path / "copy.pth")
    assert tool("train", RECIPE, *options, "--checkpoint", seven, "--work-dir", whole).code == 0
    running = tool.start("train", RECIPE, *options, "--checkpoint", copy, "--work-dir", killed)
    running.wait_until(lambda: 2 in last_rows(killed))
    running.send(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    Path(copy).unlink()
    result = tool("train", RECIPE, *options, "--work-dir", killed, "--resume")
    assert (result.code, result.stderr) == (0, "")
    assert "resumed after" in result.stdout
    assert sha256(whole / "model.safetensors") == sha256(killed / "model.safetensors")
    assert last_rows(killed) == [1, 2, 3]


def test_a_training_that_was_stopped_before_its_first_epoch_ended_reads_the_checkpoint_again(
    tool, tiny, refused: Refused, seven: Path, tmp_path: Path
) -> None:
    folder, copy = tmp_path / "run", Path(shutil.copy(seven, tmp_path / "copy.pth"))
    assert tool("train", RECIPE, *tiny(), "--checkpoint", copy, "--work-dir", folder).code == 0
    expected = sha256(folder / "model.safetensors")
    for path in folder.iterdir():
        if path.name != "recipe.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    torch.save(network(8).state_dict(), copy)
    refused(
        "train",
        RECIPE,
        *tiny(),
        "--resume",
        work_dir=folder,
        says=("--work-dir", "other settings", "checkpoint.sha256"),
    )
    copy.unlink()
    refused("train", RECIPE, *tiny(), "--resume", work_dir=folder, says=("--checkpoint", "copy.pth", "no such file"))
    # The same weights under another name.
    result = tool("train", RECIPE, *tiny(), "--checkpoint", seven, "--resume", "--work-dir", folder)
    assert result.code == 0
    assert "the classifier (fc) has 7 classes" in result.stderr
    assert sha256(folder / "model.safetensors") == expected


def test_resuming_with_another_start_is_refused(
    tool, tiny, refused: Refused, seven: Path, baseline: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert tool("train", RECIPE, *tiny(), "--checkpoint", seven, "--work-dir", folder).code == 0
    again = ("train", RECIPE, *tiny(), "--resume")
    refused(*again, "--checkpoint", baseline, work_dir=folder, says=("other settings", "checkpoint.path", "seven.pth"))
    refused(*again, "--checkpoint", tmp_path / "no.pth", work_dir=folder, says=("--checkpoint", "no.pth: no such file"))
    refused(
        *again, "--checkpoint", seven, work_dir=baseline, says=("--checkpoint", "began without one", "leave it away")
    )
    refused("train", RECIPE, *tiny(), work_dir=folder, says=("--work-dir", str(folder), "new folder"))
    finished = tool(*again, "--checkpoint", seven, "--work-dir", folder)
    assert (finished.code, finished.stderr) == (0, "")


def test_other_mismatches_stay_errors(refused: Refused, tiny, seven: Path, baseline: Path, tmp_path: Path) -> None:
    def train(checkpoint: Path, *says: str, **options: object) -> None:
        refused("train", RECIPE, *tiny(**options), "--checkpoint", checkpoint, says=("--checkpoint", *says))

    train(tmp_path / "no.pth", "no.pth: no such file")
    train(seven, "another architecture", "missing: layer1.1.bn1.weight", space__depth=20)
    ten, other = own(tmp_path / "ten", baseline, 10), own(tmp_path / "seven", baseline, 7)
    train(ten, "trained on other classes than digits")
    train(other, "another architecture", "depth = 11 there, 20 in the recipe", space__depth=20)
    train(other, "trained with mean", "data section", data__mean="(0.5,0.5,0.5)", data__std="(0.2,0.2,0.2)")
    narrow = own(tmp_path / "narrow", baseline, 7, widths={"layer1.0.conv1": 9})
    train(narrow, "a pruned network", "baseline.safetensors", "space.widths")
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps({**card, "space": "mobilenetv2", "arch": {"num_classes": 7}}))
    train(other, "a mobilenetv2 with 7 classes, but the recipe asks for preresnet")


class Code:
    """Runs something when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_code_in_a_checkpoint_runs_only_when_trusted(tool, tiny, refused: Refused, tmp_path: Path) -> None:
    path, trace = tmp_path / "code.pth", tmp_path / "ran"
    torch.save({"state_dict": network(7).state_dict(), "note": Code(trace)}, path)
    refused("train", RECIPE, *tiny(), "--checkpoint", path, says=("--checkpoint", "refused", "--trust-checkpoint"))
    assert not trace.exists()
    options = ("--checkpoint", path, "--trust-checkpoint", "--work-dir", tmp_path / "run")
    assert tool("train", RECIPE, *tiny(), *options).code == 0
    assert trace.exists()
