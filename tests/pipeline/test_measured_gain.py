"""A run whose budget is shared out by what fewer channels are measured to cost."""

from __future__ import annotations

from pathlib import Path

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


def test_channels_that_are_gone_are_worth_nothing():
    assert pad([2.0, 1.0, 0.0], 5) == [2.0, 1.0, 0.0, 0.0, 0.0]
    assert pad([], 2) == [0.0, 0.0]
