"""Plans and scores through their files, and what damaged files say."""

import json

import pytest
import torch

from compress.plan import UserError, WidthPlan, load_scores, save_scores

PLAN = WidthPlan("preresnet", {"a": 4, "b.c": 2}, {"a": (0, 2, 3), "b.c": (1,)}, {"pruned_ratio": 1 / 3, "note": None})


def test_a_plan_survives_its_file(tmp_path):
    PLAN.save(tmp_path / "deep" / "plan.json")
    assert WidthPlan.load(tmp_path / "deep" / "plan.json") == PLAN
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["plan.json"], "no temporary file stays"
    assert PLAN.widths == {"a": 3, "b.c": 1}


@pytest.mark.parametrize("kept", [(1, 0), (1, 1), (-1, 2), (0, 4)])
def test_kept_indices_must_be_ascending_distinct_and_in_range(kept):
    with pytest.raises(UserError, match="kept indices of 'a' must be ascending, distinct and from 0 to 3"):
        WidthPlan("preresnet", {"a": 4}, {"a": kept})


def test_sizes_and_kept_must_name_the_same_groups():
    with pytest.raises(UserError, match=r"\['a', 'b'\]"):
        WidthPlan("preresnet", {"a": 4}, {"b": (0,)})


def damage(**changes):
    return {"format": 1, "space": "preresnet", "groups": {"a": {"size": 4, "kept": [0, 2]}}, **changes}


@pytest.mark.parametrize(
    "value",
    [
        [],
        "plan",
        None,
        {},
        damage(groups=None),
        damage(groups=[1, 2]),
        damage(groups={"a": [0, 2]}),
        damage(groups={"a": {"size": 4}}),
        damage(groups={"a": {"size": "4", "kept": [0]}}),
        damage(groups={"a": {"size": 4, "kept": "02"}}),
        damage(groups={"a": {"size": 4, "kept": [0, 2.5]}}),
        damage(groups={"a": {"size": 4, "kept": [2, 0]}}),
        damage(groups={"a": {"size": 2, "kept": [0, 2]}}),
        damage(format=2),
    ],
    ids=str,
)
def test_a_damaged_plan_is_refused_in_one_line(value, tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(value))
    with pytest.raises(UserError) as refusal:
        WidthPlan.load(file)
    assert "\n" not in str(refusal.value)


def test_the_undamaged_plan_of_that_test_is_read(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(damage()))
    assert WidthPlan.load(tmp_path / "plan.json").kept == {"a": (0, 2)}


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 1', b"\xff"])
def test_files_that_are_not_json_are_refused(content, tmp_path):
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(UserError, match=r"plan\.json: not valid JSON"):
        WidthPlan.load(tmp_path / "plan.json")
    with pytest.raises(UserError, match=r"other\.json: no such file"):
        WidthPlan.load(tmp_path / "other.json")


def test_scores_survive_their_file_bit_by_bit(tmp_path):
    scores = {"b": torch.randn(5), "a.x": torch.tensor([0.0, -0.0, 1e-40])}
    save_scores(tmp_path / "scores.safetensors", scores)
    loaded = load_scores(tmp_path / "scores.safetensors")
    assert loaded.keys() == scores.keys()
    assert all(torch.equal(loaded[n].view(torch.int32), scores[n].view(torch.int32)) for n in scores)


def test_damaged_scores_are_refused(tmp_path):
    file = tmp_path / "scores.safetensors"
    with pytest.raises(UserError, match="no such file; run the search"):
        load_scores(file)
    save_scores(file, {"a": torch.randn(100)})
    for content in (file.read_bytes()[:-10], b"", b"x" * 100):
        file.write_bytes(content)
        with pytest.raises(UserError, match="not a safetensors file"):
            load_scores(file)
