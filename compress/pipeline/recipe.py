"""Recipes: MMEngine config files checked against the typed settings of each room."""

from __future__ import annotations

import ast
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from ..engine.data import DataConfig
from ..engine.settings import FinetuneConfig, SearchConfig, TrainConfig
from ..export import ExportConfig
from ..measure import MeasureConfig
from ..plan import UserError
from ..pruning import SelectConfig
from ..spaces import find_space

WORDS = {"true": True, "false": False, "none": None}
"""Further spellings that --cfg-options takes for Python's."""

LIKE = {int: "8", float: "0.1", str: "'name'", bool: "True"}

BROKEN = (
    SyntaxError,
    NameError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    ImportError,
    OSError,
    RuntimeError,
    AssertionError,
)
"""What running a recipe, which is Python, raises when the file is wrong."""


@dataclass(frozen=True)
class Recipe:
    """One full run's settings; each section is documented at its own class. `space` is {"type": name, ...}."""

    name: str
    space: Mapping[str, Any]
    data: DataConfig
    train: TrainConfig
    search: SearchConfig
    finetune: FinetuneConfig
    select: SelectConfig = field(default_factory=SelectConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """All settings as plain JSON values, defaults filled in."""
        return _plain(asdict(self))


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read the MMEngine config `path`, apply `overrides` ("search.epochs=4"), and check every key and type.

    Raises UserError for a missing or broken file, an unknown key (with the nearest known one) or a wrong type.

    Example::

        recipe = load_recipe("recipes/width/preresnet20_digits_rarts.py", ["search.epochs=2"])
    """
    from mmengine.config import Config

    path = Path(path)
    if not path.is_file():
        raise UserError(f"RECIPE {path}: no such file; the recipes that come with compress are in recipes/")
    try:
        if path.suffix == ".py":
            ast.parse(path.read_text(encoding="utf-8"), path.name)  # MMEngine would name a temporary file
        config = Config.fromfile(str(path), lazy_import=False)
    except BROKEN as error:
        raise UserError(f"RECIPE {path}: cannot be read ({type(error).__name__}: {error}); correct the file") from None
    for text in overrides:
        _merge(config, text)
    if path.suffix == ".py" and {"model", "train_dataloader"} <= config.keys():
        raise UserError(f"RECIPE {path}: is MMDetection's config; name it as space.config in a recipe of a detector")
    # Names with an underscore are the file's own variables; MMEngine acts on custom_imports itself.
    values = {k: v for k, v in config.to_dict().items() if not k.startswith("_") and k != "custom_imports"}
    return _build(_kind(values), {"name": path.stem, **values}, "")


RECIPES: dict[str, type[Recipe]] = {}
"""Type of the space -> class of its recipes, where it is not `Recipe`."""


def _kind(values: Mapping[str, Any]) -> type[Recipe]:
    space = values.get("space")
    kind = space.get("type") if isinstance(space, Mapping) else None
    if kind is None:
        return Recipe
    find_space(kind)  # which may bring its class of recipes
    return RECIPES.get(kind, Recipe)


def _merge(config: Any, text: str) -> None:
    """Apply one override, "search.epochs=4", to an MMEngine config."""
    key, sign, written = text.partition("=")
    if not sign or not all(key.split(".")):
        raise UserError(f"--cfg-options {text!r}: must read key=value, for example search.epochs=4")
    try:
        value = WORDS[written] if written in WORDS else ast.literal_eval(written)
    except (ValueError, SyntaxError):
        value = written
    try:
        config.merge_from_dict({key: value})
    except (TypeError, KeyError):
        raise UserError(f"--cfg-options {text!r}: a value on the way to {key} is not a dict; correct the key") from None


def _build(cls: type, values: Any, path: str) -> Any:
    """An instance of the dataclass `cls` from a mapping; `path` names the section in messages."""
    if not isinstance(values, Mapping):
        raise UserError(f"recipe: {path} = {values!r} must be a dict with keys out of {', '.join(_names(cls))}")
    prefix = f"{path}." if path else ""
    for key in values:
        if key not in _names(cls):
            raise UserError(f"recipe: unknown key {prefix}{key} = {_shown(values[key])}; {_nearest(key, cls, prefix)}")
    for spec in fields(cls):
        if spec.name not in values and spec.default is MISSING and spec.default_factory is MISSING:
            raise UserError(f"recipe: {prefix}{spec.name} is missing; add it, or take it from a file of recipes/_base_")
    hints = typing.get_type_hints(cls)
    converted = {key: _convert(value, hints[key], prefix + key) for key, value in values.items()}
    try:
        return cls(**converted)
    except UserError as error:
        # A class on its own does not know the section that it stands for.
        message = str(error)
        raise UserError(f"recipe: {'' if message.startswith(path) else prefix}{message}") from None


def _shown(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _nearest(key: str, cls: type, prefix: str) -> str:
    near = difflib.get_close_matches(key, _names(cls), n=1)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    own = "" if prefix else "; a variable of the file's own begins with an underscore"
    return f"known keys: {', '.join(_names(cls))}{own}"


def _convert(value: Any, hint: Any, path: str) -> Any:
    """`value` as the annotation `hint` has it (a dataclass, Mapping, tuple, Literal or scalar, each maybe optional)."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    options = [option for option in (typing.get_args(hint) if union else (hint,)) if option is not type(None)]
    if value is None and (hint is type(None) or type(None) in typing.get_args(hint)):
        return None
    (option,) = options
    if is_dataclass(option):
        return _build(option, value, path)  # type: ignore[arg-type]
    origin = typing.get_origin(option)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise UserError(f"recipe: {path} = {value!r} must be a dict, for example dict(type=...)")
        _check_plain(value, path)
        return value
    if origin is tuple:
        return _tuple(value, typing.get_args(option), path)
    if origin is typing.Literal:
        return value  # the class says which are allowed
    return _scalar(value, option, path)


def _tuple(value: Any, items: tuple[Any, ...], path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UserError(f"recipe: {path} = {value!r} must be a list; write it in brackets")
    hints = [items[0]] * len(value) if items[-1] is Ellipsis else items
    if len(hints) != len(value):
        raise UserError(f"recipe: {path} = {value!r} must be a list of {len(hints)} values")
    return tuple(_scalar(v, hint, f"{path}[{i}]") for i, (v, hint) in enumerate(zip(value, hints, strict=True)))


def _scalar(value: Any, kind: type, path: str) -> Any:
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise UserError(f"recipe: {path} = {value!r} must be of type {kind.__name__}; write it like {LIKE[kind]}")
    _check_plain(value, path)
    return value


def _check_plain(value: Any, path: str) -> None:
    """Only what recipe.json can hold: dicts, lists, strings, finite numbers, True, False, None."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_plain(item, f"{path}[{i}]")
    elif value is not None and type(value) not in (int, float, str, bool):
        raise UserError(f"recipe: {path} = {value!r} must be a plain value, not a {type(value).__name__}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"recipe: {path} = {value!r} must be a finite number; correct it")


def _names(cls: type) -> list[str]:
    return [spec.name for spec in fields(cls)]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
