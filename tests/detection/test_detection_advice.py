"""What a run of a detector says before it trains: its search's strength, and what is merged with defaults."""

import pytest
from drawn_coco import RECIPE, Silent, options_of

pytest.importorskip("mmdet")
from compress.detection.strength import strength_note
from compress.engine.settings import SearchConfig
from compress.measure import MeasureConfig
from compress.pipeline.images import make_context
from compress.pipeline.recipe import load_recipe

SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
ADAMW = {"type": "AdamW", "lr": 1e-4}
RARTS = {"type": "rarts", "order": "fused"}


def search(**changes):
    settings = {"epochs": 12, "batch_size": 2, "gamma": 1e-3, "method": RARTS, "optimizer": ADAMW}
    return SearchConfig(**{**settings, "alpha_optimizer": SGD, **changes})


def test_an_unusual_strength_is_told_with_a_gamma_that_makes_it_usual():
    """12 epochs of 500 images in halves, two at a time: 1500 steps, whose rates sum to 75; momentum makes it 750."""
    note = strength_note(search(), 500, 1)
    assert note == (
        "search.gamma = 0.001: 1500 steps make a search of strength 0.75, usual is 3 to 7; search.gamma=0.0047 makes "
        "it 3.5 (docs/method.md)"
    )
    assert strength_note(search(gamma=0.0047), 500, 1) is None
    assert "372 steps" in strength_note(search(), 500, 4)
    assert "strength 22" in strength_note(search(batch_size=16), 118287, 1), "all of COCO at the same gamma"
    assert "3000 steps" in strength_note(search(method={"type": "joint"}, gamma=1e-4), 500, 1), "no halves"


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha_optimizer": ADAMW},
        {"penalty": "latency", "latency_table": "t.json"},
        {"schedule": "step"},
        {"gamma": 0.0},
    ],
)
def test_where_strength_has_no_meaning_nothing_is_told(changes):
    assert strength_note(search(**changes), 500, 1) is None


def test_it_is_told_before_anything_is_trained(config_file, coco, network, tmp_path, monkeypatch):
    import torch

    torch.save({"state_dict": network.state_dict()}, tmp_path / "twin.pth")
    told = []
    monkeypatch.setattr(Silent, "note", lambda self, text: told.append(text), raising=False)
    context = make_context(
        load_recipe(RECIPE, options_of(config_file, coco)), Silent(), checkpoint=str(tmp_path / "twin.pth")
    )
    context.check(["finetune"])
    assert told == []
    context.check(["search"])
    assert len(told) == 1
    assert told[0].startswith(
        "search.gamma = 0.03: 2 steps make a search of strength 0.15, usual is 3 to 7; search.gamma="
    )


def test_measure_keeps_the_defaults_of_detectors(tmp_path):
    """A recipe that sets one thing of the section changes nothing else of it."""
    file = tmp_path / "mine.py"
    file.write_text(f"_base_ = {str(RECIPE)!r}\nmeasure = dict(_delete_=True, repeats=3)\n")
    measure = load_recipe(file).measure
    assert isinstance(measure, MeasureConfig)
    assert (measure.repeats, measure.backends, measure.batch) == (3, ("onnxruntime",), 1)
