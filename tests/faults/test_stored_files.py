"""Stored JSON files with a wrong value at every key: the reader works, or says one line that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaign import MISSING, WRONG, obeys, places, replaced, spread, tally
from cell_kinds import cell_kinds
from stored_kinds import Kind, stored_kinds

NAMES = (
    "recipe", "stages", "plan", "complexity", "parity", "latency", "summary", "predictions", "categories", "metrics",
    "card", "card of swin", "card of vit", "card of mobilenetv2", "table", "kept profiles", "engine card", "front",
    "measured kit", "manifest of a kit", "kept totals",
    "cells: genotype", "cells: recipe", "cells: stages", "cells: summary", "cells: metrics",
    "card of darts_cells", "card of nats_cells", "table of cells", "kept networks of cells",
)  # fmt: skip
DEEP: Any = []
for _ in range(150):
    DEEP = [DEEP]
VALUES = (*WRONG, MISSING, DEEP, 10**12, -1e-9, 0.5, [0, 0], "a\nb", "\x00")
TEXTS = {
    "nothing": b"",
    "100,000 brackets": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "5,000 digits": b'{"format": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"format": "\xff\xfe"}',
    "a mark of byte order": b"\xef\xbb\xbf{}",
    "infinity": b'{"format": Infinity}',
    "a number beyond floats": b'{"format": 1e999}',
    "zeros": b"\x00" * 1000,
    "half a surrogate": b'{"format": "\\ud800"}',
    "two values": b"{}{}",
}


@pytest.fixture(scope="session")
def kinds(finished: tuple[Path, Any], cell_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    found = stored_kinds(finished[0], tmp_path_factory.mktemp("stored"))
    return found | cell_kinds(cell_run, found["card"].value, tmp_path_factory.mktemp("cells"))


def cases(value: Any) -> list[tuple[tuple, Any]]:
    """Every key, of lists their first two entries, with every wrong value; a recorded recipe is read elsewhere."""
    shown = [path for path in places(value) if all(part < 2 for part in path if isinstance(part, int))]
    inside = [path for path in shown if len(path) > 1 and path[0] in ("recipe", "topology")]
    return [(path, wrong) for path in shown if path not in inside for wrong in VALUES if path or wrong is not MISSING]


def failures(kind: Kind, chosen: list[tuple[tuple, Any]]) -> Iterator[str]:
    """What went otherwise than it should. A card's message may be about the weights beside it: the stem is named."""
    for path, wrong in chosen:
        value = replaced(kind.value, path, wrong)
        if kind.file.suffix == ".jsonl" and not isinstance(value, list):
            continue
        kind.write(value)
        try:
            obeys(kind.read, source=kind.file.stem)
        except Exception as error:  # noqa: BLE001 (all of them are what is looked for)
            yield f"{'.'.join(map(str, path))} = {str(wrong)[:40]!r}: {type(error).__name__}: {str(error)[:300]}"
    kind.write(kind.value)


def test_every_kind_of_file_is_there_and_its_whole_file_is_read(kinds: dict[str, Kind]) -> None:
    assert set(kinds) == set(NAMES)
    for kind in kinds.values():
        kind.write(kind.value)
        assert obeys(kind.read) is None, kind.file


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_wrong_values(kinds: dict[str, Kind], name: str) -> None:
    assert list(failures(kinds[name], spread(cases(kinds[name].value), 12, seed=len(name)))) == []


@pytest.mark.parametrize("name", NAMES)
def test_texts_that_are_no_such_file(kinds: dict[str, Kind], name: str) -> None:
    kind = kinds[name]
    for text in TEXTS.values():
        kind.file.write_bytes(text + b"\n")
        message = obeys(kind.read, source=kind.file.stem)
        assert message or kind.file.suffix == ".jsonl", text[:20]
    kind.file.unlink()
    kind.file.mkdir()
    assert obeys(kind.read, source=kind.file.stem)
    kind.file.rmdir()
    kind.write(kind.value)


@pytest.mark.faults
@pytest.mark.parametrize("name", NAMES)
def test_every_key_with_every_wrong_value(kinds: dict[str, Kind], name: str) -> None:
    chosen = cases(kinds[name].value)
    odd = list(failures(kinds[name], chosen))
    tally(f"stored JSON: {name}", len(chosen), len(chosen) - len(odd))
    assert odd == []
