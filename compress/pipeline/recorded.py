"""The recipe that a run's folder records, for whoever needs the run's data: plain values, from which nothing runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..plan import UserError
from ..plan.run_files import recipe_of
from .folder import RECIPE, RunFolder
from .recipe import Recipe, make_recipe
from .recipe_file import data_recipe


def recorded_recipe(source: str | Path, overrides: Sequence[str] = (), *, remedy: str) -> Recipe:
    """The recipe in the recipe.json of the run folder `source`, or of the folder that the file `source` lies in.

    The folder may be a stranger's: nothing that it names is run or downloaded. `remedy` is what the tool proposes where
    there is no recipe, or a broken one.
    """
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    record = RunFolder.recorded(folder)
    if record is None:
        raise UserError(f"{source}: no {RECIPE} in {folder}, which would name its data; {remedy}")
    name = str(folder / RECIPE)
    values = data_recipe(recipe_of(record), name)
    if isinstance(data := values.get("data"), Mapping) and data.get("download") is True:
        values["data"] = {**data, "download": False}
    try:
        return make_recipe(values, overrides, source=name, kind=Recipe)
    except UserError as error:
        if error.places[:1] != (name,):  # of the overrides, which another recipe does not mend
            raise
        raise UserError(f"{error}; or {remedy}") from None
