"""MobileNetV2: counts, masked equals sliced, removed blocks, and a checkpoint of timm."""

import pytest
import torch
from torch import nn

from compress.costs import count_macs, count_params, macs, params
from compress.plan import UserError, WidthPlan
from compress.pruning import Budget, select, slice_model
from compress.spaces import (
    Alphas,
    Card,
    MobileNetV2Space,
    blocks_of,
    fold_scores,
    load_model,
    load_state,
    read_state,
    save_model,
    sizes,
)

INPUT = (3, 64, 64)


def randomised(space, seed=0):
    torch.manual_seed(seed)
    model = space.build()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
        norm.running_mean.normal_(std=0.3)
        norm.running_var.uniform_(0.5, 2.0)
    return model.double().eval()


def plan_of(space, share, *, removed=(), seed=0):
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for name, n in sizes(space.groups).items():
        width = 0 if name in removed else max(1, int(n * share))
        kept[name] = tuple(sorted(torch.randperm(n, generator=generator)[:width].tolist()))
    return WidthPlan(space.name, sizes(space.groups), kept)


def test_the_original_in_numbers():
    """timm's mobilenetv2_100 with 1000 classes: 3.50 M parameters, 300.8 M multiply-adds at 224 x 224."""
    space = MobileNetV2Space(num_classes=1000)
    widths = sizes(space.groups)
    operators = space.operators((3, 224, 224))
    assert (params(operators, widths), macs(operators, widths)) == (3_504_872, 300_774_272)
    assert [len(space.groups), widths["blocks.1.0"], widths["blocks.6.0"]] == [16, 96, 960]


@pytest.mark.parametrize(("multiplier", "outputs"), [(0.5, False), (1.0, True), (0.37, True), (0.37, False)])
def test_formula_equals_count_before_and_after_slicing(multiplier, outputs):
    space = MobileNetV2Space(num_classes=7, multiplier=multiplier, score_outputs=outputs)
    changes = {"blocks.1.0": 3, "blocks.2.1": 0, "blocks.3.2": 0, "blocks.5.1": 40}
    changes |= {"blocks.3.out": 9} if outputs else {}
    for s in (space, space.with_widths(changes)):
        model, operators = s.build(), s.operators(INPUT)
        assert count_params(model) == params(operators, sizes(s.groups))
        assert count_macs(model, INPUT) == macs(operators, sizes(s.groups))


@pytest.mark.parametrize("outputs", [False, True])
@pytest.mark.parametrize("removed", [(), ("blocks.2.1", "blocks.3.1", "blocks.5.2")])
@pytest.mark.parametrize(("multiplier", "share"), [(0.35, 0.0), (0.35, 0.4), (0.35, 1.0), (0.25, 0.4), (0.1, 0.4)])
@torch.no_grad()
def test_masked_equals_sliced(outputs, removed, multiplier, share):
    space = MobileNetV2Space(num_classes=5, multiplier=multiplier, score_outputs=outputs)
    model, plan = randomised(space), plan_of(space, share, removed=removed)
    x = torch.randn(3, *INPUT, dtype=torch.float64)
    masks = Alphas(space.groups).double()
    masks.load_scores(
        {name: torch.zeros(plan.sizes[name]).index_fill(0, torch.tensor(k, dtype=torch.long), 1.0)
         for name, k in plan.kept.items()}
    )  # fmt: skip
    small, small_space = slice_model(model, space, plan)
    handles = masks.attach(model)
    masked = model(x)
    for handle in handles:
        handle.remove()
    assert float((small(x) - masked).abs().max() / masked.abs().max()) <= 1e-12
    assert set(sizes(small_space.groups)) == set(sizes(space.groups)) - set(removed)
    # Slicing again by half, from the network with removed blocks.
    again, _ = slice_model(small, small_space, plan_of(small_space, 0.5))
    assert again(x).shape == masked.shape


@torch.no_grad()
def test_gated_equals_folded():
    space = MobileNetV2Space(num_classes=5, multiplier=0.35, score_outputs=True)
    model = randomised(space)
    x = torch.randn(2, *INPUT, dtype=torch.float64)
    scores = {name: 0.1 * torch.rand(n) for name, n in sizes(space.groups).items()}
    alphas = Alphas(space.groups).double()
    alphas.load_scores(scores)
    handles = alphas.attach(model)
    gated = model(x)
    for handle in handles:
        handle.remove()
    fold_scores(model, space, scores)
    assert float((model(x) - gated).abs().max() / gated.abs().max()) <= 1e-12


def test_free_ratio_removes_blocks_whose_scores_are_all_zero_and_have_a_shortcut():
    space = MobileNetV2Space(num_classes=5, multiplier=0.35)
    scores = {name: torch.ones(n) for name, n in sizes(space.groups).items()}
    scores["blocks.2.1"].zero_()  # has a shortcut
    scores["blocks.2.0"].zero_()  # has none: floored
    scores["blocks.3.1"][:5] = 0
    blocks = blocks_of(space.groups)
    plan = select(scores, space.operators(INPUT), Budget(), space=space.name, blocks=blocks)
    full = sizes(space.groups)
    expected = {"blocks.2.1": 0, "blocks.2.0": 1, "blocks.3.1": full["blocks.3.1"] - 5}
    assert plan.widths == {**full, **expected}
    assert "blocks.2.0" not in blocks


def test_a_plan_that_empties_a_block_without_a_shortcut_is_refused():
    space = MobileNetV2Space(num_classes=5, multiplier=0.35)
    with pytest.raises(UserError, match=r"nothing kept of \['blocks\.2\.0'\]"):
        slice_model(space.build(), space, plan_of(space, 0.5, removed=("blocks.2.0",)))


def test_saved_and_loaded_with_removed_blocks(tmp_path):
    space = MobileNetV2Space(num_classes=3, multiplier=0.35)
    small, small_space = slice_model(randomised(space).float(), space, plan_of(space, 0.3, removed=("blocks.3.2",)))
    preprocessing = {
        "input_size": [3, 64, 64],
        "resize": None,
        "interpolation": "bilinear",
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
    }
    save_model(tmp_path / "model", small, Card(small_space.name, small_space.arch, ("a", "b", "c"), preprocessing))
    loaded, space_again, _ = load_model(tmp_path)
    assert space_again == small_space
    x = torch.randn(2, *INPUT)
    assert torch.equal(loaded(x), small(x))


def test_a_checkpoint_of_timm_loads(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("mobilenetv2_050", num_classes=9).eval()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "timm.pth")
    ours = MobileNetV2Space(num_classes=9, multiplier=0.5).build().eval()
    load_state(ours, read_state(tmp_path / "timm.pth"), source="timm.pth")
    x = torch.randn(2, *INPUT)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multiplier": 0}, r"space\.multiplier = 0"),
        ({"widths": {"blocks.9.9": 3}}, "no such group"),
        ({"widths": {"blocks.2.0": 0}}, "from 1 to"),
        ({"widths": {"blocks.2.1": -1}}, "from 0 to"),
    ],
)
def test_impossible_spaces_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        MobileNetV2Space(**{"num_classes": 3, **change})
