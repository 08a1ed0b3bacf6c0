"""The recipe that a run's folder records, for whoever needs the run's data."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..plan import UserError, write_json
from .folder import RECIPE, RunFolder
from .recipe import Recipe, load_recipe


def recorded_recipe(source: str | Path, overrides: Sequence[str] = (), *, remedy: str) -> Recipe:
    """The recipe in the recipe.json of the run folder `source`, or of the folder that the file `source` lies in.

    `remedy` is what the tool proposes where there is none.
    """
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    record = RunFolder.recorded(folder)
    if record is None:
        raise UserError(f"{source}: no {RECIPE} in {folder}, which would name its data; {remedy}")
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / RECIPE
        write_json(written, next((record[key] for key in ("recipe", "train", "finetune") if key in record), None))
        return load_recipe(written, overrides)
