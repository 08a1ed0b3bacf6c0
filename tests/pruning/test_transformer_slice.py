"""Swin and ViT: a network with masked dimensions and the sliced network are the same function."""

from copy import deepcopy

import pytest
import torch
from exact import check_folding, relative
from torch import nn

from compress.plan import UserError, WidthPlan
from compress.pruning import slice_model
from compress.spaces import Alphas, Card, SwinSpace, VitSpace, fold_scores, load_model, save_model, sizes

SWIN_T = "swin_tiny_patch4_window7_224"
# 36 pixels are 9 x 9 patches, then 5 x 5: windows of 4 are padded in both stages, and every second block shifts them.
SWIN = {"window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (1, 2), "drop_path_rate": 0.0}
# 40 pixels are 20 x 20 patches, then 10 x 10: windows of 7 are padded by 1 and by 4.
WIDE = {"patch_size": 2, "window_size": 7, "embed_dim": 16, "depths": (1, 2), "num_heads": (2, 4), "drop_path_rate": 0}
VIT = {"depth": 2, "patch_size": 8}


def spaces(scored):
    return {
        "swin": SwinSpace(5, SWIN_T, input_size=36, options=SWIN, scored=scored),
        "swin-wide": SwinSpace(5, SWIN_T, input_size=40, options=WIDE, scored=scored),
        "swin-no-bias": SwinSpace(5, SWIN_T, input_size=36, options={**SWIN, "qkv_bias": False}, scored=scored),
        "vit": VitSpace(5, "vit_small_patch16_224", input_size=32, options=VIT, scored=scored),
        "vit-no-bias": VitSpace(
            5, "vit_tiny_patch16_224", input_size=32, options={**VIT, "qkv_bias": False}, scored=scored
        ),
        "distilled": VitSpace(5, "deit_tiny_distilled_patch16_224", input_size=32, options=VIT, scored=scored),
    }


SPACES = {**spaces("sidt"), **{f"{name}-vtp": space for name, space in spaces("vtp").items()}}
FEW = {name: SPACES[name] for name in ("swin", "swin-vtp", "distilled", "distilled-vtp")}


@pytest.fixture(params=SPACES.values(), ids=SPACES.keys())
def space(request):
    return request.param


@pytest.fixture(params=FEW.values(), ids=FEW.keys())
def one_of_few(request):
    return request.param


def trained(space, seed=0):
    """Weights at which attention is far from uniform, and every bias, norm, token and position table matters."""
    torch.manual_seed(seed)
    model = space.build().eval()
    for name, parameter in model.named_parameters():
        layer = name.endswith(".weight") and parameter.dim() > 1
        nn.init.normal_(parameter, mean=0, std=parameter[0].numel() ** -0.5 if layer else 0.5)
    return model


def images(space, dtype=torch.float64, n=2):
    side = space.input_size or 224
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(99), dtype=dtype)


def fuse(model, fused):
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused


@torch.no_grad()
def masked_output(model, plan, x):
    """Output of `model` with all but the kept features zeroed, by hooks of our own, from the groups' names alone."""
    hooks = []
    for name, n in plan.sizes.items():
        mask = torch.zeros(n, dtype=x.dtype)
        mask[list(plan.kept[name])] = 1
        module = model.get_submodule(name)
        if name.endswith(".attn"):  # q, k and v of all heads
            copies = mask.repeat(3 * module.num_heads)
            hooks.append(module.qkv.register_forward_hook(lambda _, args, output, mask=copies: output * mask))
        else:  # hidden units, or the stream that a linear layer reads
            layer = module if isinstance(module, nn.Linear) else module.fc2
            hooks.append(layer.register_forward_pre_hook(lambda _, args, mask=mask: (args[0] * mask,)))
    try:
        return model(x)
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("fused", [False, True], ids=["unfused", "fused"])
@pytest.mark.parametrize("kind", ["full", "one", "random", "mixed"])
def test_masked_equals_sliced(space, kind, fused, random_plan):
    model, plan, x = trained(space).double(), random_plan(space, kind, 3), images(space)
    before = deepcopy(model.state_dict())
    small, small_space = slice_model(model, space, plan)
    assert sizes(small_space.groups) == plan.widths
    assert next(small.parameters()).dtype == torch.float64
    for network in (model, small):
        fuse(network, fused)
    expected = masked_output(model, plan, x)
    with torch.no_grad():
        assert relative(small(x), expected) <= 1e-12
        pruned = any(len(kept) < plan.sizes[name] for name, kept in plan.kept.items())
        assert (relative(model(x), expected) > 1e-3) == pruned, "the mask matters"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@torch.no_grad()
