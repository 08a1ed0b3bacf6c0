"""What of a space the recipe settles: a checkpoint may be scored otherwise than it was trained, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe
from compress.plan import UserError
from compress.report.progress import TerminalProgress
from compress.spaces import SPACES, save_model

ROOT = Path(__file__).resolve().parents[2]
VIT = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
CASES = {
    "preresnet": ({"depth": 11}, {"score_inputs": True}, {"depth": 20}),
    "mobilenetv2": ({"multiplier": 0.1}, {"score_outputs": True}, {"multiplier": 0.2}),
    "vit": ({"model": "vit_tiny_patch16_224", "input_size": 32, "options": VIT}, {"scored": "vtp"}, {"input_size": 64}),
}


def context(space: str, arch: dict[str, Any], checkpoint: Path | None = None) -> Any:
    recipe = load_recipe(ROOT / "recipes/width/preresnet20_digits_rarts.py", ["data.limit=30"])
    recipe = replace(recipe, space={"type": space, **arch})
    return make_context(recipe, TerminalProgress(quiet=True), checkpoint=checkpoint and str(checkpoint))


@pytest.mark.parametrize("space", CASES)
def test_a_recipe_chooses_what_is_scored_and_nothing_else(space: str, tmp_path: Path) -> None:
    arch, choice, other = CASES[space]
    assert set(SPACES[space].choices) == choice.keys()
    trained = context(space, arch)
    torch.manual_seed(0)
    network = trained.full_space.build()
    save_model(tmp_path / "model", network, trained.card(trained.full_space))
    loaded, scored = context(space, {**arch, **choice}, tmp_path).baseline
    assert {key: scored.arch[key] for key in choice} == choice
    assert {g.name for g in scored.groups} != {g.name for g in trained.full_space.groups}
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())
    with pytest.raises(UserError, match=rf"^--checkpoint .*another architecture \({next(iter(other))} = "):
        _ = context(space, {**arch, **other}, tmp_path).baseline
