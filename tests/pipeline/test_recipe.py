"""Recipes: what the typed settings accept, how files inherit, and that every shipped recipe loads."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from compress.pipeline import recipe as module
from compress.pipeline.recipe import Recipe, load_recipe
from compress.plan import UserError

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.py") if not {"_base_", "mmdet"} & set(path.parts))
DEMO = ROOT / "recipes/width/preresnet20_digits_rarts.py"
MINIMAL = """
space = dict(type="preresnet", depth=11)
data = dict(type="digits")
train = dict(epochs=1)
search = dict(epochs=1)
finetune = dict(epochs=1)
"""


def convert(value: Any, hint: Any) -> Any:
    return module._convert(value, hint, "section.key")


@dataclass(frozen=True)
class Inner:
    count: int = 1
    rate: float | None = 0.5


@dataclass(frozen=True)
class Outer:
    inner: Inner | None = None
    names: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None


# Conversion


def test_none_is_for_optional_keys_only() -> None:
    assert convert(None, int | None) is None
    assert convert(None, Inner | None) is None
    assert convert(None, Literal["a"] | None) is None
    with pytest.raises(UserError, match=r"section\.key = None must be of type int"):
        convert(None, int)
    with pytest.raises(UserError, match=r"section\.key = None must be a dict"):
        convert(None, Inner)


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
    outer = module._build(Outer, {"inner": {"count": 2, "rate": 1}, "names": ["x"]}, "outer")
    assert outer == Outer(Inner(2, 1.0), ("x",))
    assert type(outer.inner.rate) is float
    assert module._build(Outer, {"inner": None}, "outer") == Outer()
    with pytest.raises(UserError, match=r"unknown key outer\.inner\.cuont = 3; did you mean outer\.inner\.count\?"):
        module._build(Outer, {"inner": {"cuont": 3}}, "outer")
    with pytest.raises(UserError, match=r"outer\.inner = 3 must be a dict with keys out of count, rate"):
        module._build(Outer, {"inner": 3}, "outer")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"lr": float("-inf")}, {"a": [1, float("nan")]}])
def test_only_finite_numbers(value: Any) -> None:
    with pytest.raises(UserError, match="must be a finite number"):
        convert(value, Mapping[str, Any] if isinstance(value, dict) else float)


def test_free_sections_hold_plain_values_only() -> None:
    value = {"type": "SGD", "betas": [0.9, 0.99], "nested": {"nesterov": True, "group": None}}
    assert convert(value, Mapping[str, Any]) == value
    with pytest.raises(UserError, match=r"section\.key\.lr = .* must be a plain value, not a PosixPath"):
        convert({"lr": Path()}, Mapping[str, Any])
    for odd in (3, "SGD", ["SGD"]):
        with pytest.raises(UserError, match="must be a dict"):
            convert(odd, Mapping[str, Any])


def settings(cls: type) -> list[tuple[str, Any]]:
    """(name, annotation) of every setting of a recipe, sections opened."""
    found = []
    for name, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            found += [(f"{name}.{inner}", h) for inner, h in settings(hint)]
        else:
            found.append((name, hint))
    return found


@pytest.mark.parametrize(("name", "hint"), settings(Recipe))
def test_every_setting_refuses_an_object(name: str, hint: Any) -> None:
    """Every annotation in use is one that the conversion understands; Literals are left to their class."""
    options = [hint, *typing.get_args(hint)]
    if any(typing.get_origin(option) is Literal for option in options):
        assert convert("anything", hint) == "anything"
        return
    with pytest.raises(UserError, match=r"section\.key"):
        convert(object(), hint)


# Files


def test_minimal_recipe(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(MINIMAL)
    recipe = load_recipe(tmp_path / "small.py")
    assert (recipe.name, recipe.seed, recipe.search.epochs) == ("small", 0, 1)
    assert recipe.finetune.distill is None
    assert recipe.select.floor == 1


@pytest.mark.parametrize("section", ["space", "data", "train", "search", "finetune"])
def test_missing_section(tmp_path: Path, section: str) -> None:
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(section)]
    (tmp_path / "small.py").write_text("\n".join(lines))
    with pytest.raises(UserError, match=f"recipe: {section} is missing; add it"):
        load_recipe(tmp_path / "small.py")


def test_missing_key(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(MINIMAL.replace("train = dict(epochs=1)", "train = dict(batch_size=8)"))
    with pytest.raises(UserError, match=r"recipe: train\.epochs is missing"):
        load_recipe(tmp_path / "small.py")


def test_variables_with_an_underscore_are_the_files_own(tmp_path: Path) -> None:
    text = "_rate = 0.25\nimport math\n" + MINIMAL.replace(
        "train = dict(epochs=1)", "train = dict(epochs=1, optimizer=dict(type='SGD', lr=_rate * math.sqrt(4)))"
    )
    (tmp_path / "small.py").write_text(text)
    assert load_recipe(tmp_path / "small.py").train.optimizer == {"type": "SGD", "lr": 0.5}
    (tmp_path / "small.py").write_text(MINIMAL + "rate = 0.25\n")
    with pytest.raises(UserError, match=r"unknown key rate = 0\.25.*begins with an underscore"):
        load_recipe(tmp_path / "small.py")


def test_inheritance(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(MINIMAL + "_hidden = 1\n")
    (tmp_path / "child.py").write_text(
        '_base_ = ["base.py"]\nsearch = dict(gamma=0.5)\nfinetune = dict(_delete_=True, epochs=7)\nseed = 3\n'
    )
    recipe = load_recipe(tmp_path / "child.py")
    assert (recipe.name, recipe.seed) == ("child", 3)
    assert (recipe.search.epochs, recipe.search.gamma, recipe.finetune.epochs) == (1, 0.5, 7)
    assert recipe.space == {"type": "preresnet", "depth": 11}


def test_a_recipe_may_name_itself_and_import_modules(tmp_path: Path) -> None:
    extra = "name = 'mine'\ncustom_imports = dict(imports=['json'])\n"
    (tmp_path / "small.py").write_text(MINIMAL + extra)
    assert load_recipe(tmp_path / "small.py").name == "mine"


def test_json_and_yaml_recipes(tmp_path: Path) -> None:
    value = {"space": {"type": "preresnet", "depth": 11}, "data": {}}
    value |= {section: {"epochs": 1} for section in ("train", "search", "finetune")}
    (tmp_path / "small.json").write_text(json.dumps(value))
    assert load_recipe(tmp_path / "small.json").space["depth"] == 11
    (tmp_path / "small.yaml").write_text(json.dumps(value))
    assert load_recipe(tmp_path / "small.yaml").to_json() == load_recipe(tmp_path / "small.json").to_json()


def test_overrides(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(MINIMAL)
    overrides = [
        *("search.epochs=4", "search.gamma=1", "data.mean=[0.1,0.2,0.3]", "data.std=(1,1,1)"),
        *("finetune.distill={'temperature': 2}", "search.method.type=netslim", "space.score_inputs=true"),
        *("data.limit=None", "train.amp=none", "measure.backends=['pytorch']"),
    ]
    recipe = load_recipe(tmp_path / "small.py", overrides)
    assert (recipe.search.epochs, recipe.search.gamma, recipe.search.method["type"]) == (4, 1.0, "netslim")
    assert (recipe.data.mean, recipe.data.std, recipe.data.limit) == ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0), None)
    assert recipe.finetune.distill is not None
    assert (recipe.finetune.distill.temperature, recipe.train.amp) == (2.0, None)
    assert recipe.space["score_inputs"] is True
    assert recipe.measure.backends == ("pytorch",)


def test_later_overrides_win(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(MINIMAL)
    assert load_recipe(tmp_path / "small.py", ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    if path.parent.name == "sidt":  # named after the model and the data; all search by RARTS
        assert recipe.space["type"] == {"swin": "swin", "deit": "vit"}[path.stem.partition("_")[0]]
        assert recipe.search.method["type"] == "rarts"
    elif path.parent.name == "detection":
        assert path.stem.endswith("_sidt")
        assert (recipe.space["type"], recipe.search.method["type"]) == ("detector", "rarts")
    else:
        assert path.stem.startswith(f"{recipe.space['type']}{recipe.space.get('depth', '')}_")
        assert path.stem.endswith(recipe.search.method["type"])
    resolved = recipe.to_json()
    assert json.loads(json.dumps(resolved, allow_nan=False)) == resolved
    assert '"""' in path.read_text()[:4]


def test_there_are_recipes_to_check() -> None:
    assert DEMO in RECIPES
    assert len(RECIPES) >= 6


def test_resolved_recipe_has_all_defaults() -> None:
    resolved = load_recipe(DEMO).to_json()
    assert set(resolved) == {f.name for f in dataclasses.fields(Recipe)}
    for section in ("data", "train", "search", "finetune", "select", "export", "measure"):
        assert set(resolved[section]) == {f.name for f in dataclasses.fields(typing.get_type_hints(Recipe)[section])}
