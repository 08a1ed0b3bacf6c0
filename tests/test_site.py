"""The documentation site: every setting is explained, every command is there, and no page is without its place."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from compress.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def generated():
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs/generated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_of_a_recipe_is_explained(generated):
    pytest.importorskip("mmdet")
    page = generated.recipes()
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", page, re.M)
    assert len(rows) > 50
    assert [name for name, *_, text in rows if not text] == []
    assert {"data", "train", "search", "finetune", "select", "export", "measure"} <= set(
        re.findall(r"^## (\w+)$", page, re.M)
    )


def test_every_command_has_its_arguments(generated):
    page = generated.commands()
    assert re.findall(r"^## (\S+)$", page, re.M) == list(COMMANDS)
    assert "| `--pruning-ratio R` |" in page


def test_every_page_stands_in_the_navigation_once(generated):
    # Tags of the theme's own are nothing that is read here.
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_multi_constructor("tag:", lambda *_: None)
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(), loader)

    def pages(entries):
        for entry in entries:
            (value,) = entry.values()
            yield from pages(value) if isinstance(value, list) else [value]

    listed = list(pages(settings["nav"]))
    made = [f"reference/{name}.md" for name in ("recipes", "commands", "changelog", "security", "python")]
    made += [f"reference/python_{room}.md" for room in generated.ROOMS]
    written = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted([*made, *written])


def test_every_block_of_code_is_one_on_the_site(generated):
    """SuperFences takes a language and options; whatever else follows ends the block before it begins."""
    named = 0
    for path in (ROOT / "docs").rglob("*.md"):
        fences = re.findall(r"^```.*$", generated.on_page_markdown(path.read_text()), re.M)
        assert [line for line in fences if not re.fullmatch(r'```(\w+( title="[\w.]+")?)?', line)] == [], path.name
        assert len(fences) % 2 == 0
        named += sum("title=" in line for line in fences)
    assert named > 3


@pytest.mark.parametrize("room", ["pruning", "plan"])
def test_a_rooms_page_names_what_it_exports(generated, room):
    page = generated.names(room, "Title")
    assert page.startswith("# Title\n")
    assert len(re.findall(r"^::: compress\.", page, re.M)) > 5


def test_figures_are_those_that_the_code_draws():
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs/figures.py")
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    shown = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    for name in figures.FIGURES:
        kept = (ROOT / f"docs/figures/{name}.svg").read_text()
        assert kept == figures.drawn(name, alone=True) + "\n", "draw them anew: python docs/figures.py"
        assert len(re.findall(rf"!\[[^\]]+\]\(figures/{name}\.svg\)", shown)) == 1
        page = figures.on_page_markdown(f"a\n![Words](figures/{name}.svg)\nb")
        assert page.startswith("a\n\n<figure><svg ")
        assert "<style>" not in page
    assert len([*(ROOT / "docs/figures").iterdir()]) == len(figures.FIGURES)
