"""A network with pruned channels multiplied by zero and the sliced network are the same function."""

from copy import deepcopy

import pytest
import torch
from exact import check_folding, relative

from compress.plan import UserError, WidthPlan
from compress.pruning import slice_model
from compress.spaces import Alphas, PreResNetSpace, fold_scores, sizes

SPACES = [PreResNetSpace(depth, 7, score_inputs=inputs) for depth in (20, 29) for inputs in (False, True)]
IDS = ["20", "20-inputs", "29", "29-inputs"]
CASES = [
    (kind, seed) for kind in ("full", "one", "random", "mixed") for seed in ((0, 1, 2) if kind == "mixed" else (0,))
]


def images(dtype=torch.float32, n=4):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(99), dtype=dtype)


def reader(group):
    """The layer that reads a group, from the network's definition: the next convolution of the block."""
    block, _, name = group.rpartition(".")
    return "fc" if block == "head" else f"{block}.{ {'input': 'conv1', 'conv1': 'conv2', 'conv2': 'conv3'}[name] }"


def masked_output(model, plan, x):
    """Output of `model` with all channels but the kept ones zeroed where they are read, by hooks of our own."""
    hooks = []
    for group, n in plan.sizes.items():
        mask = torch.zeros(n, dtype=x.dtype)
        mask[list(plan.kept[group])] = 1

        def zero(module, args, mask=mask):
            return (args[0] * mask.view(-1, *[1] * (args[0].dim() - 2)),)

        hooks.append(model.get_submodule(reader(group)).register_forward_pre_hook(zero))
    try:
        with torch.no_grad():
            return model(x)
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("space", SPACES, ids=IDS)
@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_masked_equals_sliced(space, kind, seed, randomised, random_plan):
    model, plan = randomised(space, seed), random_plan(space, kind, seed)
    before = deepcopy(model.state_dict())
    small, small_space = slice_model(model, space, plan)
    assert sizes(small_space.groups) == plan.widths
    assert not small.training
    with torch.no_grad():
        found = small(images())
    assert relative(found, masked_output(model, plan, images())) <= 1e-5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("space", SPACES[:2], ids=IDS[:2])
@pytest.mark.parametrize("training", [False, True])
def test_masked_equals_sliced_in_float64_also_with_batch_statistics(space, training, randomised, random_plan):
    model, plan = randomised(space, 3).double().train(training), random_plan(space, "mixed", 3)
    small, _ = slice_model(model, space, plan)
    assert small.training == training
    assert small.fc.weight.dtype == torch.float64
    expected = masked_output(model, plan, images(torch.float64))
    with torch.no_grad():
        found = small(images(torch.float64))
    assert relative(found, expected) <= 1e-12
    # Training has moved the running statistics of both alike.
    kept = list(plan.kept["layer2.0.conv1"])
    wide, narrow = model.layer2[0].bn2, small.layer2[0].bn2
    torch.testing.assert_close(narrow.running_mean, wide.running_mean[kept], rtol=0, atol=1e-12)
    torch.testing.assert_close(narrow.running_var, wide.running_var[kept], rtol=1e-12, atol=1e-12)


def test_every_tensor_is_sliced_exactly(randomised, random_plan):
    space = PreResNetSpace(20, 7, score_inputs=True)
    model, plan = randomised(space, 5), random_plan(space, "random", 5)
    wide, small = model.state_dict(), slice_model(model, space, plan)[0].state_dict()
    kept = {name: list(indices) for name, indices in plan.kept.items()}
    for stage in (1, 2, 3):
        for i in (0, 1):
            b = f"layer{stage}.{i}"
            rows = {"bn1": kept[f"{b}.input"], "bn2": kept[f"{b}.conv1"], "bn3": kept[f"{b}.conv2"]}
            for norm, index in rows.items():
                for tensor in ("weight", "bias", "running_mean", "running_var"):
                    assert torch.equal(small[f"{b}.{norm}.{tensor}"], wide[f"{b}.{norm}.{tensor}"][index])
            for conv, (out, into) in {"conv1": ("bn2", "bn1"), "conv2": ("bn3", "bn2"), "conv3": (None, "bn3")}.items():
                weight = wide[f"{b}.{conv}.weight"][:, rows[into]]
                assert torch.equal(small[f"{b}.{conv}.weight"], weight if out is None else weight[rows[out]])
            assert small[f"{b}.select.index"].tolist() == kept[f"{b}.input"]
    for untouched in ("conv1.weight", "layer1.0.downsample.0.weight", "fc.bias"):
        assert torch.equal(small[untouched], wide[untouched])
    assert torch.equal(small["fc.weight"], wide["fc.weight"][:, kept["head.input"]])
    assert small["select.index"].tolist() == kept["head.input"]


