"""The taylor method with a latency table, as the tool runs it: the table is checked first, the scores follow it.

Some five seconds beside the baseline that the fixtures train.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from latency_tables import made_up_table

from compress.plan import WidthPlan
from compress.spaces import PreResNetSpace

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_taylor.py"
DEAR = "layer2.0.conv1"
BUDGET = ("--pruning-ratio", 0.1)


def write_table(path: Path, n_classes: int = 10) -> Path:
    made_up_table(PreResNetSpace(11, n_classes), (3, 32, 32), factors={DEAR: 100}).save(path)
    return path


def test_another_networks_table_is_refused_before_the_folder_is_made(prune: Callable[..., str], tmp_path: Path) -> None:
    file = write_table(tmp_path / "other.json", n_classes=7)
    options = {"search__method__latency_weight": 1.0, "search__latency_table": file}
    prune(*BUDGET, recipe=RECIPE, options=options, says=("search.latency_table", str(file), "num_classes = 7 there"))
    options["search__latency_table"] = tmp_path / "no.json"
    prune(*BUDGET, recipe=RECIPE, options=options, says=("search.latency_table", "no.json", "no such file"))
    del options["search__latency_table"]
    prune(
        *BUDGET, recipe=RECIPE, options=options, says=("recipe: search.latency_table = None", "latency_weight", "give")
    )
    options = {"search__latency_table": file}
    prune(*BUDGET, recipe=RECIPE, options=options, says=("search.latency_table", "has no use", "latency_weight = 0"))


def test_the_costly_layer_is_pruned_first(tool, tiny, baseline: Path, tmp_path: Path) -> None:
    options = tiny(search__method__latency_weight=100.0, search__latency_table=write_table(tmp_path / "table.json"))
    folder = tmp_path / "run"
    first = ("--checkpoint", baseline, *BUDGET)
    for stage in ("search", "select"):
        result = tool("prune", RECIPE, *options, *first, "--stage", stage, "--work-dir", folder)
        assert (result.code, result.stderr) == (0, "")
        first = ()
    info = json.loads((folder / "stages.json").read_text())["search"]["info"]
    assert (info["type"], info["latency_weight"]) == ("taylor", 100.0)
    plan = WidthPlan.load(folder / "plan.json")
    assert plan.widths[DEAR] < plan.sizes[DEAR]
    assert all(width == plan.sizes[name] for name, width in plan.widths.items() if name != DEAR)
