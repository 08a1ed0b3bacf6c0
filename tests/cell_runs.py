"""Tiny topology searches, run as a user runs them."""

from pathlib import Path

import pytest
from tool_runs import ROOT, Server

CELLS_RECIPE = ROOT / "recipes/topology/nats_digits_rarts.py"
TINY_CELLS = {"data.limit": 60, "data.input_size": 16, "data.resize": 16, "search.epochs": 3, "search.batch_size": 15}


def cell_options(**changes: object) -> list[str]:
    """`cell_options(search__epochs=2)`: the --cfg-options of a tiny search, with changes."""
    settings = TINY_CELLS | {key.replace("__", "."): value for key, value in changes.items()}
    return ["--cfg-options", *(f"{key}={value}" for key, value in settings.items())]


@pytest.fixture(scope="session")
def cell_run(tool: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search of two epochs. Only read it."""
    folder = tmp_path_factory.mktemp("cell-run") / "run"
    result = tool("search_topology", CELLS_RECIPE, "--work-dir", folder, *cell_options(search__epochs=2))
    assert (result.code, result.stderr) == (0, "")
    return folder
