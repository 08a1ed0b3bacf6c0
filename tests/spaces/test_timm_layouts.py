"""Checkpoints in Microsoft's and other layouts: exact where they fit, interpolated with a warning, or refused."""

import re
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.plan import UserError
from compress.spaces import (
    Card,
    PreResNetSpace,
    SwinSpace,
    VitSpace,
    load_model,
    load_state,
    make_space,
    read_state,
    save_model,
)
from compress.spaces.timm_layouts import in_timm_layout

ROOT = Path(__file__).resolve().parents[2]
SWIN_T = "swin_tiny_patch4_window7_224"
OPTIONS = {"window_size": 4, "embed_dim": 24, "depths": (2, 2, 1), "num_heads": (1, 2, 4)}
SWIN = SwinSpace(num_classes=5, model=SWIN_T, input_size=64, options=OPTIONS)
DEIT = VitSpace(5, "deit_tiny_patch16_224", input_size=32, options={"depth": 2})


def network_of(space):
    """Random values everywhere, so that nothing is at its neutral start."""
    torch.manual_seed(0)
    model = space.build().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def images(side):
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(9))


def microsoft(model):
    """The state dict of a timm Swin as github.com/microsoft/Swin-Transformer names it, with its buffers."""
    state = {}
    for name, value in model.state_dict().items():
        name = re.sub(r"layers\.(\d+)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name)
        state[name.replace("head.fc.", "head.")] = value
    return state | dict(model.named_buffers())


def changed(space, **options):
    return replace(space, options={**space.options, **options})


def refused(space, state, message):
    """`state` is refused for `space` in one line and without a warning."""
    model = space.build()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=message) as caught:
            load_state(model, state, source="net.pth")
    assert "\n" not in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_swin_in_microsofts_layout_loads_exactly(tmp_path, prefix):
    theirs = network_of(SWIN)
    state = microsoft(theirs)
    assert {"layers.0.downsample.reduction.weight", "layers.1.downsample.norm.bias", "head.weight"} <= state.keys()
    assert {"layers.0.blocks.1.attn_mask", "layers.2.blocks.0.attn.relative_position_index"} <= state.keys()
    assert not any(name.startswith(("layers.2.downsample", "head.fc")) for name in state)
    torch.save({"model": {prefix + name: value for name, value in state.items()}, "epoch": 299}, tmp_path / "swin.pth")
    ours = SWIN.build().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_state(ours, read_state(tmp_path / "swin.pth"), source="swin.pth")
    assert torch.equal(ours(images(64)), theirs(images(64)))


@torch.no_grad()
def test_timm_merges_and_indexes_in_microsofts_order():
    """Renaming is enough: neighbours are concatenated, and biases looked up, in the order of Microsoft's code."""
    model = network_of(SWIN)
    merging, x = model.layers[1].downsample, torch.randn(2, 16, 16, 24)
    neighbours = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
    assert torch.equal(merging(x), merging.reduction(merging.norm(neighbours)))
    axes = torch.arange(4)
    rows, columns = (axis.flatten() for axis in torch.meshgrid(axes, axes, indexing="ij"))
    index = (rows[:, None] - rows + 3) * 7 + columns[:, None] - columns + 3
    assert torch.equal(model.layers[0].blocks[0].attn.relative_position_index.view(16, 16), index)


@torch.no_grad()
def test_layer_scales_of_deit_3_under_their_first_names_load_exactly():
    space = VitSpace(5, "deit3_small_patch16_224", input_size=32, options={"depth": 2})
    theirs, ours = network_of(space), space.build().eval()
    state = {re.sub(r"ls(\d)\.gamma", r"gamma_\1", name): value for name, value in theirs.state_dict().items()}
    assert "blocks.1.gamma_2" in state
    load_state(ours, state, source="deit3.pth")
    assert torch.equal(ours(images(32)), theirs(images(32)))


def test_swins_of_another_architecture_are_refused_under_timms_names():
    state = microsoft(network_of(SWIN))
    refused(replace(SWIN, num_classes=7), state, r"2 of another shape: head\.fc\.weight \(5, 96\) instead of \(7, 96\)")
    headless = {name: value for name, value in state.items() if not name.startswith("head.")}
    refused(SWIN, headless, r"net\.pth: .*; 2 missing: head\.fc\.weight, head\.fc\.bias; set the recipe's space")
    refused(changed(SWIN, depths=(1, 2, 1)), state, r"13 unexpected: layers\.0\.blocks\.1\.\S+, .*\.\.\.; set")
    refused(changed(SWIN, depths=(3, 2, 1)), state, r"; 13 missing: layers\.0\.blocks\.2\.\S+, .*\.\.\.; set")
    refused(changed(SWIN, num_heads=(2, 4, 8)), state, r"bias_table \(49, 1\) instead of \(49, 2\)")
    refused(
        changed(SWIN, patch_size=2), state, r"1 of another shape: patch_embed\.proj\.weight \(24, 3, 4, 4\) instead"
    )
    table = "layers.1.blocks.0.attn.relative_position_bias_table"
    refused(SWIN, {**state, table: torch.zeros(49)}, rf"{re.escape(table)} \(49,\) instead of \(49, 2\)")
    refused(SWIN, {**state, table: torch.zeros(50, 2)}, rf"{re.escape(table)} \(50, 2\) instead of \(49, 2\)")
    refused(DEIT, state, r"missing: cls_token, pos_embed, .* unexpected: ")


