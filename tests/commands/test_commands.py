"""`nncompress`, `python -m compress` and tools/*.py: the same functions; recipes named without a path."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

import compress.pipeline.run
from compress import __version__, commands
from compress.commands import COMMANDS
from compress.pipeline import shipped
from compress.pipeline.recipe import load_recipe
from compress.pipeline.shipped import recipe_path, recipes_folder, shipped_recipes
from compress.plan import UserError

ROOT = Path(__file__).resolve().parents[2]
NAME = "width/preresnet20_digits_rarts"


def nncompress(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of the console command, in this process."""
    monkeypatch.setattr(sys, "argv", ["nncompress", *arguments])
    try:
        commands.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_help_lists_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert nncompress(monkeypatch, "--help") == 0
    text = capsys.readouterr().out
    assert [name for name in COMMANDS if f"    {name}" not in text] == []
    assert nncompress(monkeypatch, "profile", "--help") == 0
    assert capsys.readouterr().out.startswith("usage: nncompress profile [-h]")
    assert nncompress(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((), "required: COMMAND"), (("pruen",), "COMMAND: invalid choice: 'pruen'"), (("prune",), "required: RECIPE")],
)
def test_what_is_no_command(
    arguments: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nncompress(monkeypatch, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_python_runs_the_package_as_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["compress", "recipes", "--path"])
    runpy.run_module("compress", run_name="__main__")
    assert capsys.readouterr().out == f"{recipes_folder()}\n"


def test_every_tool_is_a_command_and_says_the_same_of_itself() -> None:
    tools = {path.stem: path.read_text() for path in (ROOT / "tools").glob("*.py")}
    named = {}
    for tool, text in tools.items():
        tree = ast.parse(text)
        (call,) = [
            node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node).startswith("run")
        ]
        name = ast.literal_eval(call.args[0])
        module = ast.parse((ROOT / f"compress/commands/{COMMANDS[name]}.py").read_text())
        assert ast.get_docstring(tree) == ast.get_docstring(module), tool
        named[name] = tool
    assert {*named, "recipes"} == {*COMMANDS}


def test_commands_are_named_as_every_user_can_call_them() -> None:
    """An installed package has no tools/; README says once what a checkout's files are called."""
    texts = {path: path.read_text() for path in (*ROOT.glob("compress/**/*.py"), *ROOT.glob("docs/deploy/*.py"))}
    assert [str(path) for path, text in texts.items() if re.search(r"tools/\w+\.py", text)] == []
    named = [(name, path) for path, text in texts.items() for name in re.findall(r"nncompress ([a-z][\w-]*)", text)]
    assert len(named) > 30
    assert [(name, str(path)) for name, path in named if name not in COMMANDS] == []


def test_a_recipe_is_named_without_a_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []

    def train(recipe: Any, work_dir: Path, **settings: Any) -> Any:
        seen.extend((recipe, work_dir))
        raise UserError("enough")

    monkeypatch.setattr(compress.pipeline.run, "train_baseline", train)
    monkeypatch.chdir(tmp_path)
    assert nncompress(monkeypatch, "train", NAME, "--cfg-options", "seed=3") == 2
    assert seen[0] == load_recipe(ROOT / f"recipes/{NAME}.py", ["seed=3"])
    assert seen[1] == Path("runs/preresnet20_digits_rarts_train")


def test_files_come_before_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_path(NAME) == ROOT / f"recipes/{NAME}.py"
    (tmp_path / "width").mkdir()
    (tmp_path / NAME).write_text("mine")
    assert recipe_path(NAME) == Path(NAME)
    for other in (f"{NAME}.py", "width", "", "_base_/digits", "../recipes/width/preresnet20_digits_rarts"):
        assert recipe_path(other) == Path(other)


def test_recipes_are_listed_with_what_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nncompress(monkeypatch, "recipes") == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines.keys() == shipped_recipes().keys()
    assert lines[NAME].startswith("The demo: PreResNet-20 on the digits")
    parts = {*ROOT.glob("recipes/_base_/*.py"), *ROOT.glob("recipes/*/mmdet/*.py")}
    assert {recipes_folder() / f"{name}.py" for name in lines} == {*ROOT.glob("recipes/**/*.py")} - parts


def test_an_installed_package_has_its_recipes_inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "recipes/width").mkdir(parents=True)
    (tmp_path / "recipes/width/mine.py").write_text('"""Mine."""\n')
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path)
    assert shipped_recipes() == {"width/mine": "Mine."}
    assert recipe_path("width/mine") == tmp_path / "recipes/width/mine.py"
