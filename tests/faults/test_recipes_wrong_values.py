"""Recipes with a wrong value in every place, from files of data, records and --cfg-options: one line, or a recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from audit import MARK
from campaign import MISSING, WRONG, obeys, places, replaced, spread, tally

from compress.engine.settings import make_method, make_schedule
from compress.pipeline.recipe import load_recipe
from compress.pipeline.recorded import recorded_recipe

pytestmark = pytest.mark.filterwarnings("ignore:.* has no effect")

ROOT = Path(__file__).resolve().parents[2]
CODE = (f"{MARK}.py", {"type": "subprocess.call", "args": f"touch {MARK}", "shell": True}, {"_base_": f"{MARK}.py"})
"""Values that ask for code."""
METHODS = {
    "preresnet20_digits_rarts": ("search.penalty=latency", f"search.latency_table={MARK}.json"),
    "preresnet20_digits_tas": (
        "search.method={'ratios': [0.3, 1.0], 'target': 0.5, 'cost_weight': 2.0, 'tau': 5.0, 'tau_end': 0.1}",
    ),
    "preresnet20_digits_rvsm": ("search.method={'penalty': 'l1', 'beta': 1.0}",),
    "preresnet20_digits_wdpruning": ("search.method={'target': 0.5, 'start': 3.0, 'multiplier_rate': 10.0}",),
    "preresnet20_digits_taylor": ("search.method={'batches': 20, 'latency_weight': 0.0}",),
    "preresnet20_digits_magnitude": ("search.method={'p': 2}",),
    "preresnet20_digits_darts2": ("search.method={'xi': 0.1, 'epsilon': 0.01}",),
}  # fmt: skip
"""Recipe -> overrides that fill what stands at its defaults."""


def full(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """A recipe as JSON with every option given."""
    if name.endswith("darts2"):
        overrides = (overrides[0], "search.optimizer={'_delete_': True, 'type': 'AdamW', 'betas': [0.9, 0.99]}")
    more = ("data.mean=[0.3,0.3,0.3]", "data.std=[0.3,0.3,0.3]", "data.limit=60", "data.resize=32")
    return load_recipe(ROOT / f"recipes/width/{name}.py", [*more, *overrides]).to_json()


def cases() -> list[tuple[str, tuple, Any]]:
    """(recipe, place, wrong value): all places of the first recipe, those of the method and optimiser of others."""
    found = []
    for i, (name, overrides) in enumerate(METHODS.items()):
        for path in places(full(name, overrides)):
            if i == 0 or path[:2] in (("search", "method"), ("search", "optimizer")):
                found += [(name, path, wrong) for wrong in (*WRONG, *CODE, MISSING)]
    return found


def read(path: Path) -> None:
    """Read a recipe and make all that a run makes of its settings before it opens any other file."""
    recipe = load_recipe(path)
    for section in (recipe.train, recipe.search, recipe.finetune):
        make_schedule(section)
    make_method(recipe.search)
    written = json.loads(json.dumps(recipe.to_json(), allow_nan=False))
    record = path.with_name("recipe.json")
    record.write_text(json.dumps({"train": written}))
    written["data"]["download"] = False  # which a record alone does not start
    assert recorded_recipe(path, remedy="give --recipe RECIPE").to_json() == written
    record.unlink()


def campaign(chosen: Sequence[tuple[str, tuple, Any]], tmp_path: Path) -> int:
    """Try `chosen`; returns how many were refused."""
    whole = {name: full(name, overrides) for name, overrides in METHODS.items()}
    file = tmp_path / "wrong.json"
    refused = 0
    for name, path, wrong in chosen:
        if wrong is MISSING and path == ():
            continue
        file.write_text(json.dumps(replaced(whole[name], path, wrong)))
        try:
            refused += obeys(lambda: read(file), source="wrong.json") is not None
        except Exception as error:
            raise AssertionError(f"{name}: {'.'.join(map(str, path))} = {wrong!r}") from error
        assert [found.name for found in tmp_path.iterdir()] == ["wrong.json"]
    return refused


def test_some_wrong_values(tmp_path: Path) -> None:
    chosen = spread(cases(), 120)
    assert campaign(chosen, tmp_path) > 90


@pytest.mark.faults
def test_wrong_values_in_every_place(tmp_path: Path) -> None:
    chosen = cases()
    refused = campaign(chosen, tmp_path)
    tally("recipes: a wrong value in every place", len(chosen), len(chosen))
    assert len(chosen) > 1500
    assert refused > 0.8 * len(chosen)


def test_a_right_recipe_is_read(tmp_path: Path) -> None:
    for name, overrides in METHODS.items():
        (tmp_path / "right.json").write_text(json.dumps(full(name, overrides)))
        assert obeys(lambda: read(tmp_path / "right.json")) is None
