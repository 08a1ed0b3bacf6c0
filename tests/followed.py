"""A tutorial followed as a reader would: its files written, its commands and Python run, in order, in one folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from run_tool import importable

from compress.commands import COMMANDS, command_parser, run_command
from compress.spaces import constructors

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT / "docs/tutorials"
FENCED = re.compile(r"^```(\w+)?(?: (\S+))?\n(.*?)^```", re.DOTALL | re.MULTILINE)
QUICK = ["train.epochs=2", "search.epochs=1", "finetune.epochs=1", "measure.repeats=3", "measure.warmup_seconds=0.01"]
"""Settings of a recipe under which a page takes seconds."""
BOTH = {"train": QUICK, "prune": QUICK}


def follow(
    page: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    quick: Mapping[str, Sequence[str]],
    *,
    more: Mapping[str, Sequence[str]] | None = None,
    after: Callable[[list[str]], None] = lambda words: None,
) -> None:
    """Do what `page` says, in `folder`.

    Args:
        page: Its name in docs/tutorials.
        folder: Where the reader is.
        monkeypatch: Of the test.
        quick: {command: settings} that the recipes of these commands get besides.
        more: {word: arguments} that follow those of the page's commands with this word.
        after: Called with the words of every command that has been run.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setattr(constructors, "_named", {})
    for language, name, text in FENCED.findall((TUTORIALS / page).read_text()):
        if name:
            monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
            (folder / name).write_text(text)
        elif language == "python":
            with importable(folder):
                exec(text, {"__name__": "page"})
        elif not language:
            for words in commands(text):
                run(extended(words, quick, more or {}))
                after(words)
        else:
            check_unrun(text)


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a block, in words."""
    for line in text.replace("\\\n", " ").splitlines():
        yield shlex.split(line, comments=True)


def extended(words: list[str], quick: Mapping[str, Sequence[str]], more: Mapping[str, Sequence[str]]) -> list[str]:
    """A page's command with what makes it quick at its end."""
    settings = [*quick.get(words[1], ())] if words[0] == "nncompress" else []
    option = ["--cfg-options"] if settings and "--cfg-options" not in words else []
    return [*words, *option, *settings, *(each for word, given in more.items() if word in words for each in given)]


def run(words: list[str]) -> None:
    """Run a command: ours in this process, a script in its own, with one thread."""
    code = 0
    if words[0] == "python":
        done = subprocess.run([sys.executable, *words[1:]], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
        code = done.returncode
    elif words[0] == "nncompress":
        try:
            run_command(words[1], words[2:])
        except SystemExit as end:
            code = int(end.code or 0)
    else:
        assert words[:2] == ["pip", "install"], words
    assert not code, words


def check_unrun(text: str, files: Collection[str] = ()) -> None:
    """Our commands in `text` have these arguments, and their recipes are the package's, or among `files`."""
    for words in commands(text):
        if words and words[0] == "nncompress":
            assert words[1] in COMMANDS
            given = command_parser(words[1], program="nncompress").parse_args(words[2:])
            recipe = getattr(given, "recipe", None)
            assert recipe is None or recipe in files or (ROOT / f"recipes/{recipe}.py").is_file(), words


def check_commands(page: str) -> None:
    """As `check_unrun`, of everything that `page` shows, run or not."""
    blocks = FENCED.findall((TUTORIALS / page).read_text())
    for language, _, text in blocks:
        if language != "python":
            check_unrun(text, {name for _, name, _ in blocks})


def shown(page: str, file: str) -> str:
    """The text of `file` as `page` shows it."""
    return next(text for _, name, text in FENCED.findall((TUTORIALS / page).read_text()) if name == file)
