"""What a disturbed tool is compared with: the same command, undisturbed, and what of its files has to be equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moments import environment

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"


def trained(tool: Any, tiny: Any, finished: Path, name: str, whole: Path) -> list[object]:
    """Train in `whole` with tools/`name`.py; returns its arguments, all but the folder, which comes last."""
    given = ["--checkpoint", finished / "sliced.safetensors", "--teacher", finished / "baseline.json"]
    arguments = [name, RECIPE, *tiny(train__epochs=2), *(given if name == "finetune" else ()), "--work-dir"]
    assert tool(*arguments, whole).code == 0
    return arguments


def check_trained(folder: Path, whole: Path) -> None:
    """Assert that two trainings left the same network, record and rows, but for times."""
    for file in ("model.safetensors", "model.json", "recipe.json"):
        assert (folder / file).read_bytes() == (whole / file).read_bytes(), file
    lines = [(at / "metrics.jsonl").read_text().splitlines() for at in (folder, whole)]
    rows = [[{**json.loads(line), "seconds": 0} for line in kept] for kept in lines]
    assert rows[0] == rows[1]


def table_made(tool: Any, folder: Path, whole: Path) -> list[object]:
    """Make a latency table of invented times in `whole`; returns the arguments of the same one in `folder`."""
    options = ["--designs", 8, "--rounds", 4, "--cfg-options", "space.depth=11", "data.limit=60"]
    told = environment(folder, made_up=True)
    assert tool("profile_latency", RECIPE, "-o", whole / "t.json", *options, **told).code == 0
    return ["profile_latency", RECIPE, "-o", folder / "t.json", *options]


def check_table(folder: Path, whole: Path) -> None:
    """Assert that two tables are equal but for their dates, and that nothing else lies in `folder`."""
    tables = [json.loads((at / "t.json").read_text()) for at in (folder, whole)]
    assert [table.pop("date") != "" for table in tables] == [True, True]
    assert tables[0] == tables[1]
    assert {path.name for path in folder.iterdir()} == {"t.json", "t.html"}
