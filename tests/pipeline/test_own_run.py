"""A run of another kind than pruning: its own recipe, stages and summary, and nothing that it has no use for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from compress.pipeline.context import RunContext
from compress.pipeline.running import start
from compress.pipeline.stage import CHECKPOINT, Figures, Stage, in_order, needed
from compress.plan import UserError, read_json, write_json
from compress.plan.run_files import RECORDS, RecordKind
from compress.report.progress import TerminalProgress


@dataclass(frozen=True)
class CellRecipe:
    """What a search of cells might need: no space, no data, no budget."""

    name: str = "cells"
    seed: int = 0
    nodes: int = 2

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "seed": self.seed, "nodes": self.nodes}


@dataclass
class CellContext(RunContext):
    """Counts what its stages do."""

    recipe: CellRecipe
    ran: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)

    @property
    def stages(self) -> Mapping[str, Stage[CellContext]]:
        return STAGES

    def check(self, stages: Sequence[str]) -> None:
        if self.recipe.nodes < 1:
            raise UserError("must be at least 1", argument="nodes", value=self.recipe.nodes, remedy="raise it")
        self.checked += stages

    def summary(self) -> Figures:
        return {**super().summary(), "edges": read_json(self.folder / "genotype.json")["edges"]}


def search(c: CellContext, figures: Figures) -> None:
    c.ran.append("search")
    write_json(c.folder / "genotype.json", {"edges": c.recipe.nodes * 2})
    figures["edges"] = c.recipe.nodes * 2


def train(c: CellContext, figures: Figures) -> None:
    c.ran.append("train")
    write_json(c.folder / "network.json", read_json(c.folder / "genotype.json"))


def report(c: CellContext, figures: Figures) -> None:
    c.ran.append("report")
    write_json(c.folder / "summary.json", c.summary())


STAGES: dict[str, Stage[CellContext]] = in_order(
    Stage("search", search, writes=("genotype.json",)),
    Stage("train", train, ("genotype.json",), ("network.json",)),
    Stage("report", report, ("genotype.json", "network.json"), ("summary.json",)),
)


@pytest.fixture(autouse=True)
def cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind of run, as a leaf room makes it known."""
    monkeypatch.setitem(RECORDS, "topology", RecordKind("nncompress topology"))


def run(folder: Path, *, stage: str | None = None, resume: bool = False, **settings: int) -> CellContext:
    recipe = CellRecipe(**settings)
    context = CellContext(recipe, TerminalProgress(quiet=True), resume=resume or stage is not None)
    start(context, folder, {"topology": recipe.to_json()}, stage=stage)
    return context


def test_it_needs_no_checkpoint_and_tells_its_own_summary(tmp_path: Path) -> None:
    done = run(tmp_path / "run")
    assert done.checked == done.ran == ["search", "train", "report"]
    summary = read_json(tmp_path / "run/summary.json")
    assert summary["edges"] == 4
    assert summary.keys() == {"format", "recipe", "seconds", "seed", "versions", "device", "edges"}
    assert summary["seconds"].keys() == {"search", "train"}
    assert read_json(tmp_path / "run/recipe.json") == {"topology": {"name": "cells", "seed": 0, "nodes": 2}}


def test_it_starts_stage_by_stage_and_goes_on(tmp_path: Path) -> None:
    assert run(tmp_path / "run", stage="search").ran == ["search"]
    with pytest.raises(UserError, match=r"--stage report: needs the stages before it, .* no finished train; run"):
        run(tmp_path / "run", stage="report")
    with pytest.raises(UserError, match=r"--stage search: already finished in .*; give a new --work-dir$"):
        run(tmp_path / "run", stage="search")
    with pytest.raises(UserError, match=r"--stage slice: no stage of this run; choose one of search, train, report"):
        run(tmp_path / "run", stage="slice")
    assert run(tmp_path / "run", resume=True).ran == ["train", "report"]


def test_what_is_wrong_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^nodes = 0: must be at least 1; raise it$"):
        run(tmp_path / "run", nodes=0)
    assert not (tmp_path / "run").exists()
    run(tmp_path / "run", stage="search")
    with pytest.raises(UserError, match=r"that run has other settings \(topology\.nodes: 2 there, 3 now\)"):
        run(tmp_path / "run", resume=True, nodes=3)


def test_stages_are_in_the_order_of_their_files() -> None:
    assert needed(STAGES, "report") == ["search", "train"]
    assert needed(STAGES, "search") == []
    with pytest.raises(ValueError, match=r"'train' reads 'genotype.json', which no stage before it writes"):
        in_order(STAGES["train"], STAGES["search"])
    with pytest.raises(ValueError, match="two stages have one name"):
        in_order(STAGES["search"], STAGES["search"])
    assert list(in_order(Stage("load", search, (CHECKPOINT,)))) == ["load"]
