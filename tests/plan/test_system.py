"""What the operating system refuses is one line that names the file; what is no fault of the machine stays as it is."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from compress.plan import SystemRefusal, UserError, append_line, refusal, replacing, scratch, storing, write_text
from compress.plan.files import remove_leftovers

FULL = "/dev/full"  # takes nothing, as a full disk


def save_to_full(tmp: Path) -> None:
    """Save weights, and fail as on a full disk."""
    tmp.touch()
    with open(FULL, "wb") as file:
        torch.save({"a": torch.zeros(100_000)}, file)


def fill(tmp: Path) -> None:
    """Write to `tmp`, and fail as on a full disk."""
    tmp.write_text("half of")
    with open(FULL, "w") as file:
        file.write("the rest")


@pytest.mark.skipif(not Path(FULL).exists(), reason="this system has no /dev/full")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    write_text(file, "old")
    with (
        pytest.raises(SystemRefusal, match=f"^{file}: No space left on device; free some space$") as error,
        replacing(file) as tmp,
    ):
        fill(tmp)
    assert error.value.passing
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(not Path(FULL).exists(), reason="this system has no /dev/full")
def test_writers_in_other_languages(tmp_path: Path) -> None:
    """PyTorch's says "unexpected pos", with Python's error behind it; Rust's end in a number."""
    with pytest.raises(SystemRefusal, match=r"w\.pth: No space left"), replacing(tmp_path / "w.pth") as tmp:
        save_to_full(tmp)
    with (
        pytest.raises(SystemRefusal, match=r"w\.safetensors: Read-only"),
        replacing(tmp_path / "w.safetensors"),
    ):
        raise SafetensorError("Error while serializing: I/O error: Read-only file system (os error 30)")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "remedy", "passing"),
    [
        (errno.ENOSPC, "free some space", True),
        (errno.EDQUOT, "free some space", True),
        (errno.EFBIG, "ulimit -f", True),
        (errno.EROFS, "another place", True),
        (errno.EACCES, "another place", True),
        (errno.EPERM, "another place", True),
        (errno.EIO, "the disk", True),
        (errno.EMFILE, "ulimit -n", True),
        (errno.ENAMETOOLONG, "shorter name", False),
        (errno.ELOOP, "the links", False),
        (errno.EISDIR, "name of a file", False),
        (errno.ENOTDIR, "a folder is needed", False),
    ],
)
def test_every_refusal_has_a_remedy(tmp_path: Path, number: int, remedy: str, passing: bool) -> None:
    path = tmp_path / "scores.safetensors"
    for error in (
        OSError(number, "reason"),
        OSError(number, "reason", str(path)),
        OSError(number, "reason", str(tmp_path / "other"), None, str(path)),
    ):
        told = refusal(error, path)
        assert told is not None
        assert str(told).startswith(f"{path}: {os.strerror(number)}; ")
        assert remedy in str(told)
        assert told.passing == passing
        assert "\n" not in str(told)


def test_what_is_no_fault_of_the_machine_stays(tmp_path: Path) -> None:
    assert refusal(ValueError("a bug")) is None
    assert refusal(OSError(errno.EBADF, "Bad file descriptor"), tmp_path / "x") is None
    assert refusal(FileNotFoundError(errno.ENOENT, "none", "never_written")) is None
    assert refusal(IsADirectoryError(errno.EISDIR, "is one", "/elsewhere/x"), tmp_path / "x") is None
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "x"):
        pass  # the block has written nothing
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "x") as tmp:
        shutil.copyfile(tmp_path / "elsewhere" / "source", tmp)
    with pytest.raises(RuntimeError, match="a bug"), storing(tmp_path / "x"):
        raise RuntimeError("a bug")


def test_another_file_is_named_by_its_own_name(tmp_path: Path) -> None:
    told = refusal(PermissionError(errno.EACCES, "denied", "/elsewhere/data.npz"), tmp_path / "x")
    assert str(told).startswith("/elsewhere/data.npz: Permission denied; ")
    assert str(refusal(OSError(errno.ENOSPC, "full"))).startswith("standard output, or a file in ")


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    os.symlink("loop", tmp_path / "loop")
    for name, says in (
        ("file/x", "a folder is needed"),
        ("folder", "give the name of a file"),
        ("loop/x", "a folder is needed"),
        ("n" * 300, "give a shorter name"),
    ):
        with pytest.raises(UserError, match=says):
            write_text(tmp_path / name, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "loop"]
    longest = tmp_path / ("n" * 251 + ".txt")
    write_text(longest, "x")  # although its temporary name has to hold more
    assert longest.read_text() == "x"


def test_a_line_is_appended_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "metrics.jsonl"
    append_line(file, "one")
    append_line(file, "two")
    assert file.read_text() == "one\ntwo\n"

    class Filling:
        """A file whose disk has room for three more bytes."""

        def __init__(self, path: object, *arguments: object, **options: object) -> None:
            self.file = open_file(path, *arguments, **options)
            self.room = 3

        def __enter__(self) -> Filling:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def write(self, data: memoryview) -> int:
            if self.room == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = self.file.write(data[: self.room])
            self.room -= written
            return written

    open_file = open
    monkeypatch.setattr("builtins.open", Filling)
    with pytest.raises(SystemRefusal, match=r"metrics\.jsonl: No space left"):
        append_line(file, "three")
    monkeypatch.undo()
    assert file.read_text() == "one\ntwo\n"


def test_a_full_disk_of_temporary_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(RuntimeError, match="a bug"), scratch():
        raise RuntimeError("a bug")
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1 << 20, 1 << 20, 0))
    for error in (RuntimeError("Protobuf serialization failed"), OSError(errno.ENOSPC, "full")):
        with pytest.raises(SystemRefusal, match="no space left for temporary files"), scratch():
            raise error
    with pytest.raises(UserError, match="--to: wrong"), scratch():
        raise UserError("--to: wrong")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(SystemRefusal, match="set TMPDIR"), scratch():
        pass
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_dead_processes_go(tmp_path: Path) -> None:
    for name in (".model.tmp999999999.onnx", ".plan.tmp999999999.json", f".last.tmp{os.getpid()}.pth", ".x.tmp1.json"):
        (tmp_path / name).touch()
    (tmp_path / "model.tmp3.onnx").touch()
    remove_leftovers(tmp_path, of=[tmp_path / "plan.json"])
    assert {path.name for path in tmp_path.iterdir()} == {
        *(".model.tmp999999999.onnx", f".last.tmp{os.getpid()}.pth", ".x.tmp1.json", "model.tmp3.onnx")
    }
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".x.tmp1.json", "model.tmp3.onnx"}  # process 1 is alive
