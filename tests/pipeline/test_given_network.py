"""A network that Python hands over is pruned by the same stages: its context gives what recipes and files give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compress.pipeline.images import ImageContext
from compress.pipeline.recipe import load_recipe
from compress.pipeline.running import start
from compress.pipeline.stage import Stage, in_order
from compress.pipeline.stages import PRUNING
from compress.plan import WidthPlan
from compress.plan.run_files import RECORDS, RecordKind
from compress.pruning import Budget
from compress.report.progress import TerminalProgress
from compress.spaces import PreResNetSpace, Space, load_model

RECIPE = Path(__file__).resolve().parents[2] / "recipes/width/preresnet20_digits_magnitude.py"


@dataclass
class GivenContext(ImageContext):
    """The unpruned network is an object; nothing is exported or fine-tuned."""

    given: tuple[nn.Module, Space] = field(kw_only=True)

    @property
    def baseline(self) -> tuple[nn.Module, Space]:
        return self.given

    @property
    def stages(self) -> Mapping[str, Stage[Any]]:
        return in_order(*PRUNING[:4])


def test_no_checkpoint_and_no_summary_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECORDS, "given", RecordKind("compress.prune"))
    recipe = load_recipe(RECIPE, ["space.depth=11", "data.limit=30", "measure.before_finetune=False"])
    space, budget = PreResNetSpace(11, 10), Budget("macs_ratio", 0.5)
    torch.manual_seed(0)
    context = GivenContext(recipe, TerminalProgress(quiet=True), budget=budget, given=(space.build(), space))
    folder = start(context, tmp_path / "run", {"given": recipe.to_json(), "budget": budget.to_json()})
    assert list(folder.stages) == ["load", "search", "select", "slice"]
    plan = WidthPlan.load(folder / "plan.json")
    assert 0.45 < plan.record["macs"]["after"] / plan.record["macs"]["before"] <= 0.5
    small, small_space, _ = load_model(folder / "sliced")
    assert small(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert {group.name: group.size for group in small_space.groups} == plan.widths
