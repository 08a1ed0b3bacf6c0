"""Another method than the recipe's, by its name alone; a run that is given nothing but the search of another one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.pipeline.recipe import load_recipe
from compress.plan import UserError, WidthPlan
from compress.search import METHODS

RECIPE = Path(__file__).resolve().parents[2] / "recipes/width/preresnet20_digits_rarts.py"


@pytest.mark.parametrize("name", ["joint", "netslim", "taylor", "darts2", "magnitude"])
def test_a_methods_defaults_replace_the_recipes(name):
    method = load_recipe(RECIPE, [f"search.method.type={name}"]).search.method
    assert method == {"type": name, **{k: v for k, v in method.items() if k != "type"}}
    assert set(method) - {"type"} <= set(METHODS[name].settings.__dataclass_fields__)
    assert "order" not in method


def test_settings_beside_the_name_are_the_new_methods():
    given = ["search.method.type=taylor", "search.method.latency_weight=0.0"]
    assert load_recipe(RECIPE, given).search.method["latency_weight"] == 0
    with pytest.raises(UserError, match=r"search.method.order: taylor has no such parameter"):
        load_recipe(RECIPE, ["search.method.type=taylor", "search.method.order=fused"])
    assert load_recipe(RECIPE, ["search.method.type=rarts"]).search.method["lam"] == 1.0, "the recipe's own"


def test_method_is_short_for_an_override(tool, tiny, baseline, tmp_path):
    arguments = (
        "--checkpoint",
        baseline,
        "--method",
        "magnitude",
        "--pruning-ratio",
        0.4,
        "--work-dir",
        tmp_path / "a",
    )
    result = tool("prune", RECIPE, *tiny(), *arguments, "--stage", "search")
    assert (result.code, result.stderr) == (0, "")
    record = json.loads((tmp_path / "a/recipe.json").read_text())
    assert record["recipe"]["search"]["method"]["type"] == "magnitude"


def test_a_search_brings_its_network(tool, tiny, finished, tmp_path):
    folder = tmp_path / "again"
    for stage in ("search", "select"):
        given = ("--macs-ratio", 0.7, "--search-from", finished[0]) if stage == "search" else ()
        result = tool("prune", RECIPE, *tiny(), *given, "--stage", stage, "--work-dir", folder)
        assert (result.code, result.stderr) == (0, "")
    assert (folder / "baseline.safetensors").read_bytes() == (finished[0] / "baseline.safetensors").read_bytes()
    assert WidthPlan.load(folder / "plan.json").record["budget"] == {"kind": "macs_ratio", "value": 0.7}


def test_a_run_that_is_not_there_is_called_missing(refused, tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, says in (("no", "no such folder"), ("empty", "has no baseline.safetensors")):
        given = ("--macs-ratio", 0.5, "--search-from", tmp_path / name)
        refused("prune", RECIPE, *tiny(), *given, says=(f"--search-from {tmp_path / name}: {says}",))
    given = ("--macs-ratio", 0.5, "--checkpoint", tmp_path / "run")
    refused("prune", RECIPE, *tiny(), *given, says=(f"--checkpoint {tmp_path / 'run'}: no such file or folder",))
