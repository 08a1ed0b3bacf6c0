"""Where a run writes is looked at before its work, and nothing is written meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compress.plan import UserError, check_output, check_output_folder


def test_what_can_be_written_passes(tmp_path: Path) -> None:
    (tmp_path / "there.json").touch()
    for name in ("there.json", "new.json", "new/folder/x.json", "n" * 255):
        check_output("--json", tmp_path / name)
    for name in ("", "new", "new/folder"):
        check_output_folder("--work-dir", tmp_path / name)
    os.symlink(tmp_path / "there.json", tmp_path / "link")
    check_output("--json", tmp_path / "link")
    assert {path.name for path in tmp_path.iterdir()} == {"there.json", "link"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("folder", "is a folder; give the name of a file"),
        ("file/x.json", "is a file, not a folder; give another place"),
        ("file/y/x.json", "is a file, not a folder; give another place"),
        ("n" * 300, "File name too long"),
        ("new/" + "n" * 300, "a name of more than 255 bytes"),
        ("new/" + "ü" * 130, "a name of more than 255 bytes"),
        ("n/" * 3000, "File name too long"),
        ("loop/x", "Too many levels of symbolic links"),
        ("pipe", "is not an ordinary file"),
    ],
)
def test_what_cannot_be_written_is_told(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.symlink("loop", tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=says) as error:
        check_output("--json", tmp_path / name)
    assert str(error.value).startswith("--json ")
    if name not in ("folder", "pipe"):
        with pytest.raises(UserError, match=r"^--work-dir .*; give a(nother| shorter)"):
            check_output_folder("--work-dir", tmp_path / name)


def test_devices_are_never_replaced() -> None:
    with pytest.raises(UserError, match="--json /dev/null: is not an ordinary file"):
        check_output("--json", "/dev/null")


def test_an_input_is_not_replaced(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.touch()
    os.symlink(source, tmp_path / "same.onnx")
    for path in (source, tmp_path / "same.onnx"):
        with pytest.raises(UserError, match="is read by this command too; give another name"):
            check_output("--output", path, inputs=[None, tmp_path / "missing", source])
    check_output("--output", tmp_path / "other.onnx", inputs=[source])


def test_folders_that_may_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # which root never sees
    with pytest.raises(UserError, match=r"cannot be written to \(Permission denied\); give another folder"):
        check_output_folder("--work-dir", tmp_path / "run")
    with pytest.raises(UserError, match=r"cannot be written to \(Permission denied\); give another place"):
        check_output("--json", tmp_path / "x.json")


def test_what_a_run_keeps_is_not_replaced(tmp_path: Path) -> None:
    for name in ("recipe.json", "stages.json", "model.json", "model.onnx", "mine.json"):
        check_output("--output", tmp_path / name)
        (tmp_path / name).touch()
    for name in ("recipe.json", "stages.json", "model.json", "model.onnx"):
        with pytest.raises(UserError, match=rf"^--output \S+{name}: belongs to the run in that folder; give another"):
            check_output("--output", tmp_path / name)
    for name in ("model_portrait.onnx", "model_landscape.onnx"):  # a detector's export writes model.onnx beside it
        with pytest.raises(UserError, match=rf"{name}: belongs to the run in that folder; give another"):
            check_output("--output", tmp_path / name)
    for name in ("model_fp16.onnx", "mine.json", "summary.json", "mine_portrait.onnx"):
        check_output("--output", tmp_path / name)


def test_what_was_exported_beside_a_saved_network_may_be_exported_again(tmp_path: Path) -> None:
    for name in ("model.json", "model.safetensors", "model.onnx"):
        (tmp_path / name).touch()
    check_output("--output", tmp_path / "model.onnx")
