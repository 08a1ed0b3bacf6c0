"""Typed settings from plain values: a dataclass's annotations are the rules, for types, choices and ranges alike."""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal

from .errors import UserError, brief

LIKE = {int: "8", float: "0.1", str: "'name'", bool: "True"}


@dataclass(frozen=True)
class Range:
    """Which numbers a field may be: `gamma: Annotated[float, Range(at_least=0, at_most=1e6)]`; all must be finite.

    `remedy` ends the message.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    remedy: str = "correct it"

    def check(self, name: str, value: Any, *, whole: bool) -> None:
        """Raise UserError, naming `name`, unless `value` is a number in the range; `whole`: it must be an int."""
        fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        fits = fits and (isinstance(value, int) or math.isfinite(value))
        fits = fits and (self.at_least is None or value >= self.at_least) and (self.above is None or value > self.above)
        fits = fits and (self.at_most is None or value <= self.at_most) and (self.below is None or value < self.below)
        if not fits:
            number = "a whole number" if whole else "a finite number"
            rule = f"must be {number}{self._bounds(whole)}"
            raise UserError(rule, argument=name, value=value, remedy=self.remedy)

    def _bounds(self, whole: bool) -> str:
        bounds = (("of at least", self.at_least), ("above", self.above), ("at most", self.at_most))
        texts = [(word, bound) for word, bound in (*bounds, ("below", self.below)) if bound is not None]
        return "".join(
            f" {'and ' if i else ''}{word} {bound if whole else format(bound, 'g')}"
            for i, (word, bound) in enumerate(texts)
        )


Count = Annotated[int, Range(at_least=1, at_most=2**31 - 1)]
Seed = Annotated[int, Range(at_least=0, at_most=2**32 - 1)]
"""What NumPy's and PyTorch's generators both take."""
"""A number of things of which there is at least one."""


def build_settings(cls: type, values: Any, path: str = "") -> Any:
    """An instance of the dataclass `cls` from a mapping of plain values; `path` names the section in messages.

    Raises UserError for an unknown key (with the nearest known one), a missing one, a wrong type, choice or range.

    Example::

        build_settings(SelectConfig, {"floor": 8}, "select")
    """
    names = [spec.name for spec in fields(cls)]
    if not isinstance(values, Mapping):
        raise UserError(f"{path} = {brief(values)} must be a dict with keys out of {', '.join(names)}")
    prefix = f"{path}." if path else ""
    for key in values:
        if key not in names:
            what = f"unknown key {prefix}{brief(key)[1:-1]} = {brief(values[key])}"
            raise UserError(f"{what}; {_nearest(str(key), names, prefix)}")
    for spec in fields(cls):
        if spec.name not in values and spec.default is MISSING and spec.default_factory is MISSING:
            raise UserError(f"{prefix}{spec.name} is missing; add it")
    hints = hints_of(cls)
    converted = {key: convert(value, hints[key], prefix + key) for key, value in values.items()}
    try:
        return cls(**converted)
    except UserError as error:
        raise error.under(path) from None  # a class on its own does not know the section that it stands for


def convert(value: Any, hint: Any, path: str) -> Any:
    """`value` as the annotation `hint` has it: a dataclass, Mapping, tuple, Literal or scalar, each maybe optional, or
    one of some words in its place (`Literal["auto"] | int`), or a tuple (`int | tuple[int, int]`).

    Raises UserError, naming `path`, for another type, choice or range.
    """
    base, rules = _opened(hint)
    union = typing.get_origin(base) in (typing.Union, types.UnionType)
    if union and value is None and type(None) in typing.get_args(base):
        return None
    if union:
        words, option = _alternatives(base, value)
        if _is_one(value, words):
            return value
        try:
            return convert(value, Annotated[option, *rules] if rules else option, path)
        except UserError as error:
            raise (UserError(f"{error}, or give {_shown(words)}") if words else error) from None
    origin = typing.get_origin(base)
    if is_dataclass(base):
        return build_settings(base, value, path)  # type: ignore[arg-type]
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise UserError(f"{path} = {brief(value)} must be a dict, for example dict(type=...)")
        return {key: convert(item, typing.get_args(base)[1], f"{path}.{key}") for key, item in value.items()}
    if origin is tuple:
        return _tuple(value, typing.get_args(base), path)
    if base is Any:
        return value
    if origin is not Literal:
        value = _scalar(value, base, path)
    elif value is None and "none" in typing.get_args(base):
        value = "none"  # an override's `key=none` is read as None
    check_setting(path, value, Annotated[base, *rules] if rules else base)
    return value


def check_settings(settings: Any, section: str = "") -> None:
    """Raise UserError unless the fields of a dataclass's instance are of their Literals and within their Ranges.

    For the `__post_init__` of settings; `section` names them in messages.

    Example::

        def __post_init__(self) -> None:
            check_settings(self, "train")
    """
    for name, hint in hints_of(type(settings)).items():  # type: ignore[arg-type]
        check_setting(f"{section}.{name}" if section else name, getattr(settings, name), hint)


def check_setting(name: str, value: Any, hint: Any) -> None:
    """Raise UserError, naming `name`, unless `value` is one of the choices and in the range that `hint` has."""
    base, rules = _opened(hint)
    args = typing.get_args(base)
    if typing.get_origin(base) in (typing.Union, types.UnionType):
        words, option = _alternatives(base, value)
        if not (value is None and type(None) in args) and not _is_one(value, words):
            check_setting(name, value, Annotated[option, *rules] if rules else option)
        return
    for rule in rules:
        if isinstance(rule, Range):
            rule.check(name, value, whole=base is int)
    if typing.get_origin(base) is Literal and not _is_one(value, args):
        rule = f"must be one of {_shown(args)}"
        raise UserError(rule, argument=name, value=value, remedy="choose one")
    if typing.get_origin(base) is tuple and isinstance(value, Sequence):
        if args[-1] is not Ellipsis and len(value) != len(args):
            rule = f"must be a list of {len(args)} values"
            raise UserError(rule, argument=name, value=value, remedy="correct it")
        for i, item in enumerate(value):
            check_setting(f"{name}[{i}]", item, args[0] if args[-1] is Ellipsis else args[min(i, len(args) - 1)])


@cache
def hints_of(cls: Any) -> dict[str, Any]:
    """Field name -> annotation of a dataclass, with what `Annotated` adds."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {spec.name: hints[spec.name] for spec in fields(cls)}


