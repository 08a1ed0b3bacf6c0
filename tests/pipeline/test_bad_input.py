"""Bad recipes, values, budgets and data: exit code 2, one line that says what is wrong and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes/width/preresnet20_digits_rarts.py"

Refused = Callable[..., str]


# Recipes


def test_recipe_file(prune: Refused, tmp_path: Path) -> None:
    prune(recipe=tmp_path / "no.py", says=("RECIPE", "no.py", "no such file", "nncompress recipes"))
    for name, text, says in (
        ("syntax.py", "space = dict(\n", "SyntaxError"),
        ("name.py", "space = dict(depth=DEPTH)\n", "NameError"),
        ("division.py", "seed = 1 / 0\n", "ZeroDivisionError"),
        ("base.py", '_base_ = ["nowhere.py"]\n', "nowhere.py"),
        ("imports.py", "import nothing_of_that_name\n", "nothing_of_that_name"),
    ):
        (tmp_path / name).write_text(text)
        prune(recipe=tmp_path / name, says=("RECIPE", name, "cannot be read", says, "correct"))


def test_unknown_keys(prune: Refused, tmp_path: Path) -> None:
    path = tmp_path / "recipe.py"
    path.write_text(f'_base_ = ["{RECIPE}"]\nserch = dict(epochs=1)\n')
    prune(recipe=path, says=("unknown key serch", "did you mean search?"))
    path.write_text(f'_base_ = ["{RECIPE}"]\nfinetune = dict(distill=dict(temprature=2.0))\n')
    prune(recipe=path, says=("unknown key finetune.distill.temprature = 2.0", "finetune.distill.temperature?"))
    path.write_text(f'_base_ = ["{RECIPE}"]\nrate = 3\n')
    prune(recipe=path, says=("unknown key rate = 3", "known keys", "underscore"))
    prune(options={"search__epoch": 2}, says=("unknown key search.epoch = 2", "did you mean search.epochs?"))
    prune(options={"sede": 2}, says=("unknown key sede = 2", "did you mean seed?"))
    prune(options={"search__zzz": 2}, says=("unknown key search.zzz = 2", "known keys: epochs"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"search__epochs": "many"}, ("search.epochs = 'many'", "type int", "like 8")),
        ({"search__epochs": 2.5}, ("search.epochs = 2.5", "int")),
        ({"search__epochs": "True"}, ("search.epochs = True", "int")),
        ({"search__epochs": 0}, ("search.epochs = 0", "at least 1")),
        ({"finetune__epochs": 0}, ("finetune.epochs = 0", "at least 1")),
        ({"search__gamma": "strong"}, ("search.gamma = 'strong'", "float")),
        ({"search__gamma": "1e999"}, ("search.gamma = inf", "finite")),
        ({"search__optimizer__lr": "1e999"}, ("search.optimizer.lr = inf", "finite")),
        ({"search__optimizer": 3}, ("search.optimizer = 3", "dict")),
        ({"search__optimizer__speed": 3}, ("search.optimizer", "speed")),
        ({"search__optimizer__type": "Adam"}, ("search.optimizer", "momentum", "dict(_delete_=True, type=...)")),
        ({"search__optimizer__type": "Sgdd"}, ("search.optimizer.type = 'Sgdd'", "SGD")),
        ({"data__mean": 0.5}, ("data.mean = 0.5", "list")),
        ({"data__mean": "[0.5,0.5]", "data__std": "[1,1]"}, ("data.mean = [0.5, 0.5]", "3")),
        ({"data__mean": "[0.5,0.5,'a']", "data__std": "[1,1,1]"}, ("data.mean[2] = 'a'", "float")),
        ({"data__mean": "[0.5,0.5,0.5]"}, ("data.mean", "std = None", "both")),
        ({"data__type": "digit"}, ("data.type = 'digit'", "digits")),
        ({"data__input_size": 28}, ("data.input_size = 28", "32 x 32", "resize")),
        ({"data__limit": 0}, ("data.limit = 0", "at least 1")),
        ({"measure__backends": "tensor"}, ("measure.backends", "list")),
        ({"measure__backends": "['tensor']"}, ("measure.backends", "'tensor'", "pytorch")),
        ({"export__opset": 3}, ("export.opset = 3", "18")),
        ({"select__floor": -1}, ("select.floor = -1", "at least 0")),
        ({"space__type": "prernet"}, ("space.type = 'prernet'", "preresnet")),
        ({"space__depth": 12}, ("space.depth = 12", "9n + 2", "20")),
        ({"space__width": 12}, ("space.width", "preresnet", "depth")),
        ({"search__gamma__x": 12}, ("search.gamma.x", "dict")),
        ({"search__method__type": "rart"}, ("search.method.type = 'rart'", "'rarts'")),
        ({"search__method__lamda": 1}, ("search.method.lamda", "rarts", "lam")),
        ({"search__method__lam": "big"}, ("search.method", "lam", "'big'")),
        ({"search__batch_size": 31}, ("search.batch_size = 31", "30", "lower")),
        ({"finetune__batch_size": 61}, ("finetune.batch_size = 61", "60", "lower")),
        ({"seed": 1.5}, ("seed = 1.5", "int")),
    ],
    ids=str,
)
def test_wrong_values(prune: Refused, options: dict[str, object], says: tuple[str, ...]) -> None:
    prune(options=options, says=("recipe", *says) if "__x" not in str(options) else says)


def test_malformed_options(prune: Refused) -> None:
    for text in ("search.epochs", "=3", "search..epochs=3"):
        prune("--cfg-options", text, says=("--cfg-options", repr(text), "key=value"))


def test_wrong_values_in_training(refused: Refused, tiny) -> None:
    refused("train", RECIPE, *tiny(train__batch_size=61), says=("recipe", "train.batch_size = 61", "60", "lower"))
    refused("train", RECIPE, *tiny(space__depth=12), says=("recipe: space.depth = 12", "9n + 2"))


SMALL = {"data__input_size": 4, "data__resize": 4}
"""The last maps of a PreResNet are of 1 x 1 pixels then."""


@pytest.mark.parametrize(
    ("options", "key", "remedy"),
    [
        ({"search__batch_size": 1}, "search.batch_size = 1", "take 2, or take larger images"),
        ({"search__accumulate": 10}, "search.accumulate = 10", "lower it, or take larger images"),
        ({"finetune__batch_size": 1}, "finetune.batch_size = 1", "take 2, or take"),
    ],
)
def test_one_image_that_a_batchnorm_refuses(prune: Refused, options: dict[str, object], key: str, remedy: str) -> None:
    says = (f"recipe: {key}: one image at a time", "Expected more than 1 value per channel", f"; {remedy}")
    prune(options=SMALL | options, says=says)


def test_one_image_that_a_batchnorm_refuses_in_training(refused: Refused, tiny) -> None:
    refused("train", RECIPE, *tiny(**SMALL, train__batch_size=1), says=("recipe: train.batch_size = 1: one image",))


# Budgets


def test_budgets(prune: Refused) -> None:
    says = ("--pruning-ratio", "--macs-ratio", "only costs go together", "drop")
    prune("--pruning-ratio", 0.4, "--macs-ratio", 0.5, says=says)
    for name in ("--pruning-ratio", "--macs-ratio", "--params-ratio"):
        for value in ("1.5", "0", "1"):
            prune(name, value, says=(f"{name} {value}", "between 0 and 1"))
        prune(name, "nan", says=(f"{name}: 'nan'", "finite number"))
        prune(f"{name}=-0.1", says=(f"{name} -0.1", "between 0 and 1"))


def test_unreachable_budgets_say_the_reachable_range(prune: Refused) -> None:
    prune("--macs-ratio", 0.01, says=("--macs-ratio 0.01", "out of reach", "reachable range", "1.0000"))
    prune("--pruning-ratio", 0.9, options={"select__floor": 4}, says=("--pruning-ratio 0.9", "reachable range"))


# Data


def test_a_network_of_other_classes_than_the_data_have(refused: Refused, tiny) -> None:
    for key, value, own in (("num_classes", 12, 10), ("in_channels", 1, 3)):
        says = (f"recipe: space.{key} = {value}: must be {own}, as the data have",)
        refused("train", RECIPE, *tiny(**{f"space__{key}": value}), says=says)


def digits_archive(path: Path, **changes: object) -> Path:
    arrays = {
        "train_images": np.zeros((40, 32, 32, 3), np.uint8),
        "train_labels": np.arange(40) % 10,
        "test_images": np.zeros((20, 32, 32, 3), np.uint8),
        "test_labels": np.arange(20) % 10,
        "classes": np.array([str(i) for i in range(10)]),
    }
    np.savez(path, **(arrays | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_labels": np.arange(40)}, ("train_labels span 0..39", "10 classes", "0..9")),
        ({"test_labels": np.arange(20) - 1}, ("test_labels span -1..18",)),
        ({"test_labels": np.zeros(3, int)}, ("test_labels", "[3]", "20 images")),
        ({"train_images": np.zeros((0, 32, 32, 3), np.uint8), "train_labels": np.zeros(0, int)}, ("empty",)),
        (
            {"train_images": np.zeros((40, 32, 32), np.uint8)},
            ("train_images are [32, 32, 1]", "store images of one shape"),
        ),
        ({"classes": np.array([object()])}, ("plain .npz",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_mislabelled_archives(prune: Refused, tmp_path: Path, changes: dict, says: tuple[str, ...]) -> None:
    path = digits_archive(tmp_path / "data.npz", **changes)
    prune(options={"data__type": "npz", "data__root": path}, says=("recipe: data.root", str(path), *says))


def test_missing_and_empty_data(prune: Refused, refused: Refused, tiny, tmp_path: Path) -> None:
    archive = {"data__type": "npz"}
    prune(options=archive, says=("recipe: data.root", "npz"))
    prune(options={**archive, "data__root": tmp_path / "no.npz"}, says=("recipe: data.root", "no.npz", "no such file"))
    folder = tmp_path / "images"
    options = {"data__type": "imagefolder", "data__root": folder}
    prune(options=options, says=("recipe: data.root", str(folder), "train/"))
    places = [folder / split / name for split in ("train", "val") for name in ("cat", "dog")]
    for place in places:
        place.mkdir(parents=True)
    prune(options=options, says=("recipe: data.root", "train/cat", "no images"))
    refused("train", RECIPE, *tiny(**options), says=("recipe: data.root", "train/cat", "no images"))
    for place in places:
        (place / "one.png").write_bytes(b"no picture")
    prune(options=options, says=("recipe: data", "one.png", "not a readable image"))


def test_launcher_without_its_program(prune: Refused) -> None:
    prune("--launcher", "pytorch", says=("--launcher pytorch", "RANK", "torchrun"))
