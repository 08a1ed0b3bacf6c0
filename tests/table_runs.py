"""Runs with a latency table that is made up and bears this machine's key; what would be measured is made up too."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
from latency_tables import made_up_table

from compress.costs import LatencyTable
from compress.measure import TableConfig, table_key
from compress.pipeline import latency_budget
from compress.pipeline.recipe import load_recipe
from compress.pipeline.run import prune
from compress.plan import WidthPlan
from compress.pruning import Budget
from compress.report.progress import TerminalProgress
from compress.spaces import PreResNetSpace

RECIPE = Path(__file__).resolve().parents[1] / "recipes/width/preresnet20_digits_rarts.py"
SPACE, SIZE = PreResNetSpace(11, 10), (3, 32, 32)
RATIO = ("--latency-ratio", 0.6)
HALF = Budget("latency_ratio", 0.6)

Refused = Callable[..., str]
"""The fixture `prune` of tool_runs.py."""


class FakeTimer:
    """Stands for PlanTimer: what the table predicts, times the next of `factors`."""

    def __init__(self, table: LatencyTable, factors: tuple[float, ...]) -> None:
        self.table, self.factors, self.timed, self.settings = table, cycle(factors), 0, {}

    @contextmanager
    def open(self, space: object, input_size: tuple[int, int, int], **settings: int) -> Iterator[FakeTimer]:
        assert input_size == SIZE
        self.settings = settings
        yield self

    def ratio(self, widths: Mapping[str, int]) -> float:
        self.timed += 1
        return next(self.factors) * self.table.predict(SPACE.operators(SIZE), widths).ratio


@pytest.fixture(scope="session")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`table_file("other", device="x")` writes a table of this machine, but for what is given, and returns its path."""
    folder = tmp_path_factory.mktemp("tables")

    def write(name: str = "table", **key: object) -> Path:
        table = made_up_table(SPACE, SIZE)
        residual = {"median": 0.012, "p90": 0.03, "rank_correlation": 0.99, "n": 20}
        own = {**table_key(SPACE, SIZE, TableConfig()), **key}
        replace(table, key=own, record={"residual": residual}).save(folder / f"{name}.json")
        return folder / f"{name}.json"

    return write


@pytest.fixture(scope="session")
def going(tiny: Callable[..., list[str]]) -> Callable[..., None]:
    """`going(folder, stage="select")` runs stages in this process, so that measuring can be replaced."""

    def run(folder: Path, **arguments: object) -> None:
        options = {key: arguments.pop(key) for key in [*arguments] if "__" in key}
        with TerminalProgress() as progress:
            prune(load_recipe(RECIPE, tiny(**options)[1:]), folder, progress=progress, **arguments)

    return run


@pytest.fixture(scope="session")
def searched(
    going: Callable[..., None],
    table_file: Callable[..., Path],
    finished: tuple[Path, object],
    baseline: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run with a latency budget whose search is done: copy it."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    first = {"budget": HALF, "latency_table": str(table_file()), "checkpoint": str(baseline)}
    going(folder, stage="search", search_from=str(finished[0]), **first)
    return folder


@pytest.fixture
def run_folder(searched: Path, tmp_path: Path) -> Path:
    """A copy of `searched`."""
    shutil.copytree(searched, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch, table_file: Callable[..., Path]) -> Callable[..., FakeTimer]:
    """`timer(1.3)`: what is measured from here on is 1.3 times what the table says."""

    def install(*factors: float) -> FakeTimer:
        fake = FakeTimer(LatencyTable.load(table_file()), factors)
        monkeypatch.setattr(latency_budget, "PlanTimer", fake)
        return fake

    return install


def uncorrected(plan: WidthPlan, file: Path) -> float:
    return LatencyTable.load(file).predict(SPACE.operators(SIZE), plan.widths).ratio
