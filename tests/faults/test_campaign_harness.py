"""The harness of the campaigns sees what it must see."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from audit import MARK, watched
from campaign import MISSING, obeys, places, replaced, well_ended

from compress.plan import UserError


def test_the_watch_sees_processes_canaries_and_marked_files(tmp_path: Path) -> None:
    marked = tmp_path / MARK
    marked.write_text("secret")
    with watched() as events:
        subprocess.run([sys.executable, "-c", ""], check=True)
        marked.read_text()
        sys.modules.pop("this", None)
        (tmp_path / "ordinary").write_text("fine")
    assert [event.partition(" ")[0] for event in events if "open" in event] == ["subprocess.Popen", "open"]
    with watched() as events:
        (tmp_path / "ordinary").read_text()
    assert events == []


def test_the_watch_sees_imports_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with watched() as events:
            importlib.import_module("this")
        assert [event.partition(" ")[0] for event in events] == ["exec"]
    assert "Namespaces" in capsys.readouterr().out


def test_obeys_tells_errors_of_users_from_others() -> None:
    assert obeys(lambda: 1) is None

    def one_line() -> None:
        raise UserError("file.json: x = 1: must be 2; correct it")

    def two_lines() -> None:
        raise UserError("file.json: x\ny")

    assert obeys(one_line, source="file.json") is not None
    with pytest.raises(AssertionError):
        obeys(one_line, source="other.json")
    with pytest.raises(AssertionError):
        obeys(two_lines)
    with pytest.raises(ZeroDivisionError):
        obeys(lambda: 1 // 0)


def test_places_and_replacing_reach_every_value() -> None:
    value = {"a": [1, {"b": 2}], "c": None}
    assert list(places(value)) == [(), ("a",), ("a", 0), ("a", 1), ("a", 1, "b"), ("c",)]
    assert replaced(value, ("a", 1, "b"), "x") == {"a": [1, {"b": "x"}], "c": None}
    assert replaced(value, ("a", 1), MISSING) == {"a": [1], "c": None}
    assert value == {"a": [1, {"b": 2}], "c": None}


def test_well_ended_refuses_tracebacks_and_many_lines() -> None:
    well_ended(0, "")
    well_ended(2, "warning: old\nerror: x; do y\n")
    for code, text in ((1, ""), (2, ""), (2, "error: a\nerror: b\n"), (0, "Traceback (most recent call last)")):
        with pytest.raises(AssertionError):
            well_ended(code, text)
