"""Names in foreign checkpoints: what stands before them is taken off where all then fit; families are told apart."""

import pytest
import torch
from small_transformers import PADDED
from torch import nn

from compress.plan import UserError
from compress.spaces import PreResNetSpace, load_state, read_state
from compress.spaces.naming import looks_like

SPACE = PreResNetSpace(11, 4)
MORE = {"criterion.weight": torch.ones(4), "val_acc.tp": torch.zeros(4, dtype=torch.long)}
"""What Lightning's modules have besides: a loss's weights, a metric's counts."""


def network(seed=0):
    torch.manual_seed(seed)
    return SPACE.build()


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def same(state, other):
    return all(torch.equal(state[name], value) for name, value in other.items())


@pytest.mark.parametrize("more", [{}, MORE], ids=["alone", "with-more"])
@pytest.mark.parametrize("prefix", ["net.", "model.", "backbone.", "network.", "model.backbone."])
def test_a_prefix_under_which_all_fits_is_taken_off_and_that_is_said(prefix, more):
    state, fresh = network().state_dict(), network(1)
    said = load_state(fresh, {**prefixed(prefix, state), **more}, source="net.ckpt").said
    assert said.startswith(f"took '{prefix}' off the names of ")
    assert ("left out 2 others, such as criterion.weight" in said) == bool(more)
    assert same(fresh.state_dict(), state)


def test_a_file_of_lightning(tmp_path):
    state, fresh = network().state_dict(), network(1)
    value = {
        "pytorch-lightning_version": "2.4.0",
        "epoch": 3,
        "callbacks": {"EMA": {}},
        "hyper_parameters": {"lr": 0.1},
    }
    torch.save({**value, "state_dict": {**prefixed("net.", state), **MORE}}, tmp_path / "last.ckpt")
    load_state(fresh, read_state(tmp_path / "last.ckpt"), source="last.ckpt")
    assert same(fresh.state_dict(), state)


def test_one_tensor_that_is_left_out_is_one():
    state = {**prefixed("net.", network().state_dict()), "criterion.weight": torch.ones(4)}
    assert load_state(network(1), state, source="net.ckpt").said.endswith("; left out 1 other: criterion.weight")


def test_names_that_fit_are_left_alone():
    """A network of the user's own may have all its layers in one module."""
    own, other = (nn.ModuleDict({"model": network(seed)}) for seed in (0, 1))
    assert load_state(other, own.state_dict(), source="net.pth").said == ""
    assert same(other.state_dict(), own.state_dict())


def test_a_layout_that_timm_converts_has_a_prefix_taken_off_first():
    torch.manual_seed(0)
    state, fresh = PADDED.build().state_dict(), PADDED.build()
    theirs = {
        name.replace("head.fc.", "head.").replace("layers.1.downsample", "layers.0.downsample"): value
        for name, value in state.items()
    }
    assert load_state(fresh, prefixed("model.", theirs), source="net.ckpt").said.startswith("took 'model.' off")
    assert same(fresh.state_dict(), state)


def test_two_networks_in_one_file_are_refused():
    state = network().state_dict()
    twice = {**prefixed("student.", state), **prefixed("teacher.", state)}
    with pytest.raises(UserError, match=r"^net: holds the network 2 times, under 'student\.', 'teacher\.'; save"):
        load_state(network(1), twice, source="net")


def test_a_prefix_that_makes_not_all_fit_stays_in_the_message_of_what_does_not():
    state = {name: value for name, value in network().state_dict().items() if not name.startswith("fc.")}
    with pytest.raises(UserError, match=r"another architecture; 2 missing: fc\.weight, fc\.bias; set"):
        load_state(network(1), prefixed("net.", state), source="net")
    with pytest.raises(UserError, match=r"unexpected: net\.conv1\.weight, .*; help$"):
        load_state(network(1), {**prefixed("net.", state), **MORE}, source="net", remedy="help")


@pytest.mark.parametrize(
    ("name", "whose", "example"),
    [
        ("resnet18", "a ResNet", "resnet50"),
        ("resnet10t", "timm's ResNet", "resnet50d"),
        ("tf_efficientnet_lite0", "timm's EfficientNet or MobileNet", "efficientnet_b0"),
        ("convnext_atto", "timm's ConvNeXt", "convnext_tiny"),
        ("regnetx_002", "timm's RegNet", "regnety_008"),
        ("swin_tiny_patch4_window7_224", "a Swin", ""),
        ("deit_tiny_patch16_224", "a ViT or DeiT", ""),
        ("torchvision:mobilenet_v2", "torchvision's MobileNet or EfficientNet", "torchvision:mobilenet_v2"),
        ("torchvision:convnext_tiny", "torchvision's ConvNeXt", "torchvision:convnext_tiny"),
        ("torchvision:regnet_y_400mf", "torchvision's RegNet", "torchvision:regnet_y_800mf"),
        ("torchvision:resnet50", "a ResNet", "resnet50"),
    ],
)
def test_families_are_told_by_names(name, whose, example):
    import timm
    from torchvision import models

    with torch.device("cpu" if "regnet_y" in name else "meta"):
        made = models.get_model(name[12:]) if ":" in name else timm.create_model(name)
    assert looks_like(made.state_dict()) == (whose, example)


def test_other_names_look_like_nobodys():
    assert looks_like(network().state_dict()) == ("a PreResNet", "")
    assert looks_like(nn.Linear(2, 3).state_dict()) is None
