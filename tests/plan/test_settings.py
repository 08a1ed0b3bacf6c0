"""Settings from plain values: types, choices and ranges are those of the annotations."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from compress.pipeline.recipe import Recipe
from compress.plan import Count, Range, UserError, brief, build_settings, check_settings
from compress.plan.settings import convert as convert_at
from compress.plan.settings import hints_of

Share = Annotated[float, Range(at_least=0, below=1, remedy="0.5 is usual")]


def convert(value: Any, hint: Any) -> Any:
    return convert_at(value, hint, "section.key")


@dataclass(frozen=True)
class Inner:
    count: Count = 1
    rate: Share | None = 0.5
    kind: Literal["a", "b", 2] = "a"
    pair: tuple[Share, Share] | None = None

    def __post_init__(self) -> None:
        check_settings(self, "inner")


@dataclass(frozen=True)
class Outer:
    inner: Inner | None = None
    names: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None


def test_none_is_for_optional_keys_only() -> None:
    assert convert(None, int | None) is None
    assert convert(None, Inner | None) is None
    assert convert(None, Literal["a"] | None) is None
    assert convert(None, Share | None) is None
    with pytest.raises(UserError, match=r"section\.key = None must be of type int"):
        convert(None, int)
    with pytest.raises(UserError, match=r"section\.key = None must be a dict"):
        convert(None, Inner)


def test_none_is_the_choice_of_that_name() -> None:
    """`--cfg-options data.augment=none` is read as None."""
    assert convert(None, Literal["crop", "none"]) == "none"
    assert convert(None, Literal["crop", "none"] | None) is None
    with pytest.raises(UserError, match=r"^section\.key = None: must be one of 'crop'"):
        convert(None, Literal["crop"])


def test_whole_numbers_serve_as_floats_but_not_the_other_way_round() -> None:
    assert convert(3, float) == 3.0
    assert type(convert(3, float)) is float
    assert type(convert(3, float | None)) is float
    for value in (3.0, "3"):
        with pytest.raises(UserError, match="type int"):
            convert(value, int)


def test_bool_is_no_number_and_a_number_no_bool() -> None:
    assert convert(True, bool) is True
    for value, hint in ((True, int), (False, float), (1, bool), (0, bool), ("False", bool)):
        with pytest.raises(UserError, match="must be of type"):
            convert(value, hint)


def test_lists_become_tuples_of_the_right_length_and_type() -> None:
    assert convert(["a", "b"], tuple[str, ...]) == ("a", "b")
    assert convert([1, 2, 3], tuple[float, float, float] | None) == (1.0, 2.0, 3.0)
    assert convert((1.0, 2.0, 3.0), tuple[float, float, float]) == (1.0, 2.0, 3.0)
    with pytest.raises(UserError, match=r"list of 3"):
        convert([1.0, 2.0], tuple[float, float, float])
    with pytest.raises(UserError, match=r"section\.key\[1\] = 'x'"):
        convert([1.0, "x", 2.0], tuple[float, float, float])
    for value in (1.0, "abc", {"a": 1}):
        with pytest.raises(UserError, match="must be a list"):
            convert(value, tuple[str, ...])


def test_nested_sections() -> None:
    outer = build_settings(Outer, {"inner": {"count": 2, "rate": 0}, "names": ["x"]}, "outer")
    assert outer == Outer(Inner(2, 0.0), ("x",))
    assert type(outer.inner.rate) is float
    assert build_settings(Outer, {"inner": None}, "outer") == Outer()
    with pytest.raises(UserError, match=r"unknown key outer\.inner\.cuont = 3; did you mean outer\.inner\.count\?"):
        build_settings(Outer, {"inner": {"cuont": 3}}, "outer")
    with pytest.raises(UserError, match=r"outer\.inner = 3 must be a dict with keys out of count, rate"):
        build_settings(Outer, {"inner": 3}, "outer")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1, -0.1])
def test_numbers_are_finite_and_in_their_range(value: float) -> None:
    for optional in (Share, Share | None, Annotated[float | None, Range(at_least=0, below=1, remedy="0.5 is usual")]):
        with pytest.raises(UserError, match=r"section\.key = .* must be a finite number"):
            convert(value, optional)
    with pytest.raises(UserError, match=r"^inner\.rate = .*: must be a finite number of at least 0 and below 1; 0\.5"):
        Inner(rate=value)
    with pytest.raises(UserError, match=r"^inner\.pair\[1\] = .* below 1; 0\.5 is usual"):
        Inner(pair=(0.5, value))


def test_settings_made_in_python_are_checked_alike() -> None:
    assert Inner(pair=(0, 0.5)).pair == (0, 0.5)
    assert Inner(kind=2).kind == 2
    for wrong in (0, True, 2.5, "3", None, 2**40):
        with pytest.raises(UserError, match=r"inner\.count = .*: must be a whole number of at least 1 and at most"):
            Inner(count=wrong)
    for wrong in ("c", [], None, 2.0, True):
        with pytest.raises(UserError, match=r"inner\.kind = .*: must be one of 'a', 'b', 2; choose one"):
            Inner(kind=wrong)
    with pytest.raises(UserError, match=r"inner\.pair = .* list of 2"):
        Inner(pair=(0.1,))


def test_values_are_shown_short() -> None:
    assert brief("x" * 5000) == "'" + "x" * 79 + "..."
    assert brief(10**5000) == f"a whole number of {(10**5000).bit_length()} bits"
    assert brief(7) == "7"


def settings(cls: type) -> list[tuple[str, Any]]:
    """(name, annotation) of every setting of a recipe, sections opened."""
    found = []
    for name, hint in hints_of(cls).items():
        if dataclasses.is_dataclass(hint):
            found += [(f"{name}.{inner}", h) for inner, h in settings(hint)]
        else:
            found.append((name, hint))
    return found


@pytest.mark.parametrize(("name", "hint"), settings(Recipe))
def test_every_setting_refuses_an_object(name: str, hint: Any) -> None:
    for odd in (object(), Path(), {1}, b"x"):
        with pytest.raises(UserError, match=r"section\.key"):
            convert(odd, hint)


def test_every_number_of_a_recipe_has_a_range() -> None:
    """But for the ONNX opset, whose own check names the supported ones."""

    def bare(hint: Any) -> bool:
        if typing.get_origin(hint) is Annotated:
            return not any(isinstance(rule, Range) for rule in typing.get_args(hint)[1:])
        inner = [part for part in typing.get_args(hint) if part not in (type(None), Ellipsis)]
        return hint in (int, float) or (typing.get_origin(hint) is not Literal and any(map(bare, inner)))

    assert bare(tuple[int, int])
    assert not bare(Share | None)
    assert [name for name, hint in settings(Recipe) if bare(hint)] == ["export.opset"]
