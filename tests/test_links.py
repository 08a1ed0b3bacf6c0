"""Every link between the repository's pages leads somewhere, headings included, and so does every path that they name.

`make docs` checks the site's own; this is what a reader of the repository follows.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"(?<![\w/.~-])(?:recipes|tools|benchmarks|tests|docs|compress)/[\w./{},*-]*[\w}*]")
OTHERS = {"tools/test.py"}
"""MMDetection's."""
MADE = re.compile(r"reference/\w+\.md")
"""Pages that stand on the site alone, made by docs/generated.py: the navigation's test knows them."""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(path: Path) -> set[str]:
    """What a repository's viewer makes of the headings: small letters, dashes, no punctuation."""
    lines = FENCED.sub("", path.read_text()).splitlines()
    titles = [re.sub(r"^#+ +", "", line) for line in lines if re.match(r"#+ ", line)]
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}


def broken(path: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in LINK.findall(FENCED.sub("", path.read_text())):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if "://" in link or link.startswith("mailto:") or MADE.fullmatch(file.removeprefix("../")):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", [*map(named, PAGES)])
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    assert broken(ROOT / page) == []


def choices(pattern: str) -> list[str]:
    """`a_{b,c}.py` -> a_b.py, a_c.py."""
    parts = [part.split(",") if i % 2 else [part] for i, part in enumerate(re.split(r"\{([^}]*)\}", pattern))]
    return ["".join(some) for some in product(*parts)]


@pytest.mark.parametrize("page", [named(page) for page in PAGES if page.name not in ("decisions.md", "CHANGELOG.md")])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    """Decisions and changes name what was there once; words in capitals stand for any."""
    text = (ROOT / page).read_text()
    paths = {re.sub("[A-Z]{4,}", "*", path) for found in NAMED.findall(text) for path in choices(found.rstrip(","))}
    assert sorted(path for path in paths - OTHERS if not any(ROOT.glob(path))) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# A title, with `code`\n```\n# none\n```\n")
    page = tmp_path / "a.md"
    page.write_text(
        "[a](b.md#a-title-with-code) [b](b.md#none) [c](c.md) [d](https://x.org) [e](#f)\n```\n[g](h)\n```\n"
    )
    assert broken(page) == ["b.md#none", "c.md", "#f"]
