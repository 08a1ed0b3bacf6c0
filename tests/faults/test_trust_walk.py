"""A stranger's files are data: whatever one says, nothing runs, is imported, fetched, or read from elsewhere.

Every text of every file kind that a finished run leaves is replaced, one at a time, by every payload, and the file is
read as the tools read it. The audit of `campaign.obeys` sees processes, imports, marked files and sockets.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from audit import MARK
from cell_kinds import become_richer
from trust_cases import DETECTOR, SECRET
from trust_cells import (
    cell_cards,
    cell_metrics,
    cell_recipes,
    cell_reports,
    cell_scores,
    cell_tables,
    genotypes,
)
from trust_readers import (
    CATEGORIES,
    PREDICTIONS,
    PREPROCESSING,
    SIDES,
    cards,
    engine_cards,
    metrics,
    onnx_files,
    plans,
    recipes,
    reports,
    spaces,
    tables,
    tensors,
)  # fmt: skip

import compress
from compress.report import write_report
from compress.spaces import Card, save_model
from compress.topology.report import write_topology_report


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that only its owner may read; beside it a module of that name, which can be imported."""
    (tmp_path / f"{MARK}.py").write_text("def run(*arguments, **keywords):\n    raise SystemExit('it was run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / f"{MARK}.json"
    file.write_bytes(SECRET)
    return file


@pytest.fixture
def run(finished: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of a finished run, with what a detector's run leaves besides."""
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    (folder / "predictions").mkdir()
    for side in SIDES:
        (folder / f"predictions/a_{side}.jpg").write_bytes(b"\xff\xd8 picture")
    (folder / "predictions.json").write_text(json.dumps(PREDICTIONS))
    (folder / "categories.json").write_text(json.dumps(CATEGORIES))
    write_report(folder)  # and what it imports is imported
    return folder


@pytest.fixture
def cells(cell_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished topology search, with what a table of true accuracies and one of latencies would add."""
    folder = tmp_path / "cells"
    shutil.copytree(cell_run, folder)
    become_richer(folder)
    write_topology_report(folder)
    return folder


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny detector."""
    pytest.importorskip("mmdet")
    from compress.detection import DetectorSpace

    folder = tmp_path_factory.mktemp("detector")
    space = DetectorSpace(num_classes=2, model=DETECTOR)
    save_model(folder / "model", space.build(), Card("detector", space.arch, ("a", "b"), PREPROCESSING))
    compress.load(folder)
    return folder


KINDS = [reports, metrics, recipes, plans, tensors, onnx_files]
CELLS = [cell_reports, cell_metrics, cell_scores, cell_recipes, genotypes]
ALONE = [tables, engine_cards, spaces, cell_tables, cell_cards]


@pytest.mark.parametrize("kind", [*KINDS, cards], ids=lambda kind: kind.__name__)
def test_some_payloads_in_a_runs_files(run: Path, secret: Path, kind: Any) -> None:
    kind(run, secret, 8)


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
def test_some_payloads_in_the_files_of_a_topology_search(cells: Path, secret: Path, kind: Any) -> None:
    kind(cells, secret, 12)


@pytest.mark.parametrize("kind", ALONE, ids=lambda kind: kind.__name__)
def test_some_payloads_in_files_alone(tmp_path: Path, secret: Path, kind: Any) -> None:
    kind(tmp_path, secret, 12)


def test_some_payloads_in_a_detectors_card(detector: Path, secret: Path) -> None:
    cards(detector, secret, 25, added=True)


@pytest.mark.faults
@pytest.mark.parametrize("kind", [*KINDS, cards], ids=lambda kind: kind.__name__)
def test_every_payload_in_a_runs_files(run: Path, secret: Path, kind: Any) -> None:
    kind(run, secret, None)


@pytest.mark.faults
@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
def test_every_payload_in_the_files_of_a_topology_search(cells: Path, secret: Path, kind: Any) -> None:
    kind(cells, secret, None)


@pytest.mark.faults
@pytest.mark.parametrize("kind", ALONE, ids=lambda kind: kind.__name__)
def test_every_payload_in_files_alone(tmp_path: Path, secret: Path, kind: Any) -> None:
    kind(tmp_path, secret, None)


@pytest.mark.faults
def test_every_payload_in_a_detectors_card(detector: Path, secret: Path) -> None:
    cards(detector, secret, None, added=True)