def _opened(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type inside `Annotated`, and what stands beside it."""
    if typing.get_origin(hint) is Annotated:
        base, *rules = typing.get_args(hint)
        return base, tuple(rules)
    return hint, ()


def _alternatives(union: Any, value: Any) -> tuple[tuple[Any, ...], Any]:
    """The words of `Literal["auto"] | int`, which stand for a value of the one other type, and that type.

    Of `int | tuple[int, int]` it is the one that `value` looks like.
    """
    options = [option for option in typing.get_args(union) if option is not type(None)]
    words = [option for option in options if len(options) > 1 and typing.get_origin(option) is Literal]
    others = [option for option in options if option not in words]
    listed = isinstance(value, list | tuple)
    several = [each for each in others if (typing.get_origin(_opened(each)[0]) is tuple) == listed]
    (other,) = several if len(others) > 1 else others
    return tuple(word for option in words for word in typing.get_args(option)), other


def _is_one(value: Any, choices: Sequence[Any]) -> bool:
    return any(type(value) is type(choice) and value == choice for choice in choices)


def _shown(choices: Sequence[Any]) -> str:
    return ", ".join(map(repr, choices))


def _nearest(key: str, names: Sequence[str], prefix: str) -> str:
    near = difflib.get_close_matches(key, names, n=1)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    own = "" if prefix else "; a variable of the file's own begins with an underscore"
    return f"known keys: {', '.join(names)}{own}"


def _tuple(value: Any, items: tuple[Any, ...], path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UserError(f"{path} = {brief(value)} must be a list; write it in brackets")
    hints = [items[0]] * len(value) if items[-1] is Ellipsis else items
    if len(hints) != len(value):
        raise UserError(f"{path} = {brief(value)} must be a list of {len(hints)} values")
    return tuple(convert(v, hint, f"{path}[{i}]") for i, (v, hint) in enumerate(zip(value, hints, strict=True)))


def _scalar(value: Any, kind: Any, path: str) -> Any:
    if kind is float and type(value) is int and abs(value) < 2**1000:
        value = float(value)
    if type(value) is not kind:
        raise UserError(f"{path} = {brief(value)} must be of type {kind.__name__}; write it like {LIKE[kind]}")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{path} = {value!r} must be a finite number; correct it")
    return value