def test_masked_equals_sliced_in_training_mode(one_of_few, random_plan):
    """Rates of dropout and of dropped paths are zero, so training mode is evaluation mode."""
    model, plan, x = trained(one_of_few).double().train(), random_plan(one_of_few, "random", 1), images(one_of_few)
    small, _ = slice_model(model, one_of_few, plan)
    assert small.training
    expected = masked_output(model, plan, x)
    assert relative(small(x), expected) <= 1e-12
    assert relative(small.eval()(x), expected) <= 1e-12


@pytest.mark.parametrize(
    "space",
    [
        SwinSpace(1000, SWIN_T, options={"drop_path_rate": 0.0}),
        SwinSpace(10, SWIN_T, scored="vtp"),
        VitSpace(1000, "vit_small_patch16_224"),
        VitSpace(10, "deit_tiny_distilled_patch16_224"),
    ],
    ids=["swin_t", "swin_t-vtp", "vit_small", "deit_tiny_distilled"],
)
def test_masked_equals_sliced_at_full_size_in_float32(space, random_plan):
    model, plan, x = trained(space), random_plan(space, "random", 0), images(space, torch.float32, n=1)
    small, _ = slice_model(model, space, plan)
    for fused in (False, True):
        for network in (model, small):
            fuse(network, fused)
        with torch.no_grad():
            assert relative(small(x), masked_output(model, plan, x)) <= 1e-5


def test_query_key_and_value_lose_the_same_dimensions_in_every_head():
    space = SPACES["swin"]
    model, name = trained(space).double(), "layers.1.blocks.1"
    kept = [1, 2, 20]
    full = sizes(space.groups)
    plan = WidthPlan(space.name, full, {**{n: tuple(range(c)) for n, c in full.items()}, f"{name}.attn": tuple(kept)})
    wide, small = model.state_dict(), slice_model(model, space, plan)[0].state_dict()
    for part in ("weight", "bias"):
        rows = wide[f"{name}.attn.qkv.{part}"].view(3, 2, 24, -1)[:, :, kept].clone()
        rows[0] *= (3 / 24) ** 0.5  # the smaller head divides its logits by a smaller root
        found = small[f"{name}.attn.qkv.{part}"].view(3, 2, 3, -1)
        assert torch.equal(found[1:], rows[1:])
        torch.testing.assert_close(found[0], rows[0], rtol=1e-15, atol=0)
    columns = wide[f"{name}.attn.proj.weight"].view(48, 2, 24)[:, :, kept]
    assert torch.equal(small[f"{name}.attn.proj.weight"], columns.flatten(1))
    others = [n for n in wide if not n.startswith(f"{name}.attn.qkv") and n != f"{name}.attn.proj.weight"]
    assert all(torch.equal(small[n], wide[n]) for n in others)


@torch.no_grad()
def test_gated_equals_folded_and_gated_with_zeros_equals_folded_and_sliced(space, random_plan):
    model, plan, x = trained(space).double(), random_plan(space, "mixed", 8), images(space)
    check_folding(model, space, plan, x)


@torch.no_grad()
def test_scores_of_ones_change_nothing(space):
    model, x = trained(space).double(), images(space)
    gated = deepcopy(model)
    Alphas(space.groups).double().attach(gated)
    assert torch.equal(gated(x), model(x))


@torch.no_grad()
def test_a_sliced_network_stays_gated_and_foldable(one_of_few, random_plan):
    small, space = slice_model(trained(one_of_few).double(), one_of_few, random_plan(one_of_few, "mixed", 9))
    alphas = Alphas(space.groups).double()
    scores = {name: torch.rand(n) + 0.5 for name, n in sizes(space.groups).items()}
    alphas.load_scores(scores)
    gated, folded = deepcopy(small), deepcopy(small)
    alphas.attach(gated)
    fold_scores(folded, space, scores)
    assert relative(folded(images(space)), gated(images(space))) <= 1e-12


@pytest.mark.parametrize(("kind", "seed"), [("random", 0), ("mixed", 1), ("mixed", 2)])
@torch.no_grad()
def test_slicing_twice_is_slicing_once_with_composed_indices(space, kind, seed, random_plan):
    model, first, x = trained(space).double(), random_plan(space, kind, seed), images(space)
    small, small_space = slice_model(model, space, first)
    second = random_plan(small_space, kind, seed + 1)
    twice, twice_space = slice_model(small, small_space, second)
    kept = {name: tuple(first.kept[name][i] for i in second.kept[name]) for name in first.kept}
    composed = WidthPlan(space.name, first.sizes, kept)
    once, once_space = slice_model(model, space, composed)
    assert twice_space == once_space
    assert twice.state_dict().keys() == once.state_dict().keys()
    for name, value in twice.state_dict().items():
        if name.endswith("qkv.weight") or name.endswith("qkv.bias"):  # scaled twice and once
            torch.testing.assert_close(value, once.state_dict()[name], rtol=1e-15, atol=0)
        else:
            assert torch.equal(value, once.state_dict()[name])
    assert relative(twice(x), masked_output(model, composed, x)) <= 1e-12


