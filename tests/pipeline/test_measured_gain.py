"""A run whose budget is shared out by what fewer channels are measured to cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.pipeline.harms import pad
from compress.plan import read_json

RECIPE = Path(__file__).resolve().parents[2] / "recipes/width/preresnet20_digits_rarts.py"


def test_the_select_stage_measures_the_network_that_the_search_left(tool, tiny, baseline, finished, tmp_path):
    widths = {}
    for gain in ("balanced", "measured"):
        folder, options = tmp_path / gain, tiny(select__gain=gain, select__images=16)
        from_search = ("--checkpoint", baseline, "--search-from", finished[0], "--macs-ratio", 0.5)
        for stage in ("search", "select"):
            result = tool("prune", RECIPE, *options, *from_search, "--stage", stage, "--resume", "--work-dir", folder)
            assert (result.code, result.stderr) == (0, "")
        assert ("16 training images" in result.stdout) == (gain == "measured")
        plan = read_json(folder / "plan.json")
        assert plan["select"]["gain"] == gain
        assert plan["macs"]["after"] <= 0.5 * plan["macs"]["before"]
        widths[gain] = {name: len(group["kept"]) for name, group in plan["groups"].items()}
    assert widths["measured"] != widths["balanced"]


def test_harms_are_measured_once_for_every_search(tool, tiny, baseline, finished, tmp_path):
    """`finished` was searched without them: the first run measures, those that take its search take what it found."""

    def selected(folder, source, ratio, images, code=0):
        options = tiny(select__gain="measured", select__images=images)
        arguments = (*options, "--checkpoint", baseline, "--search-from", source, "--macs-ratio", ratio)
        for stage in ("search", "select"):
            result = tool("prune", RECIPE, *arguments, "--stage", stage, "--resume", "--work-dir", tmp_path / folder)
            assert result.code == (code if stage == "select" else 0), result.stderr
        return result.stderr or "training images what fewer channels cost" in result.stdout

    assert selected("first", finished[0], 0.5, 16)
    assert not selected("second", tmp_path / "first", 0.7, 16)
    kept = [(tmp_path / folder / "harms.json").read_bytes() for folder in ("first", "second")]
    assert kept[0] == kept[1]
    assert (tmp_path / "first" / "plan.json").read_bytes() != (tmp_path / "second" / "plan.json").read_bytes()
    assert selected("more", tmp_path / "first", 0.5, 32), "of more images they are measured again"
    other = read_json(tmp_path / "first" / "harms.json")
    other["made_of"]["network"] = "0" * 64
    (tmp_path / "first" / "harms.json").write_text(json.dumps(other))
    assert selected("other", tmp_path / "first", 0.5, 16), "of another network, too"
    (tmp_path / "first" / "harms.json").write_text("{")
    damaged = tmp_path / "first" / "harms.json: not valid JSON"
    assert str(damaged) in selected("bad", tmp_path / "first", 0.5, 16, code=2)


@pytest.mark.parametrize(
    ("options", "arguments", "says"),
    [
        (
            {"search__batch_size": 40},
            ("--macs-ratio", 0.5, "--method", "magnitude"),
            "search.batch_size = 40: more than",
        ),
        ({}, ("--pruning-ratio", 0.5), "select.gain = 'measured': a --pruning-ratio budget limits no cost"),
        ({}, (), "select.gain = 'measured': a free budget limits no cost"),
        ({"select__floor": 0}, ("--macs-ratio", 0.5), "select.floor = 0: a group of which nothing is kept"),
    ],
)
def test_where_nothing_can_be_measured_nothing_is_begun(refused, tiny, baseline, options, arguments, says):
    options = tiny(**{"select__gain": "measured", "data__limit": 30, **options})
    refused("prune", RECIPE, *options, "--checkpoint", baseline, *arguments, says=(says,))


def test_channels_that_are_gone_are_worth_nothing():
    assert pad([2.0, 1.0, 0.0], 5) == [2.0, 1.0, 0.0, 0.0, 0.0]
    assert pad([], 2) == [0.0, 0.0]
