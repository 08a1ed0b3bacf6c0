"""Stages as data: what they say that they read and write is what they do, and what docs/formats.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.pipeline.run import prune
from compress.pipeline.stage import CHECKPOINT, needed
from compress.plan import UserError
from compress.report.progress import TerminalProgress

ROOT = Path(__file__).resolve().parents[2]
RECIPE = load_recipe(ROOT / "recipes/width/preresnet20_digits_rarts.py")
ORDER = ["load", "search", "select", "slice", "finetune", "export", "measure", "report"]


def context(**options: object):
    return make_context(RECIPE, TerminalProgress(quiet=True), **options)


def test_a_finished_run_holds_what_its_stages_write(finished) -> None:
    folder, stages = finished[0], context().stages
    written = {name for stage in stages.values() for name in stage.writes}
    assert list(stages) == ORDER
    assert {name for name in written if not (folder / name).is_file()} == set()
    # Everything else there is the run's record, its log or beside a network.
    cards = {f"{Path(name).stem}.json" for name in written if name.endswith(".safetensors")}
    known = {*written, *cards, "recipe.json", "stages.json", "metrics.jsonl", "search", "finetune"}
    assert {file.name for file in folder.iterdir()} - known == set()


def test_the_formats_page_tells_who_writes_what() -> None:
    page, _, _ = (ROOT / "docs/formats.md").read_text(encoding="utf-8").partition("\n## ")
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")]
    written_by = {name.strip(" `"): row[2] for row in rows for name in row[1].split(",")}
    for stage in context().stages.values():
        for name in stage.writes:
            assert stage.name in written_by[name], name


def test_every_stage_needs_all_before_it() -> None:
    stages = context().stages
    for i, name in enumerate(ORDER):
        assert needed(stages, name) == ORDER[:i] or name in ("measure", "report")
    # Measuring does not wait for anything that export does not.
    assert needed(stages, "measure") == ORDER[:6]
    assert needed(stages, "report") == ORDER[:7]


def test_the_aim_decides_on_the_stages() -> None:
    assert [name for name, stage in context().stages.items() if stage.parallel] == ["search", "finetune"]
    assert not context(search_from="other").stages["search"].parallel
    assert list(context(aim="train").stages) == ["train"]
    assert context(aim="train").stages["train"].reads == ()
    assert context(aim="train", checkpoint="a.pth").stages["train"].reads == (CHECKPOINT,)
    assert context(aim="finetune").stages["finetune"].reads == (CHECKPOINT,)


def test_a_checkpoint_is_demanded_where_a_stage_reads_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--checkpoint: missing; give the trained network"):
        prune(RECIPE, tmp_path / "run", progress=TerminalProgress(quiet=True))
    assert not (tmp_path / "run").exists()
