"""Tests of a folder run in one process, so that what they train and export is made once; the longest begin."""

from __future__ import annotations

from pathlib import Path

from longest_first import LONGEST, TOGETHER, place


def test_a_test_carries_its_folder_to_where_processes_are_chosen(request):
    (mark,) = request.node.iter_markers("xdist_group")
    assert mark.args == ("tests",)
    if getattr(request.config.option, "loadgroup", False):
        # pytest 9.2 keeps names of tests where pytest-xdist 3.8 does not write them, so that no group has any effect.
        assert request.node.nodeid.endswith("@tests")


def test_the_longest_folders_start_first(request):
    named = {*LONGEST, *TOGETHER, *TOGETHER.values()}
    assert [name for name in named if not Path(__file__).with_name(name).is_dir()] == []
    own = [item for item in request.session.items if item.path.parent.name == "tests"]
    assert {place(item) for item in own} == {len(LONGEST)}
    if hasattr(request.config, "workerinput"):
        places = [place(item) for item in request.session.items]
        assert places == sorted(places)
