"""Files of recipes: Python may raise anything, data runs nothing, and each fault is one line that names the file."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from compress.pipeline.recipe import load_recipe
from compress.pipeline.recorded import recorded_recipe
from compress.plan import UserError

ROOT = Path(__file__).resolve().parents[2]
VALUES: dict[str, Any] = {
    "space": {"type": "preresnet", "depth": 11},
    "data": {"type": "digits"},
    **{section: {"epochs": 1} for section in ("train", "search", "finetune")},
}
RECIPE = "\n".join(f"{key} = {value!r}" for key, value in VALUES.items())


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


# Python


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise SystemExit", "SystemExit"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit('x')", "GeneratorExit: x"),
        ("class Own(BaseException): pass\nraise Own('a\\nb')", "Own: a b"),
        (
            "class Own(Exception):\n    def __str__(self): raise ValueError\nraise Own",
            "Own: its message cannot be shown",
        ),
        ("raise ExceptionGroup('several', [ValueError('a'), TypeError('b')])", "ExceptionGroup"),
        ("def f(): f()\nf()", "RecursionError"),
        ("seed = " + "(" * 5000 + "1" + ")" * 5000, "too many nested parentheses"),
        ("seed = " + "-" * 50_000 + "1", "cannot be read"),
        ("raise MemoryError", "MemoryError"),
        ("x = 'a\\\n", "SyntaxError"),
    ],
    ids=lambda value: value[:20],
)
def test_whatever_a_recipe_raises_is_told_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"{text}\n{RECIPE}")
    message = refusal(path)
    assert message.startswith(f"RECIPE {path}: cannot be read (")
    assert says in message
    assert message.endswith("correct the file")
    assert len(message) < 1000


def test_ctrl_c_while_a_recipe_runs_is_ctrl_c(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)\n{RECIPE}")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            load_recipe(path)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xef\xbb\xbf", "byte order mark"),
        (b"\0", "NUL character"),
        (b"# \xff\n", "byte 2 is 0xff"),
        (b"\xff\xfe#\0\n\0", "not UTF-8"),
        (b"#" * (5 << 20) + b"\n", "the most is"),
    ],
    ids=["mark", "nul", "byte", "utf-16", "large"],  # a test's name goes to every report
)
@pytest.mark.parametrize("suffix", [".py", ".json", ".yaml"])
def test_text_that_is_no_text(tmp_path: Path, content: bytes, says: str, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(content + (RECIPE if suffix == ".py" else json.dumps(VALUES)).encode())
    assert says in refusal(path)


@pytest.mark.parametrize("base", ['["b.py"]', '"b.py"', '("b.py",)', '"./../here/b.py"'])
def test_bases_that_lead_back_are_found_before_they_are_read(tmp_path: Path, base: str) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "a.py").write_text(f"_base_ = {base}\nraise ValueError('read')\n{RECIPE}")
    (folder / "b.py").write_text("_base_ = ['c.py']\n")
    (folder / "c.py").write_text("_base_ = ['b.py']\n")
    assert "lead back to themselves (b.py -> c.py -> b.py)" in refusal(folder / "a.py")
    (folder / "b.py").write_text("_base_ = 'b.py'\n")
    assert "(b.py -> b.py)" in refusal(folder / "a.py")


def test_two_ways_to_one_base_are_no_circle(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("")
    for name in ("left", "right"):
        (tmp_path / f"{name}.py").write_text("_base_ = 'base.py'\n")
    (tmp_path / "mine.py").write_text(f"_base_ = ['left.py', 'right.py']\n{RECIPE}")
    assert load_recipe(tmp_path / "mine.py").train.epochs == 1


@pytest.mark.parametrize("base", ["b.yaml", "b.json", "b"])
def test_bases_are_python(tmp_path: Path, base: str) -> None:
    (tmp_path / base).write_text("!!python/object/apply:os.system ['true']")
    (tmp_path / "mine.py").write_text(f"_base_ = ['{base}']\n{RECIPE}")
    assert f"_base_ = '{base}' in mine.py: must be in Python" in refusal(tmp_path / "mine.py")


@pytest.mark.parametrize("value", ["object()", "print", "{1, 2}", "b'x'", "1j", "10 ** 5000", "'a\\0b'", "'\\ud800'"])
@pytest.mark.parametrize("key", ["seed", "space['depth']", "train['optimizer']"])
def test_values_that_no_record_can_hold(tmp_path: Path, key: str, value: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"{RECIPE}\n{key} = {value}\n")
    with pytest.raises(UserError, match=r"^recipe: [a-z.]+ = .*; (correct it|write it out|write it like|choose)"):
        load_recipe(path)


def test_values_that_contain_themselves(tmp_path: Path) -> None:
    for text in ("_a = []\n_a.append(_a)\nspace['x'] = _a", "space['x'] = space", "space[3] = 1", "space['a\\nb'] = 1"):
        (tmp_path / "mine.py").write_text(f"{RECIPE}\n{text}\n")
        with pytest.raises(UserError) as caught:
            load_recipe(tmp_path / "mine.py")
        assert len(str(caught.value)) < 1000
        assert "\n" not in str(caught.value)


# Data


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_recipes_in_json_and_yaml(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"small{suffix}"
    path.write_text(json.dumps(VALUES))
    recipe = load_recipe(path, ["seed=3"])
    assert (recipe.name, recipe.space["depth"], recipe.seed) == ("small", 11, 3)
    (tmp_path / "small.py").write_text(RECIPE)
    assert load_recipe(tmp_path / "small.py", ["seed=3"]).to_json() == recipe.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch forbidden']",
        "seed: !!python/object/apply:os.system ['touch forbidden']",
        "seed: !!python/name:antigravity.geohash",
        "seed: !!python/module:antigravity",
        "seed: !!int x",
        "seed: !!bool x",
        "seed: !!timestamp x",
        "? [1, 2]\n: 3",
        "? {a: 1}\n: 3",
        "[" * 400,
        "a: &a [*a]",
        "seed: 2020-99-99",
        "a: b: c",
        "seed: !!binary x",
        "\ta: 1",
        "- 1",
        "text",
        "",
    ],
    ids=lambda text: text[:30],
)
def test_yaml_is_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    (tmp_path / "mine.yaml").write_text(text)
    assert refusal(tmp_path / "mine.yaml").startswith("RECIPE ")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    assert "antigravity" not in sys.modules


def test_yaml_that_grows_when_it_is_written_out(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (tmp_path / "mine.yaml").write_text("\n".join(lines))
    assert "more than 100000 values" in refusal(tmp_path / "mine.yaml")


@pytest.mark.parametrize("key", ["_base_", "custom_imports"])
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_data_have_no_bases_and_no_imports(tmp_path: Path, suffix: str, key: str) -> None:
    (tmp_path / "other.py").write_text("raise ValueError('ran')")
    path = tmp_path / f"mine{suffix}"
    path.write_text(json.dumps({**VALUES, key: ["other.py"]}))
    assert f"{key} = ['other.py']: only recipes in Python" in refusal(path)


def test_files_of_other_kinds(tmp_path: Path) -> None:
    for name in ("mine.txt", "mine", "mine.PY", "mine.pyc", "mine.toml"):
        (tmp_path / name).write_text(RECIPE)
        assert "must be a file in Python (.py), JSON or YAML" in refusal(tmp_path / name)
    (tmp_path / "folder.py").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.py")


def test_names_of_recipes_are_names_of_folders(tmp_path: Path) -> None:
    for name in ("", ".", "..", "../x", "a/b", "a\\b", "a\nb", "x" * 300):
        (tmp_path / "mine.json").write_text(json.dumps({**VALUES, "name": name}))
        assert "name = " in refusal(tmp_path / "mine.json")


# Records


MORE = {
    "checkpoint": {"path": "base", "sha256": "0" * 64},
    "budget": {"kind": "free", "value": None},
    "latency_table": None,
    "search_from": None,
}
"""What tools/prune.py records beside the recipe; the checkpoint, tools/finetune.py too."""


def record(folder: Path, values: Any, key: str = "train") -> Path:
    (folder / "recipe.json").write_text(json.dumps({key: values, **(MORE if key != "train" else {})}))
    return folder


def test_a_record_is_read_from_the_folders_of_all_tools(tmp_path: Path) -> None:
    for key in ("recipe", "train", "finetune"):
        found = recorded_recipe(record(tmp_path, {"name": "x", **VALUES}, key), ["seed=2"], remedy="give one")
        assert (found.name, found.seed, found.space) == ("x", 2, VALUES["space"])
        assert recorded_recipe(tmp_path / "model.onnx", remedy="give one").seed == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"_base_": "other.py"}, "_base_ = 'other.py'"),
        ({"custom_imports": {"imports": ["other"]}}, "custom_imports"),
        ({"train": {"epochs": 1, "optimizer": {"type": "pydoc.pipepager", "text": "x", "cmd": "touch ran"}}}, "pydoc"),
        ({"search": {"epochs": 1, "alpha_optimizer": {"type": "subprocess.call"}}}, "search.alpha_optimizer.type"),
        ({"train": {"epochs": 1, "optimizer": {"type": "mmengine::SGD"}}}, "train.optimizer.type"),
        ({"space": {"type": "other.py"}}, "space.type"),
        ({"train": None}, "train = None must be a dict"),
        ({"train": {}}, "train.epochs is missing"),
    ],
    ids=str,
)
def test_nothing_that_a_record_names_runs(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    (tmp_path / "other.py").write_text("import pathlib\npathlib.Path('ran').touch()")
    record(tmp_path, {"name": "x", **VALUES, **changes})
    with pytest.raises(UserError) as caught:
        recorded_recipe(tmp_path, remedy="give --recipe RECIPE")
    assert str(tmp_path / "recipe.json") in str(caught.value)
    assert says in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.py", "recipe.json"]


@pytest.mark.parametrize("value", [[], 3, {}, {"budget": None}, {"recipe": None}, {"recipe": []}], ids=str)
def test_records_of_other_shapes(tmp_path: Path, value: Any) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match=r"recipe\.json: "):
        recorded_recipe(tmp_path, remedy="give --recipe RECIPE")


def test_a_record_downloads_nothing_by_itself(tmp_path: Path) -> None:
    data = {"type": "cifar10", "root": "somewhere", "download": True}
    record(tmp_path, {"name": "x", **VALUES, "data": data})
    assert recorded_recipe(tmp_path, remedy="give one").data.download is False
    assert recorded_recipe(tmp_path, ["data.download=True"], remedy="give one").data.download is True


def test_the_record_of_a_run_is_its_recipe(tmp_path: Path) -> None:
    recipe = load_recipe("width/preresnet20_digits_rarts", ["search.epochs=3", "measure.threads=2"])
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"recipe": recipe.to_json(), "checkpoint": {"path": "b", "sha256": "0f"}}))
    assert load_recipe(file) == recipe
    assert load_recipe(file, ["search.epochs=4"]).search.epochs == 4
    file.write_text(json.dumps({"recipe": {**recipe.to_json(), "custom_imports": ["os"]}}))
    with pytest.raises(UserError, match="only recipes in Python have bases and imports"):
        load_recipe(file)
