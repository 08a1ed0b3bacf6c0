"""UserError: one line out of its parts, to which every caller adds what it knows of where the value came from."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Annotated

import pytest

from compress.plan import Range, SystemRefusal, UserError, build_settings, check_number, check_settings


def small(**more: object) -> UserError:
    return UserError("must be at least 32", argument="resize", value=16, remedy="raise it", **more)


def test_the_parts_make_one_line() -> None:
    assert str(small()) == "resize = 16: must be at least 32; raise it"
    assert str(UserError("must be even", argument="--batch", value="3")) == "--batch 3: must be even"
    assert str(UserError("is missing", argument="root", value=None)) == "root = None: is missing"
    assert str(UserError("is missing", argument="root", remedy="add it")) == "root: is missing; add it"
    assert str(UserError("a.json: no such file; restore it")) == "a.json: no such file; restore it"


def test_callers_add_section_file_and_flag() -> None:
    error = small().under("data").at("recipe").at("runs/a")
    assert str(error) == "runs/a: recipe: data.resize = 16: must be at least 32; raise it"
    assert (error.argument, error.value, error.rule, error.remedy) == (
        "data.resize",
        16,
        "must be at least 32",
        "raise it",
    )
    assert error.places == ("runs/a", "recipe")


def test_what_is_said_already_is_not_said_twice() -> None:
    within = small().under("data")
    assert str(within.under("data")) == str(within)
    assert str(within.at("recipe").at("recipe")) == f"recipe: {within}"
    assert str(small().under("")) == str(small())
    # A section whose name the argument merely begins with is another one.
    assert str(UserError("is odd", argument="database").under("data")) == "data.database: is odd"
    whole = UserError("search.accumulate = 3: must divide search.batch_size = 64; change one")
    assert str(whole.under("search")) == str(whole)


@pytest.mark.parametrize(
    "place", ["--latency-table my tables/a = b.json", "search.latency_table = 'my tables/a = b.json'"]
)
def test_a_file_is_named_once_with_its_flag_or_key(place: str) -> None:
    file = "my tables/a = b.json"
    for error in (UserError(f"{file}: no such file; make one"), UserError("no such file", remedy="make one").at(file)):
        assert str(error) == f"{file}: no such file; make one"
        assert str(error.at(place)) == f"{place}: no such file; make one"
        assert str(error.at(place).at("recipe")) == f"recipe: {place}: no such file; make one"
    assert str(small().at(file).at(place)) == f"{place}: {small()}"
    other = UserError(f"{file}.txt: no such file")
    assert str(other.at(place)) == f"{place}: {other}"


def test_a_plain_message_can_be_the_value_of_an_argument() -> None:
    missing = UserError("/x/y: no such folder; give another")
    assert (
        str(missing.of("root").under("data").at("recipe")) == "recipe: data.root = /x/y: no such folder; give another"
    )
    assert str(small().of("root").under("data")) == "data.resize = 16: must be at least 32; raise it"


def test_the_original_stays_and_the_kind_too() -> None:
    error = small()
    error.under("data").at("recipe")
    assert str(error) == "resize = 16: must be at least 32; raise it"
    refusal = SystemRefusal("a.pth: no space left; free some space", passing=False).at("--work-dir d")
    assert isinstance(refusal, SystemRefusal)
    assert not refusal.passing
    assert str(refusal).startswith("--work-dir d: a.pth: ")


def test_it_crosses_processes() -> None:
    error = small().under("data").at("recipe")
    other = pickle.loads(pickle.dumps(error))
    assert str(other) == str(error)
    assert str(other.at("again")) == f"again: {error}"


@dataclass(frozen=True)
class Named:
    """Settings that know their section, in their own and in the general checks."""

    size: Annotated[int, Range(at_least=1)] = 1
    even: int = 2

    def __post_init__(self) -> None:
        check_settings(self, "data")
        if self.even % 2:
            raise UserError(f"data.even = {self.even}: must be even")


@dataclass(frozen=True)
class Unnamed:
    """Settings that do not."""

    size: Annotated[int, Range(at_least=1)] = 1
    even: int = 2

    def __post_init__(self) -> None:
        check_settings(self)
        if self.even % 2:
            raise UserError("must be even", argument="even", value=self.even)


@pytest.mark.parametrize("cls", [Named, Unnamed])
@pytest.mark.parametrize(("key", "value"), [("size", 0), ("even", 3)])
def test_settings_name_their_section_once(cls: type, key: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"^data\.{key} = {value}: must be "):
        build_settings(cls, {key: value}, "data")


def test_numbers_are_named_in_parts() -> None:
    with pytest.raises(UserError, match=r"^gamma = -1: must be a finite number at least 0; correct it$") as refusal:
        check_number("gamma", -1, at_least=0)
    assert str(refusal.value.under("search")).startswith("search.gamma = -1")


def test_an_argument_is_called_by_its_option_and_the_sentence_stays():
    error = UserError("more threads than cores", argument="threads", value=0, remedy="give threads that are there")
    flags = {"threads": "--threads"}
    assert str(error.called(flags)) == "--threads 0: more threads than cores; give threads that are there"
    assert str(error.called({"seed": "--seed"})) == str(error)
    assert str(error.at("recipe").called(flags)) == str(error.at("recipe"))
