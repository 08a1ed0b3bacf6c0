"""Recipes: what the typed settings accept, how files inherit, and that every shipped recipe loads."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from pathlib import Path

import pytest

from compress.pipeline.recipe import BaseRecipe, Recipe, load_recipe, load_recipe_of
from compress.plan import UserError

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.py") if not {"_base_", "mmdet"} & set(path.parts))
DEMO = ROOT / "recipes/width/preresnet20_digits_rarts.py"
SEARCH = """
_sgd = dict(type="SGD", lr=0.1, momentum=0.9)
search = dict(epochs=1, optimizer=_sgd, alpha_optimizer=_sgd)
"""
MINIMAL = """
space = dict(type="preresnet", depth=11)
data = dict(type="digits")
train = dict(epochs=1)
search = dict(epochs=1)
finetune = dict(epochs=1)
"""


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
    taken = load_recipe(tmp_path / "small.py", ["measure.backends=[pytorch, onnxruntime]"])  # by a shell: the quotes
    assert taken.measure.backends == ("pytorch", "onnxruntime")


def test_an_override_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(MINIMAL)
    assert load_recipe(tmp_path / "small.py", ["seed=2", "seed=2"]).seed == 2
    for first, second in (
        ("seed=1", "seed=2"),
        ("seed=1", "seed=True"),
        ("search.method.type=rarts", "search.method={'type': 'rarts'}"),
        ("finetune={'epochs': 2}", "finetune.epochs=3"),
    ):
        with pytest.raises(UserError, match=r"--cfg-options .*given beside .*; keep one"):
            load_recipe(tmp_path / "small.py", [first, second])
    assert load_recipe(tmp_path / "small.py", ["data.limit=20"]).data.limit == 20


def test_dicts_of_overrides_join_those_of_the_recipe_or_take_their_place(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(MINIMAL.replace("search = dict(epochs=1)", SEARCH))
    path = tmp_path / "small.py"
    joined = load_recipe(path, ["search.optimizer={'lr': 0.5}"])
    assert joined.search.optimizer == {"type": "SGD", "lr": 0.5, "momentum": 0.9}
    assert joined.search.alpha_optimizer == {"type": "SGD", "lr": 0.1, "momentum": 0.9}
    adam = load_recipe(path, ["search.optimizer={'_delete_': True, 'type': 'Adam', 'lr': 0.5}"])
    assert adam.search.optimizer == {"type": "Adam", "lr": 0.5}


@pytest.mark.parametrize(
    "text",
    ["_base_=x", "__class__=1", "search._x=1", "data.__dict__={}", "custom_imports={'imports': ['this']}", "a b=1"],
)
def test_overrides_that_do_nothing_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "small.py").write_text(MINIMAL)
    with pytest.raises(UserError, match=re.escape(text.partition("=")[0])):
        load_recipe(tmp_path / "small.py", [text])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    recipe = load_recipe_of(BaseRecipe, path)
    assert recipe.name == path.stem
    if path.parent.name == "sidt":  # named after the model and the data; all search by RARTS
        assert recipe.space["type"] == {"swin": "swin", "deit": "vit"}[path.stem.partition("_")[0]]
        assert recipe.search.method["type"] == "rarts"
    elif path.parent.name == "detection":
        assert path.stem.endswith("_sidt")
        assert (recipe.space["type"], recipe.search.method["type"]) == ("detector", "rarts")
    elif path.parent.name == "any":
        assert (recipe.space["type"], recipe.search.method["type"]) == ("traced", "rarts")
    elif path.parent.name == "topology":
        cells, method = path.stem.partition("_")[0], path.stem.rpartition("_")[2]
        assert recipe.space["type"] == f"{cells}_{'cells' if method == 'retrain' else 'supernet'}"
        assert recipe.search.method["type"] == ("rarts" if method == "retrain" else method)
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
