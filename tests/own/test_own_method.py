"""A method and a penalty that installed packages bring, in a run of the tools at a free ratio.

Some twenty seconds.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from installed import installed
from run_tool import run_tool
from tool_runs import RECIPE, TINY

import compress
from compress.engine.settings import SearchConfig
from compress.penalties import PENALTIES
from compress.plan import UserError, WidthPlan, load_scores
from compress.search import METHODS

HERE = Path(__file__).resolve().parent


@pytest.fixture
def own(tmp_path):
    """Both packages are there."""
    folder = tmp_path / "packages"
    folder.mkdir()
    with (
        installed(folder, HERE / "own_method.py", METHODS, "proportional"),
        installed(folder, HERE / "own_penalty.py", PENALTIES, "l0"),
    ):
        yield


def options(**changes):
    settings = TINY | {key.replace("__", "."): value for key, value in changes.items()}
    return ["--cfg-options", *(f"{key}={value}" for key, value in settings.items())]


def test_a_run_searches_with_them_and_removes_what_is_zero(own, tmp_path, capsys):
    recipe, base, work = tmp_path / "own.py", tmp_path / "base", tmp_path / "run"
    method = "dict(_delete_=True, type='proportional')"
    # At its first step the penalty cuts off what has fallen below sqrt(2 * 0.05 * 9.99), and all scores begin at 1.
    recipe.write_text(f"_base_ = [{str(RECIPE)!r}]\nsearch = dict(method={method}, penalty='l0', gamma=9.99)\n")
    small = options(search__fixed_scale=False)
    assert run_tool("train", RECIPE, "--work-dir", base, *small) == 0
    start = ("--checkpoint", base)
    for stage in ("search", "select", "slice"):
        code = run_tool("prune", recipe, *start, "--work-dir", work, "--stage", stage, *small)
        assert code == 0, capsys.readouterr().err
        start = ()
    info = json.loads((work / "stages.json").read_text())["search"]["info"]
    assert info == {"type": "proportional", "power": 1.0, "penalty": "l0", "gamma": 9.99, "strength": None}
    scores = torch.cat(list(load_scores(work / "scores.safetensors").values()))
    zeros = int((scores == 0).sum())
    assert 0 < zeros < len(scores)
    kept = WidthPlan.load(work / "plan.json").kept
    assert sum(map(len, kept.values())) <= len(scores) - zeros + len(kept), "of an empty group one stays"
    small_network = compress.load(work / "sliced")
    assert torch.isfinite(small_network(torch.randn(2, *small_network.card.input_size))).all()


def test_what_is_installed_is_offered_and_checked_like_our_own(own):
    with pytest.raises(UserError, match=r"search\.method\.type = 'x': must be one of .*'rarts'.*'proportional'"):
        SearchConfig(epochs=1, method={"type": "x"})
    with pytest.raises(UserError, match=r"search\.method\.power = -1\.0: must be"):
        SearchConfig(epochs=1, method={"type": "proportional", "power": -1.0})
    with pytest.raises(UserError, match=r"search\.penalty = 'l0': tas applies no such penalty.*proportional"):
        SearchConfig(epochs=1, method={"type": "tas"}, penalty="l0")


def test_without_them_there_is_no_such_method():
    with pytest.raises(UserError, match=r"search\.method\.type = 'proportional': must be one of"):
        SearchConfig(epochs=1, method={"type": "proportional"})
    with pytest.raises(UserError, match=r"search\.penalty = 'l0': must be one of 'subgradient', 'proximal', 'latency'"):
        SearchConfig(epochs=1, penalty="l0")