@pytest.mark.parametrize(("kind", "seed"), [("random", 0), ("random", 1), ("mixed", 2), ("mixed", 3)])
@pytest.mark.parametrize("inputs", [False, True])
def test_slicing_twice_is_slicing_once_with_composed_indices(kind, seed, inputs, randomised, random_plan):
    space = PreResNetSpace(20, 7, score_inputs=inputs)
    model, first = randomised(space, seed), random_plan(space, kind, seed)
    small, small_space = slice_model(model, space, first)
    second = random_plan(small_space, kind, seed + 1)
    twice, twice_space = slice_model(small, small_space, second)
    kept = {name: tuple(first.kept[name][i] for i in second.kept[name]) for name in first.kept}
    once, once_space = slice_model(model, space, WidthPlan(space.name, first.sizes, kept))
    assert twice_space == once_space
    assert twice.state_dict().keys() == once.state_dict().keys()
    assert all(torch.equal(value, once.state_dict()[name]) for name, value in twice.state_dict().items())


@pytest.mark.parametrize("inputs", [False, True])
@torch.no_grad()
def test_gated_equals_folded_and_gated_with_zeros_equals_folded_and_sliced(inputs, randomised, random_plan):
    space = PreResNetSpace(20, 7, score_inputs=inputs)
    model, plan = randomised(space, 8).double(), random_plan(space, "mixed", 8)
    x = images(torch.float64)
    check_folding(model, space, plan, x)


@torch.no_grad()
def test_a_sliced_network_stays_gated_and_foldable(randomised, random_plan):
    full = PreResNetSpace(20, 7, score_inputs=True)
    small, space = slice_model(randomised(full, 9), full, random_plan(full, "mixed", 9))
    alphas = Alphas(space.groups)
    scores = {name: torch.rand(n) + 0.5 for name, n in sizes(space.groups).items()}
    alphas.load_scores(scores)
    gated, folded = deepcopy(small), deepcopy(small)
    alphas.attach(gated)
    fold_scores(folded, space, scores)
    assert relative(folded(images()), gated(images())) <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize("scale", [0, 1e-30, 1e-6, 1, 10])
def test_folding_is_exact_at_any_scale_of_the_scores(scale, randomised):
    space = PreResNetSpace(20, 7, score_inputs=True)
    model = randomised(space, 10)
    alphas = Alphas(space.groups)
    scores = {name: scale * torch.rand(n) for name, n in sizes(space.groups).items()}
    alphas.load_scores(scores)
    gated, folded = deepcopy(model), deepcopy(model)
    alphas.attach(gated)
    fold_scores(folded, space, scores)
    assert relative(folded(images()), gated(images())) <= 1e-5


@torch.no_grad()
def test_the_common_scale_of_scores_does_not_reach_weights_in_front_of_a_batchnorm(randomised):
    """Else a search that shrinks its scores would hand over weights on which every later step is too large."""
    space = PreResNetSpace(20, 7, score_inputs=True)
    model = randomised(space, 11)
    scores = {name: torch.rand(n) for name, n in sizes(space.groups).items()}
    ones, small, large = deepcopy(model), deepcopy(model), deepcopy(model)
    fold_scores(ones, space, {name: torch.ones_like(score) for name, score in scores.items()})
    fold_scores(small, space, {name: 1e-3 * score for name, score in scores.items()})
    fold_scores(large, space, scores)
    for name in ("layer1.0.conv1.weight", "layer2.1.conv2.weight"):
        torch.testing.assert_close(small.get_parameter(name), large.get_parameter(name))
        torch.testing.assert_close(ones.get_parameter(name), model.get_parameter(name))
    torch.testing.assert_close(small.fc.weight, 1e-3 * large.fc.weight)


@torch.no_grad()
def test_a_batchnorm_behind_folded_weights_has_the_statistics_of_its_new_input(randomised):
    """Not only in what it computes: training goes on from them."""
    space = PreResNetSpace(20, 7)
    model = randomised(space, 12)
    folded, scores = deepcopy(model), {name: torch.rand(n) + 0.1 for name, n in sizes(space.groups).items()}
    fold_scores(folded, space, scores)
    factor = 1 / scores["layer2.1.conv1"].square().mean().sqrt()
    wide, found = model.layer2[1].bn3, folded.layer2[1].bn3
    torch.testing.assert_close(found.running_mean, factor * wide.running_mean)
    torch.testing.assert_close(found.running_var, factor**2 * wide.running_var)
    torch.testing.assert_close(found.weight, wide.weight, rtol=1e-3, atol=0)
    assert torch.equal(found.bias, wide.bias)


def test_a_plan_of_another_network_is_refused_with_the_groups_named(randomised, random_plan):
    space, deeper = PreResNetSpace(20, 7), PreResNetSpace(29, 7)
    with pytest.raises(
        UserError, match=r"another network; 6 groups differ: layer1\.2\.conv1 \(plan 16, network None\)"
    ):
        slice_model(randomised(space, 0), space, random_plan(deeper, "one", 0))
    narrower = space.with_widths({"layer3.1.conv2": 60})
    with pytest.raises(UserError, match=r"1 groups differ: layer3\.1\.conv2 \(plan 60, network 64\)"):
        slice_model(randomised(space, 0), space, random_plan(narrower, "one", 0))
