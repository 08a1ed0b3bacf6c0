"""What every case of the campaigns must keep: works or one line, no code run, nothing half written; and the count.

Counts are appended to the file that the environment variable FAULTS_TALLY names: docs/reliability.md shows them.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from audit import watched

from compress.plan import UserError

WRONG: tuple[Any, ...] = (
    None, [], {}, "", "text", True, -1, 0, 1e308, 10**30, float("nan"), [[[[1]]]], {"a": {"b": []}}, "x" * 5000,
    {"type": "os.system"}, ["1", 2],
)  # fmt: skip
"""Values of wrong kinds that replace a right one; JSON writes NaN as a word that our readers must refuse."""


def obeys(read: Callable[[], Any], *, source: str = "") -> str | None:
    """Call `read`: it returns (None here) or raises UserError of one line that names `source` (its message here).

    Any other exception passes, and a forbidden event fails.
    """
    message = None
    with watched() as events:
        try:
            read()
        except UserError as error:
            message = str(error)
    assert not events, events
    if message is not None:
        assert message, "an empty message"
        assert "\n" not in message, message
        assert len(message) < 1500, f"{len(message)} characters: {message[:300]}"
        assert source in message, f"does not name {source}: {message}"
    return message


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of every value inside plain JSON, the root's () first."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def replaced(value: Any, path: tuple, by: Any) -> Any:
    """A copy of plain JSON with the value at `path` replaced; `by` may be `MISSING`, which removes it."""
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and by is MISSING:
        del copy[path[0]]
    else:
        copy[path[0]] = replaced(copy[path[0]], path[1:], by)
    return copy


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()


def spread(cases: Sequence[Any], most: int, *, seed: int = 0) -> list[Any]:
    """At most `most` of `cases`, chosen at random by `seed`, in their order."""
    chosen = sorted(random.Random(seed).sample(range(len(cases)), min(most, len(cases))))
    return [cases[i] for i in chosen]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file under `folder`, hidden ones too, by relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def well_ended(code: int, stderr: str, *, codes: Sequence[int] = (0, 2)) -> None:
    """Assert that a tool ended as it should: an allowed exit code, no traceback, one line of error after a 2."""
    assert "Traceback" not in stderr, stderr[-3000:]
    assert code in codes, (code, stderr[-1000:])
    if code == 2:
        errors = [line for line in stderr.splitlines() if not line.startswith("warning: ")]
        assert len(errors) == 1, stderr
        assert errors[0].startswith("error: ") or ": error: " in errors[0], errors[0]


def tally(kind: str, tried: int, survived: int) -> None:
    """Add a row to the counts, where somebody collects them; a campaign calls it before it asserts."""
    if path := os.environ.get("FAULTS_TALLY"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "tried": tried, "survived": survived}) + "\n")
