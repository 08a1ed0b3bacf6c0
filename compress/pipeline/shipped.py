"""The recipes that come with the project, named without a path: `width/preresnet20_digits_rarts`."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
PARTS = ("_base_", "mmdet")
"""Folders of what recipes are made of, which are none themselves."""


def recipes_folder() -> Path:
    """Where the recipes are: inside an installed package, beside the package in a checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"


def shipped_recipes() -> dict[str, str]:
    """Name of every recipe that comes with the project -> the first line of what it says of itself."""
    folder = recipes_folder()
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if len(parts) > 1 and not set(parts) & set(PARTS):
            found["/".join(parts)] = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]
    return found


def recipe_path(recipe: str | Path) -> Path:
    """The file that `recipe` names: itself, or, without a suffix and where there is no such file, one that is shipped.

    Example::

        recipe_path("width/preresnet20_digits_rarts")  # .../recipes/width/preresnet20_digits_rarts.py
    """
    path = Path(recipe)
    if path.suffix or path.exists() or str(recipe) not in shipped_recipes():
        return path
    return recipes_folder() / f"{recipe}.py"
