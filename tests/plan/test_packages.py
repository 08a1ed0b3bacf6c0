"""Packages that are missing: one line that names the use, the package and what to install."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from compress.engine.data import DataConfig, load_data
from compress.plan import UserError, needs
from compress.search.toy_figure import draw_toy_model
from compress.spaces import SPACES

Missing = Callable[[str], None]


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Missing:
    """`missing("sklearn")` makes the package one that cannot be imported."""

    def hide(package: str) -> None:
        for name in list(sys.modules):
            if name.partition(".")[0] == package:
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)

    return hide


def test_what_is_there_is_returned() -> None:
    assert needs("json", package="JSON", extra="demo", what="this") is json


def test_the_digits_need_scikit_learn(missing: Missing) -> None:
    missing("sklearn")
    with pytest.raises(UserError) as told:
        load_data(DataConfig(type="digits"), seed=0)
    assert str(told.value).startswith("data.type = digits: needs scikit-learn, which cannot be imported (")
    assert str(told.value).endswith("); pip install 'nncompress[demo]'")


def test_a_figure_needs_matplotlib(missing: Missing, tmp_path: Path) -> None:
    missing("matplotlib")
    with pytest.raises(UserError, match=r"^a figure: needs matplotlib, .*; pip install 'nncompress\[demo\]'$"):
        draw_toy_model(tmp_path / "toy", steps=1, eta=0.01)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("package", "title"), [("mmcv", "MMCV"), ("mmdet", "MMDetection")])
def test_a_detector_needs_mmdetection(
    missing: Missing, monkeypatch: pytest.MonkeyPatch, package: str, title: str
) -> None:
    for name in list(sys.modules):
        if name.startswith("compress.detection"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(SPACES, "detector", raising=False)
    missing(package)
    with pytest.raises(UserError, match=rf"^a detector: needs {title}, .*; pip install 'nncompress\[detection\]'$"):
        import_module("compress.detection")
