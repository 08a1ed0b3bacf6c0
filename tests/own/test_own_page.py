"""The page 'Add your own' shows the files that these tests run, and each is short."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = (HERE.parents[1] / "docs/add_your_own.md").read_text()
SHOWN = dict(re.findall(r"```python\n# (tests/own/\w+\.py)\n(.*?)```", PAGE, flags=re.DOTALL))
FILES = {f"tests/own/{file.name}": file.read_text() for file in HERE.glob("own_*.py")}


def test_every_example_is_shown_as_it_is():
    assert SHOWN == FILES
    assert len(FILES) >= 2


def test_every_example_is_one_short_file():
    assert {name: len(text.splitlines()) for name, text in FILES.items() if len(text.splitlines()) > 60} == {}