def test_features_of_vtp_are_gathered_by_the_plan(random_plan):
    space = SPACES["swin-vtp"]
    plan = random_plan(space, "random", 2)
    small, _ = slice_model(trained(space), space, plan)
    for name in ("layers.0.blocks.1.attn.qkv", "layers.1.blocks.0.attn.proj", "layers.1.blocks.1.mlp.fc1"):
        assert 0 < len(plan.kept[name]) < plan.sizes[name]
        assert small.get_buffer(f"{name}.index").tolist() == list(plan.kept[name])
        assert small.get_submodule(name).weight.shape[1] == len(plan.kept[name])


def test_a_sliced_network_of_vtp_is_saved_loaded_and_sliced_again(tmp_path, random_plan):
    space = SPACES["swin-vtp"]
    small, small_space = slice_model(trained(space), space, random_plan(space, "mixed", 0))
    preprocessing = {
        "input_size": [3, 36, 36],
        "resize": None,
        "interpolation": "bilinear",
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
    }
    save_model(tmp_path / "model", small, Card(space.name, small_space.arch, tuple("abcde"), preprocessing))
    loaded, loaded_space, _ = load_model(tmp_path)
    x = images(space, torch.float32)
    assert torch.equal(loaded(x), small(x))
    plan = random_plan(loaded_space, "random", 1)
    again, expected = (slice_model(m, s, plan)[0] for m, s in ((loaded, loaded_space), (small, small_space)))
    assert torch.equal(again(x), expected(x))


def test_timms_network_and_a_plans_file_give_the_sliced_network_again(one_of_few, tmp_path, random_plan):
    timm = pytest.importorskip("timm")
    space, plan = one_of_few, random_plan(one_of_few, "random", 4)
    model = trained(space)
    small, small_space = slice_model(model, space, plan)
    plan.save(tmp_path / "plan.json")
    theirs = timm.create_model(space.model, num_classes=5, img_size=space.input_size, **space.options).eval()
    theirs.load_state_dict(model.state_dict())
    arguments = {"input_size": space.input_size, "options": space.options, "scored": space.scored}
    again, again_space = slice_model(
        theirs, type(space)(5, space.model, **arguments), WidthPlan.load(tmp_path / "plan.json")
    )
    assert again_space == small_space
    x = images(space, torch.float32)
    assert torch.equal(again(x), small(x))


def test_dropped_paths_keep_their_rates(random_plan):
    space = SwinSpace(5, SWIN_T, input_size=36, options={**SWIN, "drop_path_rate": 0.3, "proj_drop_rate": 0.1})
    model = trained(space)
    small, _ = slice_model(model, space, random_plan(space, "random", 0))
    rates = [
        [getattr(module, "drop_prob", None) or getattr(module, "p", None) for module in network.modules()]
        for network in (model, small)
    ]
    assert rates[0] == rates[1]
    assert max(rate or 0 for rate in rates[0]) == pytest.approx(0.3)


def test_a_plan_of_another_network_is_refused_with_the_groups_named(random_plan):
    space, vtp = SPACES["swin"], SPACES["swin-vtp"]
    deeper = SwinSpace(5, SWIN_T, input_size=36, options={**SWIN, "depths": (2, 3)})
    with pytest.raises(
        UserError, match=r"another network; 2 groups differ: layers\.1\.blocks\.2\.attn \(plan 24, network None\)"
    ) as caught:
        slice_model(trained(space), space, random_plan(deeper, "one", 0))
    assert "\n" not in str(caught.value)
    wider = SwinSpace(5, SWIN_T, input_size=36, options={**SWIN, "embed_dim": 48})
    with pytest.raises(UserError, match=r"8 groups differ: layers\.0\.blocks\.0\.attn \(plan 48, network 24\)"):
        slice_model(trained(space), space, random_plan(wider, "one", 0))
    with pytest.raises(UserError, match=r"16 groups differ: .*blocks\.0\.attn\.proj \(plan 24, network None\)"):
        slice_model(trained(space), space, random_plan(vtp, "one", 0))


def test_a_plan_that_empties_a_group_of_what_layers_read_is_refused():
    space = SPACES["swin-vtp"]
    full = sizes(space.groups)
    kept = {name: tuple(range(n)) for name, n in full.items()}
    for name in ("layers.0.blocks.0.attn.qkv", "layers.1.blocks.0.mlp"):
        with pytest.raises(UserError, match=rf"nothing kept of \['{name}'\].*keep at least one"):
            slice_model(trained(space), space, WidthPlan(space.name, full, {**kept, name: ()}))
