"""Paths that stored files name stay inside their folder."""

import os
from pathlib import Path

import pytest

from compress.plan import UserError, inside


def test_paths_inside(tmp_path, monkeypatch):
    (tmp_path / "run/sub").mkdir(parents=True)
    (tmp_path / "run/link.jpg").symlink_to("sub/a.jpg")
    for name in ("a.jpg", "sub/a.jpg", "./a.jpg", "not/there.jpg", "link.jpg", "..a"):
        assert inside(tmp_path / "run", name, source="x.json") == tmp_path / "run" / name
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").symlink_to("run")  # the folder itself may be a link
    assert inside("other", "a.jpg", source="x.json") == Path("other/a.jpg")


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../secret", "sub/../../secret", "sub/..", "C:\\secret", "..\\secret", "", "out", "out/a", "up",
     "a\0b", 7, None, ["a"]],
)  # fmt: skip
def test_paths_that_lead_out(tmp_path, name):
    run = tmp_path / "run"
    (run / "sub").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (run / "out").symlink_to(tmp_path / "secret")
    (run / "up").symlink_to(os.path.join("..", "secret"))
    with pytest.raises(UserError) as caught:
        inside(run, name, source=run / "x.json")
    message = str(caught.value)
    assert message.startswith(f"{run / 'x.json'}: {str(name)!r} must be a path inside {run}")
    assert "\n" not in message
