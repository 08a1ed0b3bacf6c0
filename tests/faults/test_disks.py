"""Full disks: one line, nothing half written, and the same run once there is room."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from campaign import snapshot, tally, well_ended
from disks import Disk, disk
from moments import environment
from torch import nn
from undisturbed import RECIPE, check_table, check_trained, table_made, trained

import compress
from compress.plan import SystemRefusal
from compress.plan.stored import read_json
from compress.spaces import Card, PreResNetSpace, save_model

KIB = (64, 128, 256, 512, 768, 1024, 1536, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192)
ROOM = 32 << 10


def test_a_network_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    space = PreResNetSpace(depth=11, num_classes=10)
    card = Card(space.name, space.arch, tuple("0123456789"), {"input_size": (3, 32, 32)})
    network = space.build()
    save_model(tmp_path / "model", network, card)
    with disk(tmp_path / "disk", 64) as small:
        with pytest.raises(SystemRefusal, match=r"model\.safetensors: No space left on device; free some space"):
            save_model(small.path / "model", network, card)
        assert snapshot(small.path) == {}
        small.resize(ROOM)
        save_model(small.path / "model", network, card)
        assert (small.path / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()
        small.freeze()
        with pytest.raises(SystemRefusal, match="Read-only file system"):
            save_model(small.path / "model", network, card)


def test_pruning_in_python_leaves_no_half_of_a_network(tmp_path: Path) -> None:
    layers = [nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.Flatten(), nn.Linear(64 * 16, 4)]
    network, images = nn.Sequential(*layers), torch.zeros(1, 3, 8, 8)
    options: dict[str, Any] = {"pruning_ratio": 0.4, "method": "magnitude", "round_to": 1, "quiet": True}
    for kib in (4, 32):
        with disk(tmp_path / "disk", kib) as small:
            with pytest.raises(SystemRefusal, match="No space left on device; free some space"):
                compress.prune(network, images, work_dir=small.path / "run", **options)
            assert {"run/model.json", "run/model.safetensors"}.isdisjoint(snapshot(small.path))
            whole(small.path)


def whole(folder: Path) -> None:
    """Assert that every file in `folder` is whole, and that there is no temporary one."""
    for name in snapshot(folder):
        assert not Path(name).name.startswith("."), name
        if name.endswith(".json"):
            read_json(folder / name)
        if name.endswith(".jsonl"):
            text = (folder / name).read_text()
            assert text == "" or text.endswith("\n")
            assert all(isinstance(json.loads(line), dict) for line in text.splitlines())


def survives(
    tool: Any,
    small: Path,
    arguments: Sequence[object],
    resumed: Sequence[object],
    *,
    kind: str,
    sizes: Iterable[int],
    check: Callable[[], None],
    **env: str,
) -> None:
    """Run a tool that writes to the disk `small` at all of `sizes`, and again, as `resumed`, when there is room."""
    tried, lost = 0, []
    for kib in sizes:
        tried += 1
        with disk(small, kib) as made:
            try:
                _ends_well(tool, made, arguments, resumed, **env)
                check()
            except (AssertionError, OSError) as error:
                lost.append((kib, str(error)[:500]))
    tally(f"full disk: {kind}", tried, tried - len(lost))
    assert lost == []


def _ends_well(tool: Any, made: Disk, arguments: Sequence[object], resumed: Sequence[object], **env: str) -> None:
    result = tool(*arguments, **env)
    well_ended(result.code, result.stderr)
    whole(made.path)
    if result.code:
        assert "No space left on device; free some space" in result.stderr or "no space left for" in result.stderr
        assert ("--resume" in result.stderr) == ("--resume" in resumed)
        made.resize(ROOM)
        result = tool(*resumed, **env)
        well_ended(result.code, result.stderr, codes=(0,))
        whole(made.path)


@pytest.mark.faults
def test_a_whole_run(tool, tiny, baseline: Path, finished, same_run: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "disk" / "run"
    options = ["prune", RECIPE, *tiny(), "--work-dir", folder, "--checkpoint", baseline, "--pruning-ratio", 0.4]
    survives(
        tool,
        tmp_path / "disk",
        options,
        [*options, "--resume"],
        kind="tools/prune.py",
        sizes=KIB,
        check=lambda: same_run(finished[0], folder),
    )


@pytest.mark.faults
@pytest.mark.parametrize("name", ["train", "finetune"])
def test_a_training_alone(tool, tiny, finished, tmp_path: Path, name: str) -> None:
    folder, undisturbed = tmp_path / "disk" / "run", tmp_path / "whole"
    options = trained(tool, tiny, finished[0], name, undisturbed)
    survives(
        tool,
        tmp_path / "disk",
        [*options, folder],
        [*options, folder, "--resume"],
        kind=f"tools/{name}.py",
        sizes=(4, 16, *KIB[:9]),
        check=lambda: check_trained(folder, undisturbed),
    )


@pytest.mark.faults
def test_a_latency_table(tool, tmp_path: Path) -> None:
    folder, undisturbed = tmp_path / "disk", tmp_path / "whole"
    arguments = table_made(tool, folder, undisturbed)
    survives(
        tool,
        folder,
        arguments,
        [*arguments, "--resume"],
        kind="tools/profile_latency.py",
        sizes=(4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 128),
        check=lambda: check_table(folder, undisturbed),
        **environment(folder, made_up=True),
    )


@pytest.mark.faults
@pytest.mark.parametrize("temporary", [False, True], ids=["output", "temporary-files"])
@pytest.mark.parametrize("more", [(), ("--fp16", "--uint8-input")], ids=["float32", "float16-pixels"])
def test_an_export(tool, finished, tmp_path: Path, temporary: bool, more: Sequence[str]) -> None:
    """The exported file, or the files made on the way, do not fit."""
    small, made = tmp_path / "disk", tmp_path / "made.onnx"
    assert tool("export", finished[0], "--to", "onnx", "-o", made, *more).code == 0
    target = tmp_path / "other.onnx" if temporary else small / "model.onnx"
    options = ["export", finished[0], "--to", "onnx", "-o", target, *more]
    survives(
        tool,
        small,
        options,
        options,
        kind="tools/export.py" + (", temporary files" if temporary else ""),
        sizes=(4, 64, 128, 256, 320, 512, 640, 1024),
        check=lambda: None if target.read_bytes() == made.read_bytes() else pytest.fail("another file"),
        **({"TMPDIR": str(small)} if temporary else {}),
    )


@pytest.mark.faults
def test_figures_of_a_tool(tool, finished, tmp_path: Path) -> None:
    small = tmp_path / "disk"
    for kind, options in (
        ("tools/benchmark.py", ["benchmark", finished[0] / "model.onnx", "--repeats", 3, "--json", small / "x.json"]),
        ("tools/evaluate.py", ["evaluate", finished[0], "--json", small / "x.json"]),
        ("tools/toy_model.py", ["toy_model", "--steps", 5, "--out", small / "toy"]),
    ):
        sizes = (64, 128, 512) if "toy" in kind else (64,)
        survives(tool, small, options, options, kind=kind, sizes=sizes, check=lambda: whole(small))
        with disk(small, 64) as full:
            (full.path / "filler").write_bytes(b"0" * (64 << 10))
            result = tool(*options)
            well_ended(result.code, result.stderr, codes=(2,))
            assert list(snapshot(full.path)) == ["filler"]


@pytest.mark.faults
def test_disks_that_may_only_be_read(tool, tiny, baseline: Path, finished, tmp_path: Path) -> None:
    """Told before anything is read or trained; nothing that only reads a run needs more."""
    with disk(tmp_path / "disk", ROOM) as frozen:
        run = frozen.path / "run"
        shutil.copytree(finished[0], run)
        frozen.freeze()
        prune = [RECIPE, *tiny(), "--checkpoint", baseline, "--pruning-ratio", 0.4, "--work-dir"]
        for options in (
            ["prune", *prune, frozen.path / "new"],
            ["prune", *prune, run, "--resume"],
            ["train", RECIPE, *tiny(), "--work-dir", frozen.path / "new" / "deep"],
            ["profile_latency", RECIPE, "-o", frozen.path / "t.json"],
            ["export", run, "--to", "onnx", "-o", run / "x.onnx"],
            ["evaluate", run, "--json", frozen.path / "x.json"],
            ["benchmark", run / "model.onnx", "--json", frozen.path / "x.json"],
        ):
            result = tool(*options)
            well_ended(result.code, result.stderr, codes=(2,))
            assert "cannot be written to (Read-only file system); give another" in result.stderr
            assert result.stdout == ""
        before = snapshot(run)
        for options in (["evaluate", run], ["export", run, "--to", "onnx", "-o", tmp_path / "x.onnx"]):
            assert tool(*options).code == 0
        assert snapshot(run) == before
