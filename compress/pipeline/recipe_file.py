"""Files that hold recipes: Python, which runs, where a user named it; JSON and YAML, which are data."""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..plan import UserError, brief, read_json
from ..plan.run_files import recipe_of
from .plain import plain

PYTHON, DATA = (".py",), (".json", ".yaml", ".yml")
MOST_BYTES = 4 << 20
"""Recipes are text of a few kilobytes."""
BOM = "\ufeff"
BASES = "_base_"
CODE = (BASES, "custom_imports")
"""What MMEngine's configs open and import."""


def read_values(path: Path) -> tuple[dict[str, Any], bool]:
    """What the recipe `path` says, as plain values, and whether it is data, so that nothing it names may run.

    Raises UserError for a file that is missing, of another kind, or broken.
    """
    name = f"RECIPE {path}"
    if not path.is_file():
        what = "is a folder; give a file" if path.is_dir() else "no such file"
        raise UserError(f"{name}: {what}; `nncompress recipes` lists those that come with compress")
    if path.suffix not in PYTHON + DATA:
        raise UserError(f"{name}: must be a file in Python (.py), JSON or YAML, and end in {', '.join(PYTHON + DATA)}")
    if path.suffix in DATA:
        return read_data(path, name), True
    config = run_python(path, name)
    if {"model", "train_dataloader"} <= config.keys():
        raise UserError(f"{name}: is MMDetection's config; name it as space.config in a recipe of a detector")
    # Names with an underscore are the file's own variables; MMEngine has acted on custom_imports.
    own = {key: value for key, value in config.items() if not key.startswith("_") and key != "custom_imports"}
    return plain(own, "recipe"), False


def read_data(path: Path, name: str) -> dict[str, Any]:
    """The JSON or YAML file `path` as plain values, of a run's recipe.json the recipe in it: nothing that stands in it
    is run, imported or opened."""
    text = _text(path, name)
    try:
        values = read_json(path, remedy="correct the file") if path.suffix == ".json" else _yaml(text, path)
    except UserError as error:
        raise UserError(f"RECIPE {error}") from None
    return data_recipe(_recorded(values), name)


def _recorded(values: Any) -> Any:
    """The recipe in a run's recipe.json, where `values` are such; else `values`."""
    recipe = recipe_of(values) if isinstance(values, Mapping) and "space" not in values else None
    return recipe if isinstance(recipe, Mapping) and "space" in recipe else values


def data_recipe(values: Any, name: str) -> dict[str, Any]:
    """`values`, read from a file of data, as a recipe's; UserError, beginning with `name`, where they are none."""
    if not isinstance(values, Mapping):
        raise UserError(f"{name}: holds {brief(values)}, not a recipe's sections; restore it, or give another recipe")
    if code := next((key for key in CODE if key in values), None):
        raise UserError(
            f"{name}: {code} = {brief(values[code])}: only recipes in Python have bases and imports; write what it "
            "means into the file"
        )
    return plain({key: value for key, value in values.items() if not str(key).startswith("_")}, name)


def run_python(path: Path, name: str) -> Any:
    """Run the MMEngine config `path`, which a user named, with its bases; returns MMEngine's Config.

    Raises UserError, beginning with `name`, for whatever the file raises.
    """
    from mmengine.config import Config

    try:
        _check_bases(path.absolute(), name, ())
        return Config.fromfile(str(path.absolute()), lazy_import=False)
    except UserError:
        raise
    except BaseException as error:  # a recipe may raise anything, which is its author's to mend
        if not isinstance(error, Exception | SystemExit) and not _raised_by_config(error):
            raise
        raise UserError(f"{name}: cannot be read ({_reason(error)}); correct the file") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        where = f"line {error.lineno} of {Path(error.filename or '').name}"
        return f"SyntaxError: {error.msg}, {where}"
    try:
        text = " ".join(str(error).split())[:400]
    except Exception:  # noqa: BLE001 (a recipe's own exception may raise anything in its __str__)
        text = "its message cannot be shown"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _raised_by_config(error: BaseException) -> bool:
    """Whether a `raise` of a config itself is behind `error`, and not Ctrl-C while it ran."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or BASES not in trace.tb_frame.f_globals:
        return False
    return dis.opname[trace.tb_frame.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"


def _check_bases(path: Path, name: str, way: tuple[Path, ...]) -> None:
    """UserError for bases that lead back to themselves, which MMEngine would follow, and for those that are data."""
    if path in way:
        round_trip = " -> ".join(file.name for file in (*way[way.index(path) :], path))
        raise UserError(f"{name}: its {BASES} lead back to themselves ({round_trip}); take one of them out")
    tree = ast.parse(_text(path, name), path.name)  # MMEngine would name a temporary file
    for base in _bases(tree):
        if not base.endswith(PYTHON):
            raise UserError(f"{name}: {BASES} = {brief(base)} in {path.name}: must be in Python; use a .py file")
        file = (path.parent / base).resolve()
        if "::" not in base and file.is_file():
            _check_bases(file, name, (*way, path))


def _bases(tree: ast.Module) -> Iterator[str]:
    """The bases that a config names by plain text."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == BASES for t in node.targets):
            listed = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            for part in listed:
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def _text(path: Path, name: str) -> str:
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise UserError(f"{name}: {path.name} has {size} bytes, the most is {MOST_BYTES}; give a recipe")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise UserError(f"{name}: {path.name} is not UTF-8 ({where}); save it as UTF-8 text") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error}); correct the file") from None
    if text.startswith(BOM):
        raise UserError(f"{name}: {path.name} begins with a byte order mark; save it as UTF-8 without one")
    if "\0" in text:
        raise UserError(f"{name}: {path.name} has a NUL character; save it as UTF-8 text")
    return text


def _yaml(text: str, path: Path) -> Any:
    import yaml

    # Besides its own errors, PyYAML lets those of Python's constructors through (!!int x, !!timestamp, !!bool).
    broken = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
    try:
        return yaml.safe_load(text)
    except broken as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: not valid YAML ({type(error).__name__}: {reason}); correct the file") from None
