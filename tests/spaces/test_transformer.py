"""timm's Swin and ViT as spaces: sliced networks that stay timm's, files, gates."""

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from small_transformers import PADDED, SHALLOW, SPACES, SWIN_T, images, network_of, plan_of, pruned
from torch import nn

from compress.plan import UserError
from compress.pruning import slice_model
from compress.spaces import (
    Alphas,
    Card,
    Layout,
    SwinSpace,
    load_model,
    load_state,
    read_state,
    save_model,
    sizes,
)


def test_groups_follow_the_thesis_or_vtp():
    found = {group.name: group for group in PADDED.groups}
    assert sizes(PADDED.groups) == {
        f"layers.{stage}.blocks.{i}.{part}": {"attn": 24, "mlp": 96 << stage}[part]
        for stage in (0, 1)
        for i in (0, 1)
        for part in ("attn", "mlp")
    }
    attention = found["layers.1.blocks.0.attn"]
    assert (attention.kind, attention.gated) == ("attention", "writes")
    assert [(each.layout.offset, each.layout.copies, each.exponent) for each in attention.writes] == [
        (0, 2, 0.5),
        (48, 2, 0.0),
        (96, 2, 0.0),
    ]
    assert [each.layout for each in attention.reads] == [Layout(copies=2)]
    streams = sizes(SPACES["swin-vtp"].groups)
    assert [streams[f"layers.1.blocks.0.{part}"] for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp")] == [
        48,
        48,
        48,
        192,
    ]


def test_dimensions_of_a_head_may_differ_from_dim_over_heads():
    space = SwinSpace(5, SWIN_T, input_size=36, options={**SHALLOW, "head_dim": 10})
    assert sizes(space.groups)["layers.1.blocks.0.attn"] == 10
    small = space.with_widths({"layers.1.blocks.0.attn": 7})
    assert small.build().layers[1].blocks[0].attn.qkv.out_features == 3 * 2 * 7
    assert small.build()(images(space)).shape == (2, 5)


@pytest.mark.parametrize("ratio", [0.0, 0.3])
def test_an_empty_network_with_the_weights_loaded_is_the_built_one(space, ratio):
    """Also what no checkpoint holds: indices of relative positions, masks of shifted windows, rates, scales."""
    space = pruned(space, ratio)
    built = network_of(space)
    torch.use_deterministic_algorithms(True)  # fills memory that nobody has written with NaN and large integers
    try:
        empty = space.empty()
    finally:
        torch.use_deterministic_algorithms(False)
    empty.load_state_dict(built.state_dict())
    buffers = dict(empty.named_buffers())
    assert buffers.keys() == dict(built.named_buffers()).keys()
    assert all(torch.equal(buffers[name], value) for name, value in built.named_buffers())
    for a, b in zip(built.modules(), empty.modules(), strict=True):
        for attribute in ("drop_prob", "p", "scale", "head_dim", "attn_dim", "in_features", "out_features", "eps"):
            assert getattr(a, attribute, None) == getattr(b, attribute, None)
    assert torch.equal(empty.eval()(images(space)), built(images(space)))


def test_masks_of_shifted_windows_are_among_the_buffers():
    """Else the test above would compare nothing."""
    names = {name.rpartition(".")[2] for name, _ in PADDED.empty().named_buffers()}
    assert names == {"relative_position_index", "attn_mask"}
    assert "layers.0.blocks.1.attn_mask" not in PADDED.empty().state_dict()


def test_a_checkpoint_of_timm_loads(space, tmp_path):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(space.model, num_classes=5, img_size=space.input_size, **space.options).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "timm.pth")
    ours, state = space.build().eval(), read_state(tmp_path / "timm.pth")
    load_state(ours, state, source="timm.pth")
    assert torch.equal(ours(images(space)), theirs(images(space)))
    with pytest.raises(UserError, match=r"timm\.pth: a checkpoint of another architecture; .* of another shape"):
        load_state(pruned(space, 0.5).build(), state, source="timm.pth")


