"""Benchmarks that would read test images after tuning, or write a result without its rivals, stop in one line."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import _harness
import width_search


def test_a_result_with_a_rival_is_not_replaced_by_one_without(tmp_path, monkeypatch):
    monkeypatch.setattr(_harness, "results_file", lambda name: tmp_path / f"{name}.json")
    _harness.check_rivals("figures", "no_such_package")
    (tmp_path / "figures.json").write_text("{}")
    _harness.check_rivals("figures", "json")
    with pytest.raises(SystemExit, match=r"^figures\.json: has rows of no_such_package, which is not installed here"):
        _harness.check_rivals("figures", "json", "no_such_package")


def test_settings_that_saw_test_images_are_not_judged_by_them_again():
    args = Namespace(tune=False, gather=False, quick=False)
    with pytest.raises(SystemExit, match=r"^width_search\.py: its settings were chosen after a table of test images"):
        width_search.main(args)