def test_vits_of_another_architecture_are_refused():
    state = network_of(DEIT).state_dict()
    refused(replace(DEIT, num_classes=7), state, r"2 of another shape: head\.weight \(5, 192\) instead of \(7, 192\)")
    refused(replace(DEIT, model="deit_small_patch16_224"), state, r"pos_embed \(1, 5, 192\) instead of \(1, 5, 384\)")
    distilled = network_of(replace(DEIT, model="deit_tiny_distilled_patch16_224")).state_dict()
    refused(DEIT, distilled, r"3 unexpected: dist_token, head_dist\.weight, head_dist\.bias; 1 of .*pos_embed")
    refused(replace(DEIT, input_size=64, options={"depth": 3}), state, r"12 missing: blocks\.2\.norm1\.weight")


@torch.no_grad()
@pytest.mark.parametrize("layout", [microsoft, nn.Module.state_dict], ids=["microsoft", "timm"])
def test_tables_of_another_window_are_interpolated_with_a_warning(layout):
    theirs, larger = network_of(SWIN), changed(replace(SWIN, input_size=128), window_size=8)
    ours = larger.build().eval()
    says = r"swin\.pth: 5 position tables .*layers\.0\.blocks\.0\S+ from \(49, 1\) to \(225, 1\); .*space\.options"
    with pytest.warns(UserWarning, match=says) as caught:
        load_state(ours, layout(theirs), source="swin.pth")
    assert len(caught) == 1, "none of timm's own"
    before, after = theirs.state_dict(), ours.state_dict()
    for name, value in before.items():
        if name.endswith("relative_position_bias_table"):
            assert torch.equal(after[name][112], value[24]), "a token's bias for itself"
            assert after[name].min() >= value.min() - 1e-5
            assert after[name].max() <= value.max() + 1e-5
        else:
            assert torch.equal(after[name], value), name
    assert ours(images(128)).shape == (2, 5)


@torch.no_grad()
def test_positions_of_another_image_size_are_interpolated_with_a_warning():
    theirs, ours = network_of(DEIT), replace(DEIT, input_size=48).build().eval()
    with pytest.warns(UserWarning, match=r"deit\.pth: 1 position tables .*pos_embed from \(1, 5, 192\) to \(1, 10, 19"):
        load_state(ours, theirs.state_dict(), source="deit.pth")
    for name, value in theirs.state_dict().items():
        if name == "pos_embed":
            assert torch.equal(ours.pos_embed[:, 0], value[:, 0]), "the class token has no place"
        else:
            assert torch.equal(ours.state_dict()[name], value), name
    assert ours(images(48)).shape == (2, 5)


def test_tables_that_fit_are_taken_as_they_are_for_windows_that_are_not_square():
    """(2 - 1) (10 - 1) = 9 biases could be those of a window of 2 x 2."""
    space = changed(SWIN, window_size=[1, 5])
    theirs, ours = network_of(space), space.build()
    load_state(ours, theirs.state_dict(), source="swin.pth")
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in theirs.state_dict().items())


def test_our_own_files_are_never_interpolated(tmp_path):
    """Their card says the window: another one is a mistake."""
    preprocessing = {"input_size": [3, 128, 128], "resize": None, "mean": [0] * 3, "std": [1] * 3}
    other = changed(replace(SWIN, input_size=128), window_size=8)
    save_model(tmp_path / "model", network_of(SWIN), Card("swin", other.arch, tuple("abcde"), preprocessing))
    with pytest.raises(UserError, match=r"another architecture; 5 of another shape: .*bias_table \(49, 1\)"):
        load_model(tmp_path)


def test_networks_of_other_families_keep_their_states():
    model = PreResNetSpace(11, 4).build()
    state = {**model.state_dict(), "layers.0.downsample.reduction.weight": torch.zeros(1), "attn_mask": torch.zeros(1)}
    assert in_timm_layout(model, state) == state


@torch.no_grad()
def test_the_load_stage_takes_microsofts_layout(tmp_path):
    from compress.pipeline.recipe import load_recipe
    from compress.pipeline.run import prune
    from compress.pruning import Budget
    from compress.report.progress import TerminalProgress

    recipe = load_recipe(ROOT / "recipes/sidt/swin_digits.py", ["data.limit=60"])
    theirs = network_of(
        make_space("swin", {"num_classes": 10, **{k: v for k, v in recipe.space.items() if k != "type"}})
    )
    torch.save({"model": microsoft(theirs)}, tmp_path / "swin.pth")
    with TerminalProgress(quiet=True) as progress:
        prune(
            recipe,
            tmp_path / "run",
            progress=progress,
            budget=Budget("pruning_ratio", 0.4),
            checkpoint=str(tmp_path / "swin.pth"),
            stage="load",
        )
    ours = load_model(tmp_path / "run" / "baseline")[0]
    assert torch.equal(ours(images(32)), theirs(images(32)))