def test_saved_and_loaded_bit_by_bit(space, tmp_path):
    small, small_space = slice_model(network_of(space), space, plan_of(space))
    shape = [3, space.input_size, space.input_size]
    preprocessing = {
        "input_size": shape,
        "resize": None,
        "interpolation": "bilinear",
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
    }
    save_model(tmp_path / "model", small, Card(small_space.name, small_space.arch, tuple("abcde"), preprocessing))
    loaded, space_again, _ = load_model(tmp_path)
    assert space_again == small_space
    assert space_again.arch == json.loads(json.dumps(small_space.arch)) == small_space.arch
    assert all(torch.equal(value, small.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert torch.equal(loaded(images(space)), small(images(space)))


@torch.no_grad()
def test_sliced_networks_stay_timms_own_modules(space):
    from timm.models._features import FeatureGetterNet, FeatureListNet

    network, x = network_of(space), images(space)
    small, _ = slice_model(network, space, plan_of(space))
    assert type(small) is type(network)
    features, logits = small.forward_features(x), small(x)
    assert torch.equal(small.forward_head(features), logits)
    last, stages = small.forward_intermediates(x)
    assert torch.equal(last, features)
    assert [stage.shape for stage in stages] == [stage.shape for stage in network.forward_intermediates(x)[1]]
    swin = space.name == "swin"
    wrapped = (
        FeatureListNet(deepcopy(small), out_indices=(0, 1), flatten_sequential=True)
        if swin
        else FeatureGetterNet(deepcopy(small), out_indices=(0, 1), norm=False)
    )
    for found, expected in zip(wrapped(x), stages, strict=True):
        assert torch.equal(found.permute(0, 3, 1, 2) if swin else found, expected)
    small.reset_classifier(7)
    assert small(x).shape == (2, 7)
    assert torch.equal(small.forward_features(x), features)


@torch.no_grad()
def test_a_sliced_swin_takes_another_image_size():
    small, small_space = slice_model(network_of(PADDED), PADDED, plan_of(PADDED))
    larger = replace(small_space, input_size=48)
    expected = larger.empty().eval()
    expected.load_state_dict(small.state_dict())
    small.set_input_size((48, 48), window_size=4)
    assert torch.equal(small(images(larger)), expected(images(larger)))


def test_gradients_of_scores_are_those_of_multiplied_q_k_v_and_hidden_units(space):
    """The gates act on weights; here the same products are taken of features."""
    network, x = network_of(space).double(), images(space).double()
    generator = torch.Generator().manual_seed(4)
    scores = {name: torch.randn(n, generator=generator) for name, n in sizes(space.groups).items()}
    alphas = Alphas(space.groups).double()
    alphas.load_scores(scores)
    gates = alphas.attach(network)
    values = {name: score.double().requires_grad_() for name, score in scores.items()}
    gated = network(x)
    found = torch.autograd.grad(gated.square().sum(), [alphas[name] for name in values])
    for gate in gates:
        gate.remove()
    assert not any(hasattr(module, "score") or hasattr(module, "copies") for module in network.modules())
    for name, value in values.items():
        module = network.get_submodule(name)
        if isinstance(module, nn.Linear):  # features of the stream
            module.register_forward_pre_hook(lambda module, args, value=value: (args[0] * value,))
        elif hasattr(module, "qkv"):
            module.qkv.register_forward_hook(
                lambda _, args, output, value=value, heads=module.num_heads: (
                    output.unflatten(-1, (3, heads, -1)) * value
                ).flatten(-3)
            )
        else:
            module.fc2.register_forward_pre_hook(lambda module, args, value=value: (args[0] * value,))
    expected = network(x)
    torch.testing.assert_close(gated, expected, rtol=1e-10, atol=0)
    gradients = torch.autograd.grad(expected.square().sum(), list(values.values()))
    for a, b in zip(found, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))


def test_gates_leave_the_layers_as_they_were(space):
    network = network_of(space)
    before = [type(module) for module in network.modules()], list(network.state_dict())
    gates = Alphas(space.groups).attach(network)
    assert list(network.state_dict()) == before[1]
    for gate in gates:
        gate.remove()
    assert [type(module) for module in network.modules()] == before[0]
