"""Recipes: files of settings, checked against the typed settings of each room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ..engine.data import DataConfig
from ..engine.settings import BaselineConfig, FinetuneConfig, SearchConfig
from ..export import ExportConfig
from ..measure import MeasureConfig
from ..plan import Seed, UserError, brief, build_settings, check_settings
from ..plan.settings import convert, hints_of
from ..pruning import SelectSection
from ..spaces import SPACES, TracedSpace, find_space, is_code, is_named, name_code
from .plain import merge_options, parse_options
from .recipe_file import read_values
from .shipped import recipe_path

METHOD = "search.method.type"
"""What names a search method; an override of it leaves the settings of the recipe's own method behind."""
MOST_NAME = 200
"""Characters of a recipe's name, which is a folder's too."""


class BaseRecipe:
    """What every recipe checks and says, whatever is run: frozen dataclasses with a name, a space and a seed."""

    name: str
    space: Mapping[str, Any]

    runs: ClassVar[tuple[str, ...]] = ()
    """Keys that name a file in Python, which such a run executes: only a user may name it."""
    command: ClassVar[str] = "prune"
    """The command that runs it, for those who give it to another one."""

    def __post_init__(self) -> None:
        check_settings(self)
        if (
            not 0 < len(self.name) <= MOST_NAME
            or not self.name.isprintable()
            or "/" in self.name
            or "\\" in self.name
            or self.name in (".", "..")
        ):
            raise UserError(
                f"name = {brief(self.name)}: names the run's folder: must be printable text of at most {MOST_NAME} "
                "characters without slashes; correct it, or rename the file"
            )
        self.check_space()

    def check_space(self) -> None:
        """UserError for arguments that the space does not have, or that are of the wrong types."""
        check_arguments("space", self.space["type"], self.space)

    @staticmethod
    def is_code(value: Any) -> bool:
        """Whether `value`, of one of the keys `runs`, names a file in Python."""
        return value is not None

    @staticmethod
    def allow(value: Any) -> None:
        """The user himself has named `value`, of one of the keys `runs`."""

    def to_json(self) -> dict[str, Any]:
        """All settings as plain JSON values, defaults filled in."""
        return _plain(asdict(self))  # type: ignore[call-overload]


def check_arguments(section: str, kind: str, values: Mapping[str, Any]) -> None:
    """UserError for arguments among `values` that the space called `kind` does not have, or of the wrong types."""
    known, hints = signature(SPACES[kind]).parameters, hints_of(SPACES[kind]) if is_dataclass(SPACES[kind]) else {}
    for key, value in values.items():
        if key == "type":
            continue
        if key not in known:
            raise UserError(f"{section}.{key}: {kind} has no such setting; it has {', '.join(known)}")
        if key in hints:
            convert(value, hints[key], f"{section}.{key}")


@dataclass(frozen=True)
class Recipe(BaseRecipe):
    """One full run's settings; each section is documented at its own class. `space` is {"type": name, ...}.

    Raises UserError for a value that is not one of its choices, or out of its range.
    """

    name: str
    space: Mapping[str, Any]
    data: DataConfig
    train: BaselineConfig
    search: SearchConfig
    finetune: FinetuneConfig
    select: SelectSection = field(default_factory=SelectSection)
    export: ExportConfig = field(default_factory=ExportConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    seed: Seed = 0


@dataclass(frozen=True)
class TracedRecipe(Recipe):
    """A run on any classifier: `space` is {"type": "traced", "model": its constructor}."""

    runs = ("space.model",)

    @staticmethod
    def is_code(value: Any) -> bool:
        """Whether `value` names the user's own code, and he has not allowed it yet."""
        return isinstance(value, str) and is_code(value) and not is_named(value)

    @staticmethod
    def allow(value: Any) -> None:
        """The user himself has named `value`: code runs, this one where another of its name was allowed before."""
        if isinstance(value, str) and is_code(value):
            name_code(value, argument="space.model")


R = TypeVar("R", bound=BaseRecipe)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe `path`, apply `overrides` ("search.epochs=4"), and check every key, type and value.

    `path` is a file, or names a recipe that comes with the project ("width/preresnet20_digits_rarts"). A recipe in
    Python is an MMEngine config and runs; JSON and YAML are data, and nothing that they name runs. Raises UserError for
    a missing or broken file, an unknown key (with the nearest known one), wrong values, and a recipe of a run that has
    no network of its own, such as a topology search.

    Example::

        recipe = load_recipe("recipes/width/preresnet20_digits_rarts.py", ["search.epochs=2"])
    """
    return load_recipe_of(Recipe, path, overrides)


def load_recipe_of(kind: type[R], path: str | Path, overrides: Sequence[str] = ()) -> R:
    """As `load_recipe`, for recipes of the class `kind`; UserError for one of another kind."""
    path = recipe_path(path)
    values, data = read_values(path)
    source = f"RECIPE {path}" if data else None
    return make_recipe({"name": path.stem, **values}, overrides, source=source, kind=kind)


def make_recipe(
    values: Mapping[str, Any],
    overrides: Sequence[str],
    *,
    source: str | None,
    kind: type[R],
) -> R:
    """The recipe of plain `values` with `overrides`, of the class `kind` or one derived from it.

    `source` is the file of data that they come from, None: Python. Raises UserError as `load_recipe` does, and where
    values of data name a file in Python that no override does.
    """
    options = parse_options(overrides)
    merged = merge_options(_of_method(values, options.get(METHOD)), options)
    try:
        own = _kind(merged.get("space"))
        if not issubclass(own, kind):
            raise UserError(
                f"space.type = {brief(merged['space']['type'])}: a recipe for `nncompress {own.command}`; give it "
                "there, or another recipe here"
            )
        for key in own.runs:
            section, _, last = key.partition(".")
            file = merged[section].get(last)
            if source is None or key in options:
                own.allow(file)
            elif own.is_code(file):
                raise UserError(
                    f"{key} = {brief(file)}: is Python, which a file of data must not run; name it yourself: give the "
                    f"recipe in Python, or --cfg-options {key}=FILE"
                )
        return build_settings(own, merged)
    except UserError as error:
        raise error.at(source or "recipe") from None


def _of_method(values: Mapping[str, Any], wanted: Any) -> Mapping[str, Any]:
    """`values` with the defaults of the method `wanted`, an override, in place of the settings of the recipe's own."""
    search = values.get("search")
    method = search.get("method") if isinstance(search, Mapping) else None
    if wanted is None or not isinstance(method, Mapping) or method.get("type") == wanted:
        return values
    return {**values, "search": {**search, "method": {"type": wanted}}}  # type: ignore[dict-item]


RECIPES: dict[str, type[BaseRecipe]] = {TracedSpace.name: TracedRecipe}
"""Type of the space -> class of its recipes, where it is not `Recipe`."""


def _kind(space: Any) -> type[BaseRecipe]:
    """The class of the recipes of a space; UserError for a section that has no known type."""
    if space is None:
        raise UserError("space is missing; add it, for example space=dict(type='preresnet', depth=20)")
    if not isinstance(space, Mapping):
        raise UserError(f"space = {brief(space)} must be a dict, for example dict(type='preresnet', depth=20)")
    kind = space.get("type")
    if not isinstance(kind, str) or find_space(kind) is None:
        raise UserError(f"space.type = {brief(kind)}: unknown space; choose one of {', '.join(sorted(SPACES))}")
    return RECIPES.get(kind, Recipe)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
