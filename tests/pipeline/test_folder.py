"""The run folder: who may write to it, and its record of finished stages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.pipeline.folder import RunFolder
from compress.pipeline.working import sole_worker
from compress.plan import UserError

RECORD = {
    "recipe": {"seed": 0, "search": {"epochs": 2}},
    "checkpoint": {"path": "a.pth", "sha256": "12"},
    "budget": {"kind": "free", "value": None},
}


def test_peek_writes_nothing(tmp_path: Path) -> None:
    assert RunFolder.peek(tmp_path / "new", RECORD, resume=False) == {}
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    assert RunFolder.peek(tmp_path / "empty", RECORD, resume=True) == {}
    assert list((tmp_path / "empty").iterdir()) == []


def test_what_a_process_leaves_that_is_killed_while_it_begins_does_not_occupy(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".recipe.tmp123.json").touch()
    assert RunFolder.peek(tmp_path, RECORD, resume=False) == {}
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="not empty, and not a run of ours"):
        RunFolder.peek(tmp_path, RECORD, resume=False)


def test_temporary_files_behind_a_link_out_of_the_folder_are_not_ours(tmp_path: Path) -> None:
    """A run that somebody gives away may have links in it."""
    run, elsewhere, dead = tmp_path / "run", tmp_path / "elsewhere", ".notes.tmp999999999.txt"
    for folder in (run / "search", elsewhere):
        folder.mkdir(parents=True)
        (folder / dead).touch()
    (run / "link").symlink_to(elsewhere)
    with sole_worker(run):
        assert not (run / "search" / dead).exists()
    assert (elsewhere / dead).exists()


def test_create_then_go_on(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "a" / "run", RECORD)
    assert RunFolder.recorded(folder.path) == RECORD
    with folder.stage("load") as figures:
        figures["top1"] = 12.5
    with folder.stage("select"):
        pass
    done = RunFolder.peek(folder.path, RECORD, resume=True)
    assert list(done) == ["load", "select"]
    assert done["load"]["top1"] == 12.5
    assert done["load"]["seconds"] >= 0
    assert done["load"]["finished"].startswith("20")


def test_a_stage_that_raises_is_not_recorded(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", RECORD)
    with pytest.raises(KeyboardInterrupt), folder.stage("search"):
        raise KeyboardInterrupt
    assert folder.stages == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_stage_whose_figures_are_not_finite_is_not_recorded(tmp_path: Path, value: float) -> None:
    folder = RunFolder.create(tmp_path / "run", RECORD)
    says = rf"run: search: info\.strength = {value}; figures must be"
    with pytest.raises(UserError, match=says), folder.stage("search") as figures:
        figures["info"] = {"strength": value}
    assert folder.stages == {}


def test_create_keeps_an_existing_record(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, RECORD)
    RunFolder.create(tmp_path, {"recipe": {}})
    assert RunFolder.recorded(tmp_path) == RECORD


def test_occupied(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", RECORD)
    with pytest.raises(UserError, match=r"--work-dir .*run: already holds a run; add --resume"):
        RunFolder.peek(tmp_path / "run", RECORD, resume=False)
    (tmp_path / "file").touch()
    for resume in (False, True):
        with pytest.raises(UserError, match="not empty, and not a run of ours"):
            RunFolder.peek(tmp_path, RECORD, resume=resume)
        with pytest.raises(UserError, match="is a file; give a folder"):
            RunFolder.peek(tmp_path / "file", RECORD, resume=resume)
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        RunFolder.create(tmp_path / "file" / "run", RECORD)


def test_other_settings_are_named(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, RECORD)
    other = {**RECORD, "recipe": {"seed": 1, "search": {"epochs": 2, "gamma": 0.1}}}
    with pytest.raises(UserError) as error:
        RunFolder.peek(tmp_path, other, resume=True)
    message = str(error.value)
    assert "recipe.seed: 0 there, 1 now" in message
    assert "recipe.search.gamma: None there, 0.1 now" in message
    assert "recipe.search.epochs" not in message
    checkpoint = {"path": "b.pth", "sha256": "34"}
    with pytest.raises(UserError, match=r"\(checkpoint\.path: 'a\.pth' there, 'b\.pth' now\)"):
        RunFolder.peek(tmp_path, {**RECORD, "checkpoint": checkpoint}, resume=True)
    with pytest.raises(UserError, match=r"checkpoint\.sha256: '12' there, '34' now"):
        RunFolder.peek(tmp_path, {**RECORD, "checkpoint": {"path": "a.pth", "sha256": "34"}}, resume=True)


def test_many_differences_are_counted(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, {**RECORD, "recipe": dict.fromkeys("abcde", 0)})
    with pytest.raises(UserError, match="; 2 more"):
        RunFolder.peek(tmp_path, {**RECORD, "recipe": dict.fromkeys("abcde", 1)}, resume=True)


def test_another_kind_of_run(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, {"train": {}})
    for resume in (False, True):
        with pytest.raises(UserError, match="holds a run of `nncompress train`; give a new folder"):
            RunFolder.peek(tmp_path, RECORD, resume=resume)


def test_another_run_of_the_same_kind(tmp_path: Path) -> None:
    """Such as fine-tuning with a teacher and without."""
    checkpoint = {"path": "a.pth", "sha256": "12"}
    record = {"finetune": {}, "checkpoint": checkpoint}
    RunFolder.create(tmp_path, {**record, "teacher": checkpoint})
    with pytest.raises(UserError, match="already holds a run; add --resume"):
        RunFolder.peek(tmp_path, record, resume=False)
    with pytest.raises(UserError, match=r"other settings \(teacher\.path: 'a\.pth' there, None now"):
        RunFolder.peek(tmp_path, record, resume=True)


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_damaged_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(UserError, match=r"recipe\.json"):
        RunFolder.recorded(tmp_path)


def test_records_survive_the_way_through_json(tmp_path: Path) -> None:
    """A record equals itself after it was written, or every resume would find other settings."""
    record = {**RECORD, "recipe": {"lr": 0.1, "tiny": 1e-30, "list": [0.5, 1], "none": None, "text": "ä"}}
    RunFolder.create(tmp_path, record)
    assert json.loads((tmp_path / "recipe.json").read_text()) == record
    assert RunFolder.peek(tmp_path, record, resume=True) == {}
