"""Tests of a folder run in one process, so that what they train and export is made once."""

from __future__ import annotations


def test_a_test_carries_its_folder_to_where_processes_are_chosen(request):
    (mark,) = request.node.iter_markers("xdist_group")
    assert mark.args == ("tests",)
    if getattr(request.config.option, "loadgroup", False):
        # pytest 9.2 keeps names of tests where pytest-xdist 3.8 does not write them, so that no group has any effect.
        assert request.node.nodeid.endswith("@tests")
