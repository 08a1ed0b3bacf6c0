"""Recipes: MMEngine config files checked against the typed settings of each room."""

from __future__ import annotations

import ast
import difflib
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

SCALARS = (int, float, str, bool)


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
        config = Config.fromfile(str(path), lazy_import=False)
    except (SyntaxError, NameError, FileNotFoundError, KeyError, TypeError) as error:
        raise UserError(f"RECIPE {path}: cannot be read ({type(error).__name__}: {error}); correct the file") from None
    config.merge_from_dict(dict(map(_override, overrides)))
    # Names with an underscore are the file's own variables; MMEngine acts on custom_imports itself.
    values = {k: v for k, v in config.to_dict().items() if not k.startswith("_") and k != "custom_imports"}
    return _build(Recipe, {"name": path.stem, **values}, "")


def _override(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise UserError(f"--cfg-options {text!r}: must read key=value, for example search.epochs=4")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def _build(cls: type, values: Any, path: str) -> Any:
    """An instance of the dataclass `cls` from a mapping; `path` names the section in messages."""
    if not isinstance(values, Mapping):
        raise UserError(f"recipe: {path} = {values!r} must be a dict with the keys {_names(cls)}")
    prefix = f"{path}." if path else ""
    for key in values:
        if key not in _names(cls):
            near = difflib.get_close_matches(key, _names(cls), n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys: {', '.join(_names(cls))}"
            raise UserError(f"recipe: unknown key {prefix}{key} = {values[key]!r}; {hint}")
    for spec in fields(cls):
        if spec.name not in values and spec.default is MISSING and spec.default_factory is MISSING:
            raise UserError(f"recipe: {prefix}{spec.name} is missing; add it, or take it from a file of recipes/_base_")
    hints = typing.get_type_hints(cls)
    return cls(**{key: _convert(value, hints[key], prefix + key) for key, value in values.items()})


def _convert(value: Any, hint: Any, path: str) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    nested = [option for option in options if is_dataclass(option)]
    if nested:
        return _build(nested[0], value, path)  # type: ignore[arg-type]
    if any(typing.get_origin(option) is tuple for option in options) and isinstance(value, list):
        return tuple(value)
    scalars = tuple(option for option in options if option in SCALARS)
    if scalars and len(scalars) == len([o for o in options if o is not type(None)]):
        if float in scalars and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) not in scalars:
            names = " or ".join(scalar.__name__ for scalar in scalars)
            raise UserError(f"recipe: {path} = {value!r} must be of type {names}")
    return value


def _names(cls: type) -> list[str]:
    return [spec.name for spec in fields(cls)]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
